"""A changed app folded beside the running one, without processes: what is kept, what is folded anew, to the bit."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.app import App
from headwater.core.batch import Frame, Text, column, concat, single
from headwater.core.errors import WrongState
from headwater.log.open import open_log
from headwater.runtime.backfill import seed
from headwater.runtime.changes import difference, remember, remembered
from headwater.runtime.checkpointing import Checkpointer, judged_rows, restore
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.places import NEXT, STATE
from headwater.store.checkpoint import Checkpoints

from .conftest import SPEC, START_MS, events

CHANGED = SPEC.with_name("changed.py")


@pytest.fixture(scope="module")
def apps() -> tuple[App, App]:
    return load_app(SPEC), load_app(CHANGED)


@pytest.fixture
def log(tmp_path, apps):
    with closing(open_log(f"lmdb://{tmp_path / 'log'}")) as made:
        store(made, apps[0], events(300))
        yield made


def store(log: Any, app: App, rows: list[dict[str, Any]]) -> None:
    parts = []
    for row in rows:
        schema = app.streams[row["stream"]]
        frame = Frame(1, {f.name: column(f, [row.get(f.name)]) for f in schema.fields})
        parts.append(
            single(schema, frame, np.array([row["time"]]), Text.of([row["id"]]), arrival=np.array([row["time"] * 1000]))
        )
    for at in range(0, len(parts), 50):
        log.append(concat(parts[at : at + 50]))


def follow(fold: Fold, log: Any) -> Fold:
    for chunk in log.read(fold.seq, 64):
        fold.step(chunk)
    return fold


def save(app: App, log: Any, folder: Path) -> Fold:
    """The running app's state, saved at the log's end."""
    with closing(Checkpoints(folder / STATE)) as store:
        fold = Fold(app)
        saver = Checkpointer(fold, store)
        for chunk in log.read(0, 64):
            saver.gather(fold.step(chunk))
        saver.save()
        saver.wait()
    remember(folder / STATE, app)
    return fold


def seeded(app: App, log: Any, folder: Path) -> Fold:
    told: list[tuple[int, int]] = []
    seed(app, log, folder, remembered(folder / STATE), lambda n, of: told.append((n, of)))
    assert told[-1][0] == told[-1][1] > 0
    with closing(Checkpoints(folder / NEXT / STATE, readonly=True)) as there:
        return restore(app, there)


def judged(folder: Path, model: str) -> Any:
    with closing(Checkpoints(folder / STATE, readonly=True)) as there:
        return judged_rows(there, model, 3 if model == "late" else 2)


def test_a_changed_app_has_the_bits_of_one_that_was_so_all_along(apps, log, tmp_path):
    before, after = apps
    old = save(before, log, tmp_path)
    fold = seeded(after, log, tmp_path)
    assert fold.seq == old.seq == log.bounds()[1]
    assert fold.state_hash() == follow(Fold(after), log).state_hash()
    assert fold.models["late"].learner.weights.tobytes() == old.models["late"].learner.weights.tobytes()
    assert judged(tmp_path / NEXT, "late").tobytes() == judged(tmp_path, "late").tobytes()
    assert len(judged(tmp_path / NEXT, "better")) == len(judged(tmp_path, "late")) > 200


def test_what_is_unchanged_keeps_what_retention_has_cut(apps, log, tmp_path):
    before, after = apps
    old = save(before, log, tmp_path)
    log.retain(max_bytes=log.bounds()[1] * 60, keep_from=old.seq)
    first, end = log.bounds()
    assert 0 < first < end
    fold = seeded(after, log, tmp_path)
    late, was = fold.models["late"], old.models["late"]
    for name, array in was.arrays().items():
        assert late.arrays()[name].tobytes() == array.tobytes(), name
    assert fold.metrics()["late"] == old.metrics()["late"]
    assert 0 < fold.metrics()["better"]["questions"]["scored"] <= end - first
    fresh = Fold(after)
    fresh.seq = first
    learner = follow(fresh, log).models["better"].learner
    assert fold.models["better"].learner.weights.tobytes() == learner.weights.tobytes()  # from the first retained event on
    assert fold.counts() == old.counts()


def test_it_goes_on_as_one_that_never_changed(apps, log, tmp_path):
    before, after = apps
    save(before, log, tmp_path)
    fold = seeded(after, log, tmp_path)
    more = [
        {**row, "id": row["id"] + "x", "flight_id": row["flight_id"] + "x", "time": row["time"] + 400 * 60_000}
        for row in events(80)
    ]
    store(log, after, more)
    assert follow(fold, log).state_hash() == follow(Fold(after), log).state_hash()


def test_every_model_and_memory_has_its_fate(apps, tmp_path):
    before, after = apps
    remember(tmp_path, before)
    parts = difference(remembered(tmp_path), after)
    fates = {(p.kind, p.name): (p.fate, p.why) for p in parts}
    assert fates["model", "late"] == ("kept", "")
    assert fates["model", "better"] == ("backfilled", "new")
    assert fates["feature", "arrival.delay by arrival.carrier, half-life 3h"] == ("kept", "")
    assert fates["feature", "arrival.delay by arrival.carrier, half-life 12h"] == ("backfilled", "new")
    same_types = tmp_path / "same_types.py"
    same_types.write_text(CHANGED.read_text().replace("seats: hw.Field[float | None]", "seats: hw.Field[int | None]"))
    remember(tmp_path, load_app(same_types))
    back = {(p.kind, p.name): p.fate for p in difference(remembered(tmp_path), before) if p.fate != "kept"}
    assert back == {
        ("model", "better"): "dropped",
        ("feature", "arrival.delay by arrival.carrier, half-life 12h"): "dropped",
        ("feature", "departure events by departure.carrier, window 2h by 1h, parts 1"): "dropped",
    }


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("carrier: hw.Field[str]", "carrier: hw.Field[int]", "arrival.carrier: a field has another type"),
        ("flight_id: hw.Field[str]", "flight_id: hw.Field[int]", "flight_id: a field has another type"),
        ("gate: hw.Field[str | None]", "gate: hw.Field[str]", "departure.gate: a new field is required"),
    ],
)
def test_what_the_logs_events_cannot_mean_is_refused(apps, tmp_path, old, new, what):
    remember(tmp_path, apps[0])
    file = tmp_path / "wrong.py"
    file.write_text(CHANGED.read_text().replace(old, new))
    wrong = load_app(file)
    with pytest.raises(WrongState, match=re.escape(what)) as told:
        difference(remembered(tmp_path), wrong)
    assert told.value.next_step


def test_an_interrupted_seed_begins_again_and_a_finished_one_is_not_made_twice(apps, log, tmp_path):
    before, after = apps
    save(before, log, tmp_path)

    def stop(n: int, of: int) -> None:
        if n > of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed(after, log, tmp_path, remembered(tmp_path / STATE), stop)
    done = seeded(after, log, tmp_path)
    told: list[int] = []
    seed(after, log, tmp_path, remembered(tmp_path / STATE), lambda n, _: told.append(n))
    assert not told
    assert done.state_hash() == follow(Fold(after), log).state_hash()
    assert done.watermarks.high_mark() > START_MS
