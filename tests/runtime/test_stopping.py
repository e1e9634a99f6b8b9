"""A model that fails stops where the log says, whoever folds the log, and a person has it go on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.batch import concat
from headwater.core.clock import VirtualClock
from headwater.learning.protocol import LearnerState
from headwater.log.control import control_batch
from headwater.log.memory import MemoryLog
from headwater.log.protocol import Chunk
from headwater.runtime.checkpointing import Checkpointer, restore
from headwater.runtime.fold import Fold
from headwater.runtime.stopping import LEARN, RESUMED, SCORE, STOPPED, CarefulLearner, Stop, Stops, stops_in
from headwater.store.checkpoint import Checkpoints
from headwater.testing.events import Seen, batch_of, split

MINUTE = 60_000


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    x: hw.Field[float]


class Told(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    y: hw.Field[float]


class Failing:
    """A learner that sums; whether it fails is no function of anything that the fold knows: see `fails`."""

    loss, bits, block = "log", 8, 5
    fails: dict[str, int | None]

    def __init__(self, fails=None):
        self.fails = {"learn": None, "score": None} | (fails or {})

    def describe(self):
        return {"learner": "failing"}

    def start(self, numbers, categories):
        return Running(self)


class Running:
    def __init__(self, spec):
        self.spec, self.sum, self.blocks = spec, 0.0, 0

    def score_many(self, xs, cs):
        at = self.spec.fails["score"]
        if at is not None and (xs[:, 0] >= at).any():
            raise ArithmeticError("out of its depth")
        return 1 / (1 + np.exp(-xs[:, 0] - self.sum))

    def learn_block(self, xs, cs, ys):
        self.sum += float(ys.mean()) / 10
        self.blocks += 1
        if self.spec.fails["learn"] is not None and self.blocks > self.spec.fails["learn"]:
            raise MemoryError("half of it is learnt")

    def state(self):
        return LearnerState({"blocks": self.blocks}, {"sum": np.array([self.sum])})

    def load(self, state):
        self.sum, self.blocks = float(state.arrays["sum"][0]), state.header["blocks"]


def app_of(fails=None, missing=hw.UNKNOWN):
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="20m", missing=missing)
    twins = {"seldom": hw.every_labels(7)}
    return hw.App("a", models=[hw.Model("m", on=Ask, features=[Ask.x], label=label, learner=Failing(fails), twins=twins)])


def events(n):
    """Questions whose first number is their own number; every third is never told, so that it expires."""
    for i in range(n):
        yield Seen(i * MINUTE, Ask(id_=str(i), x=float(i)))
        if i >= 3 and i % 3:
            yield Seen(i * MINUTE, Told(id_=str(i - 3), y=float(i % 4) - 1))


def careful(app):
    model = app.models["m"]
    return {"m": lambda: CarefulLearner(lambda: model.learner.start((), ()))}


def live(fails, sizes, n, resumed_at, missing):
    """The log of a run in which a model fails, as its learner writes it; with the state at its end."""
    app, log = app_of(fails, missing), MemoryLog(clock=VirtualClock())
    fold, n_marks = Fold(app, starts=careful(app)), 0
    for number, part in enumerate(split(batch_of(list(events(n))), sizes)):
        log.append(part)
        if number == resumed_at:
            app.models["m"].learner.fails.update(learn=None, score=None)
            mark = control_batch(RESUMED, {"model": "m"}, time_ms=0, id=f"r{number}", clock=VirtualClock())
            log.append(mark)
        if number % 2:
            continue  # the fold is behind the log now and then, so that a mark comes well after its place
        for chunk in log.read(fold.seq):
            for stopped in fold.step(chunk).stopped:
                mark = control_batch(STOPPED, stopped.body(), time_ms=0, id=f"s{n_marks}", clock=VirtualClock())
                log.append(mark)
                n_marks += 1
    for chunk in log.read(fold.seq):
        for stopped in fold.step(chunk).stopped:
            log.append(control_batch(STOPPED, stopped.body(), time_ms=0, id=f"s{n_marks}", clock=VirtualClock()))
            n_marks += 1
    for chunk in log.read(fold.seq):
        assert not fold.step(chunk).stopped
    return log, fold, n_marks


def _joined(log):
    return concat([chunk.batch for chunk in log.read(0)])


failures = st.fixed_dictionaries({}, optional={"learn": st.integers(0, 6), "score": st.integers(0, 60)})


@settings(max_examples=15, deadline=None)
@given(failures, st.lists(st.integers(1, 40), min_size=1, max_size=3), st.sampled_from([None, 2, 4]),
       st.lists(st.integers(15, 50), min_size=1, max_size=3), st.sampled_from([hw.UNKNOWN, hw.NEGATIVE]))  # fmt: skip
def test_any_split_and_any_restart_stop_at_the_same_place(fails, sizes, resumed_at, others, missing):
    """Nobody who folds the log later sees the model fail, and still it stops just there."""
    log, fold, n_marks = live(fails, tuple(sizes), 60, resumed_at, missing)
    assert n_marks <= 4
    app = app_of(None, missing)
    batch = _joined(log)
    once = Fold(app)
    once.foresee(stops_in(app, log, 0))
    once.step(Chunk(0, batch))
    assert once.state_hash() == fold.state_hash()
    with tempfile.TemporaryDirectory() as folder:
        for part in split(batch, tuple(others)):
            store = Checkpoints(Path(folder))
            again = restore(app, store)
            again.foresee(stops_in(app, log, again.seq))
            saver = Checkpointer(again, store)
            saver.gather(again.step(Chunk(again.seq, part)))
            saver.save()
            saver.wait()
            store.close()
    assert again.state_hash() == fold.state_hash()
    assert again.metrics()["m"] == fold.metrics()["m"]


def test_stopped_as_it_learnt_the_last_state_goes_on_scoring_until_a_person_has_it_go_on():
    _, fold, n_marks = live({"learn": 2}, (10,), 60, None, hw.UNKNOWN)
    lane = fold.models["m"].learner
    assert n_marks == 1
    assert lane.stops.now == Stop(LEARN, 10)
    assert lane.counts[0] == 10
    assert lane.counts[0] + lane.stops.n_dropped + lane.counts[3] == fold.metrics()["m"]["questions"]["labelled"]
    assert fold.metrics()["m"]["stopped"] == {"what": LEARN, "at": 10, "dropped": lane.stops.n_dropped}
    assert fold.metrics()["m"]["questions"]["blocked_weights"] == 0
    _, fold, _ = live({"learn": 2}, (10,), 60, 4, hw.UNKNOWN)
    assert fold.models["m"].learner.stops.now is None
    assert fold.models["m"].learner.counts[0] > 10
    assert "stopped" not in fold.metrics()["m"]


def test_stopped_as_it_scored_a_question_gets_no_score_and_is_counted():
    _, fold, n_marks = live({"score": 30}, (1,), 60, None, hw.UNKNOWN)
    assert n_marks == 1
    assert fold.models["m"].learner.stops.now.what == SCORE
    assert fold.metrics()["m"]["questions"]["blocked_weights"] == 2 * 30  # the line's and the twin's


def test_another_declaration_is_not_stopped():
    log, _, _ = live({"learn": 0}, (10,), 40, None, hw.UNKNOWN)
    assert stops_in(app_of(), log, 0) == {"m": [Stop(LEARN, 0)]}
    changed = app_of(missing=hw.NEGATIVE)
    assert stops_in(changed, log, 0) == {"m": []}


def test_a_learner_that_runs_here_and_fails_half_way_has_the_state_before():
    fold = Fold(app_of({"learn": 1}), starts=careful(app_of({"learn": 1})))
    effects = fold.step(Chunk(0, batch_of(list(events(60)))))
    assert [(s.model, s.stop, s.reason) for s in effects.stopped] == [
        ("m", Stop(LEARN, 5), "it raised MemoryError: half of it is learnt")
    ]
    assert fold.models["m"].learner.snapshot()["header"].tobytes() == b'{"blocks":1}'


def test_a_stop_that_was_saved_before_its_mark_is_not_met_twice():
    stops = Stops()
    stops.restore(np.array([1, 10, 5]))
    stops.foresee([Stop(LEARN, 10), Stop(LEARN, 20)])
    stops.resume()
    stops.come_to(LEARN, 10)
    assert stops.now is None
    stops.come_to(LEARN, 20)
    assert stops.now == Stop(LEARN, 20)


NOTHING = [{}, {"what": "learn"}, {"what": "x", "at": 1}, {"what": [], "at": 1}, {"what": "learn", "at": "1"}, {"model": ["m"]}]


@pytest.mark.parametrize("body", NOTHING)
def test_a_mark_that_says_nothing_stops_nothing(body):
    app, log = app_of(), MemoryLog(clock=VirtualClock())
    log.append(control_batch(STOPPED, {"model": "m", **body}, time_ms=0, id="x", clock=VirtualClock()))
    fold = Fold(app)
    fold.foresee(stops_in(app, log, 0))
    for chunk in log.read(0):
        fold.step(chunk)
    assert fold.models["m"].learner.stops.now is None
