"""A model of several classes, end to end in one process: answers, versions, the view, an app that changes."""

from __future__ import annotations

import numpy as np
import pytest

import headwater as hw
from headwater.core.clock import VirtualClock
from headwater.core.errors import Fatal, WrongState
from headwater.evaluation.prequential import SCORES
from headwater.learning.classes import OTHER
from headwater.registry.catalog import Catalog
from headwater.registry.exporting import export
from headwater.registry.portable_classes import portable_of
from headwater.runtime.changes import declaration, difference
from headwater.runtime.checkpointing import Checkpointer, restore
from headwater.runtime.fold import Fold
from headwater.runtime.profiling import STAGES, _split
from headwater.runtime.publishing import Publisher
from headwater.runtime.rebuild import rebuild
from headwater.runtime.versions import Registrar
from headwater.serving.predicting import SWITCHES
from headwater.store.checkpoint import Checkpoints
from headwater.store.memory_view import MemoryView
from headwater.telemetry.metrics import numbers
from headwater.testing import LocalRun

HOUR = 3_600_000
START = 1_700_000_000_000
KINDS = ["sun", "rain", 'fog "thick"', "雪"]


class Reading(hw.Event, key="at", lateness="1h"):
    at: hw.Field[str]
    place: hw.Field[str]
    pressure: hw.Field[float | None]


class Weather(hw.Event, key="at", lateness="1h"):
    at: hw.Field[str]
    place: hw.Field[str]
    kind: hw.Field[str]


def make_app(**learner: object) -> hw.App:
    weather = hw.Model(
        "weather",
        on=Reading,
        features=[Reading.pressure, hw.category(Reading.place), hw.count(Weather, by=Weather.place, window="1d")],
        label=hw.label(Weather.kind, join=Weather.at, on=Reading.at, within="2d"),
        learner=hw.Softmax(**{"classes": 6, "bits": 8, "eta0": 0.3, **learner}),  # type: ignore[arg-type]
        baseline_by=Weather.place,
        versions=hw.every_labels(40),
        twins={"nightly": hw.every("1d")},
    )
    return hw.App("weather", models=[weather])


def lived(app: hw.App | None = None, n: int = 130) -> LocalRun:
    run, rng = LocalRun(app or make_app()), np.random.default_rng(3)
    for i in range(n):
        place, pressure = f"p{i % 5}", float(rng.normal())
        kind = KINDS[int(pressure > 0) + 2 * int(rng.random() < i / (2 * n))]
        run.send(Reading(at=f"r{i}", place=place, pressure=None if i % 17 == 0 else pressure), time=START + i * HOUR)
        if i % 7:
            run.send(Weather(at=f"r{i}", place=place, kind=kind), time=START + i * HOUR + 1)
    return run


@pytest.fixture(scope="module")
def run() -> LocalRun:
    return lived()


def test_the_answer_to_a_question_is_what_the_fold_said_of_it(run):
    run.send(Reading(at="new", place="p1", pressure=0.5), time=START + 1000 * HOUR)
    model = run.fold.models["weather"]
    row = model.pending.rows[model.pending.order()[-1]]
    (said,) = run.predict("weather", at="new")["predictions"]
    names = [OTHER, *model.learner.names]
    told = dict(zip(names, row[SCORES + 1 :].tolist(), strict=False))
    assert said["stored"]
    assert said["probabilities"] == {name: told[name] for name in KINDS if name in names} | {}
    assert said["label"] == names[int(row[SCORES])] == max(said["probabilities"], key=said["probabilities"].__getitem__)
    assert said["score"] == said["probabilities"][said["label"]]
    assert 0.9 < sum(said["probabilities"].values()) < 1.0


def test_an_answer_by_fields_has_the_bits_of_the_fold(run):
    fields = {"place": "p2", "pressure": -1.5}
    (asked,) = run.predict("weather", at="x", time=START + 2000 * HOUR, **fields)["predictions"]
    assert not asked["stored"]
    run.send(Reading(at="x", **fields), time=START + 2000 * HOUR)
    (said,) = run.predict("weather", at="x")["predictions"]
    assert said["probabilities"] == asked["probabilities"]


def test_before_the_first_label_no_class_is_said():
    run = LocalRun(make_app())
    run.send(Reading(at="a", place="p", pressure=1.0), time=START)
    (said,) = run.predict("weather", at="a")["predictions"]
    assert (said["label"], said["score"], said["probabilities"]) == (None, 0.0, {})


