"""What the learner says to followers: each version and each row of features once, whatever it was killed in the middle of."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from headwater.core import crashpoints
from headwater.core.clock import VirtualClock
from headwater.evaluation.prequential import SCORES
from headwater.following import FEATURES, VERSIONS, Cursors, Notices, formats
from headwater.following.cursors import FILE_NAME as CONSUMERS
from headwater.ingest.decode import Decoder, pieces
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.memory import MemoryLog
from headwater.registry import Catalog
from headwater.runtime.fold import Fold
from headwater.runtime.learner import Learner
from headwater.runtime.places import FOLLOWING, NEXT, STATE

from .conftest import START_MS, departure, events, settings

ROWS = events(500)


@pytest.fixture
def log(app):
    """500 flights in ten chunks, and one that comes too late."""
    made, decoder = MemoryLog(), Decoder(Shapes(app.streams), Limits())
    rows = [*ROWS, departure(2, id="late", flight_id="late")]
    for at in range(0, len(rows), 100):
        text = b"\n".join(json.dumps(row).encode() for row in rows[at : at + 100])
        for piece in pieces(text, is_lines=True):
            made.append(decoder.window(piece, None, START_MS * 1000 + 10**12).batch)
    return made


def chosen(folder, *, features=True, **log):
    made = settings(folder)
    learner = made.learner.model_copy(update={"tell_features": features, "checkpoint_every_events": 150})
    return made.model_copy(update={"learner": learner, "log": made.log.model_copy(update=log)})


def run(app, log, folder, **options):
    """A learner's whole life: fold what is there, save, end."""
    learner = Learner(app, log, chosen(folder, **options), VirtualClock())
    stop = threading.Event()
    stop.set()
    try:
        learner.run(stop)
        return learner.fold
    finally:
        learner.close()


def said(folder, stream):
    with closing(Notices(folder / FOLLOWING)) as notices:
        page = notices.stream(stream).read(0, 10_000, 1 << 30)
        assert page.next == page.end
        return [json.loads(line) for line in formats.lines(page).splitlines()]


class Killed(BaseException):
    pass


@pytest.fixture
def kill():
    """Kill the learner when it comes to a place for the n-th time."""

    def at(place, n):
        left = [n]

        def act(name):
            left[0] -= name == place
            if name == place and left[0] == 0:
                raise Killed

        crashpoints.arm(act)

    yield at
    crashpoints.arm(None)


def test_each_version_is_said_once_and_in_order(app, log, tmp_path):
    run(app, log, tmp_path)
    with Catalog(tmp_path / "registry", read_only=True) as catalog:
        versions = catalog.list("late")
    assert len(versions) >= 4
    for event, version in zip(said(tmp_path, VERSIONS), versions, strict=True):
        assert event["id"] == event["data"]["name"] == version.name
        assert event["data"]["sha256"] == version.sha256
        assert event["data"]["metrics"] == version.metrics
        assert event["data"]["cost_core_s"] == version.cost_core_s
        assert "recipe" not in event["data"]


@pytest.mark.parametrize(
    ("place", "n"),
    [("registry.registered", 2), ("notices.put", 3), ("learner.registered", 3), ("learner.saving", 2), ("learner.folded", 7)],
)
def test_a_kill_at_any_place_changes_nothing_of_what_is_said(app, log, tmp_path, kill, place, n):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    run(app, log, whole)
    kill(place, n)
    with pytest.raises(Killed):
        run(app, log, torn)
    crashpoints.arm(None)
    run(app, log, torn)
    assert said(torn, FEATURES) == said(whole, FEATURES)
    told, expected = said(torn, VERSIONS), said(whole, VERSIONS)
    for event in told + expected:
        event["data"].pop("cost_core_s")  # measured
    assert told == expected


def test_versions_of_an_older_installation_are_said_at_the_next_start(app, log, tmp_path):
    run(app, log, tmp_path)
    before = said(tmp_path, VERSIONS)
    for file in (tmp_path / FOLLOWING).glob("notices.sqlite*"):
        file.unlink()
    run(app, log, tmp_path)
    assert said(tmp_path, VERSIONS) == before