def test_explain_is_refused_with_a_reason(run):
    assert "explain" in SWITCHES
    with pytest.raises(Fatal, match="cannot say what each feature adds"):
        run.predict("weather", at="new", explain=True)


def test_what_is_published_bit_by_bit_is_what_is_published_at_once(run):
    """Only rows that changed are put into the view; a learner that starts anew puts them all."""
    whole = MemoryView()
    Publisher(run.fold, whole, VirtualClock(), resume=False).publish()
    step = run._view
    rows = [{k: v for k, v in view._rows.items() if k[:1] == b"w" or (k[:1] == b"h" and any(v))} for view in (step, whole)]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 5


def test_a_restored_fold_answers_the_same(run, tmp_path):
    store = Checkpoints(tmp_path)
    saver = Checkpointer(run.fold, store)
    saver.save()
    saver.wait()
    again = restore(run.app, store)
    assert again.state_hash() == run.fold.state_hash()
    assert again.models["weather"].learner.names == run.fold.models["weather"].learner.names
    store.close()


def test_versions_are_registered_rebuilt_and_exported(tmp_path):
    run = lived()
    due = [d for effects in run.effects for d in effects.due]
    catalog = Catalog(tmp_path)
    registrar = Registrar(run.app, catalog)
    made = [version for d in due if (version := registrar.register(d)) is not None]
    assert len(made) == 2
    assert {"log_loss", "accuracy", "mean_recall", "no_change_accuracy"} <= made[-1].metrics.keys()
    assert rebuild(run.app, run.log, made[-1], catalog.artifacts).is_same
    model = portable_of(made[-1], catalog.artifacts.get(made[-1].sha256))
    done = export(model, "npz", tmp_path / "weather.npz")
    assert done.difference <= 1e-12
    assert model.header()["classes"] == [OTHER, *run.fold.models["weather"].learner.names[: len(model.header()["classes"]) - 1]]
    with pytest.raises(Fatal, match="npz only; expected --to npz; got onnx"):
        export(model, "onnx", tmp_path / "weather.onnx")
    assert not catalog.diff(made[0].name, made[1].name).recipe
    catalog.close()


def test_names_of_classes_are_no_names_of_metrics(run):
    """A stream of ever new classes must not make ever new time series."""
    told = {"metrics": run.metrics()}
    assert {one["label"] for one in told["metrics"]["weather"]["classes"]} >= {"sun", "rain"}
    assert not [path for path, _ in numbers(told) if any(kind in path for kind in KINDS)]
    assert "metrics.weather.overall.live.log_loss" in dict(numbers(told))


def test_a_changed_learner_is_backfilled_and_a_changed_type_refused(run):
    before = declaration(run.app)
    parts = {part.name: part.why for part in difference(before, make_app(classes=7)) if part.kind == "model"}
    assert parts == {"weather": "changed: learner"}
    before["streams"]["weather"]["fields"] = [
        {**f, "kind": "int"} if f["name"] == "kind" else f for f in before["streams"]["weather"]["fields"]
    ]
    with pytest.raises(WrongState, match=r"weather\.kind: a field has another type.*expected int; got str"):
        difference(before, run.app)


def test_a_profile_shares_the_time_out(run):
    seconds = dict.fromkeys(STAGES, 0.0)
    _split(run.fold.models["weather"], 1.0, seconds)
    assert sum(seconds.values()) == pytest.approx(1.0)
    assert seconds["score"] > 0.0


def test_two_runs_have_the_same_bits():
    assert lived(n=60).state_hash() == lived(n=60).state_hash()


def test_a_key_that_an_answer_uses_is_refused():
    class Odd(hw.Event, key="label"):
        label: hw.Field[str]
        x: hw.Field[float]

    with pytest.raises(hw.DeclarationError, match="the key has the name of something that an answer says"):
        hw.Model(
            "m",
            on=Odd,
            features=[Odd.x],
            label=hw.label(Weather.kind, join=Weather.at, on=Odd.label, within="1h"),
            learner=hw.Softmax(),
        )


def test_a_fold_that_learnt_nothing_publishes_no_rows():
    view = MemoryView()
    fold = Fold(make_app())
    Publisher(fold, view, VirtualClock(), resume=False).publish()
    assert not [k for k in view._rows if k[:1] == b"h"]