def test_features_are_the_vectors_that_the_model_is_taught_on(app, log, tmp_path):
    fold = run(app, log, tmp_path)
    model = fold.models["late"]
    told = said(tmp_path, FEATURES)
    assert [e["data"]["seq"] for e in told] == sorted(e["data"]["seq"] for e in told)
    assert [e["data"]["key"] for e in told] == [f"f{i}" for i in range(500)]  # the late one is no question
    rows = model.pending.rows[model.pending.order()]
    first = SCORES + model.n_experts
    vectors = rows[:, first : first + model.n_numbers]
    names = [f.name for f in model.model.numbers]
    for event, vector in zip(told[-len(vectors) :], vectors, strict=True):
        assert list(event["data"]["features"]) == sorted(names)
        mine = [event["data"]["features"][name] for name in names]
        assert np.array_equal([math.nan if v is None else v for v in mine], vector, equal_nan=True)


def test_features_are_not_said_unless_asked_for(app, log, tmp_path):
    run(app, log, tmp_path, features=False)
    assert said(tmp_path, FEATURES) == []


def test_telling_features_changes_nothing_of_the_state(app, log, tmp_path):
    assert run(app, log, tmp_path).state_hash() == refolded(app, log).state_hash()


def refolded(app, log):
    fold = Fold(app)
    for chunk in log.read(0):
        fold.step(chunk)
    return fold


def test_retention_keeps_what_a_consumer_has_not_had(app, log, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "consumers", {"slow": None})
    with closing(Cursors(tmp_path / FOLLOWING)) as cursors:
        for name, place in (("slow", 350), ("not_declared_any_more", 5)):
            cursors.claim(name, "arrival", "handler", place)
        cursors.claim("follows_notices", VERSIONS, "handler", 0)
        learner = Learner(app, log, chosen(tmp_path, retention_bytes=1), VirtualClock())
        with closing(learner):
            learner.catch_up()
            learner._save()
            learner._checkpointer.wait()
            learner._tend()
            assert log.bounds()[0] == 300  # the chunk that holds its next event
            cursors.move("slow", 820, 1)
            learner._tend()
            assert log.bounds()[0] == 800


def test_nothing_is_dropped_while_a_cursor_cannot_be_believed(app, log, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "consumers", {"slow": None})
    with closing(Cursors(tmp_path / FOLLOWING)) as cursors:
        cursors.claim("slow", "arrival", "handler", 350)
    with closing(sqlite3.connect(tmp_path / FOLLOWING / CONSUMERS)) as outside, outside:
        outside.execute("UPDATE consumers SET next = 820")
    with closing(Learner(app, log, chosen(tmp_path, retention_bytes=1), VirtualClock())) as learner:
        learner.catch_up()
        learner._save()
        learner._checkpointer.wait()
        learner._tend()
        assert log.bounds()[0] == 0


def test_a_learner_beside_leaves_what_is_new_to_whoever_takes_over(app, log, tmp_path):
    """From when it is level, so that the rows of no question are missing: the running one says those before."""
    whole, levels = tmp_path / "whole", []
    run(app, log, whole)
    rows = [chunk.batch for chunk in log.read(0)]
    growing = MemoryLog()
    for batch in rows[:5]:
        growing.append(batch)
    beside = Learner(app, growing, chosen(tmp_path), VirtualClock(), on_level=levels.append)
    beside.catch_up()
    beside._tell_level()
    beside._save()
    for batch in rows[5:]:
        growing.append(batch)
    stop = threading.Event()
    stop.set()
    beside.run(stop)
    beside.close()
    assert said(tmp_path, FEATURES) == said(tmp_path, VERSIONS) == []
    (tmp_path / NEXT / STATE).rename(tmp_path / STATE)
    run(app, growing, tmp_path)
    (level,) = levels
    expected = [event["data"] for event in said(whole, FEATURES) if event["data"]["seq"] >= level]
    assert [event["data"] for event in said(tmp_path, FEATURES)] == expected
    assert len(expected) > 200
