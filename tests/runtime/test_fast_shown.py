"""The fast layer in the view: by parts, few bytes a block, and answers with the bits of the fold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import headwater as hw
from headwater.core.clock import VirtualClock
from headwater.core.errors import DiskFull, Untrusted
from headwater.core.seals import Seal
from headwater.log.protocol import Chunk
from headwater.runtime.fold import Fold
from headwater.runtime.publishing import Publisher
from headwater.runtime.refitting import RefitsAtOnce
from headwater.serving.lanes import bounded
from headwater.serving.parts import FastLane
from headwater.store.memory_view import MemoryView
from headwater.store.view import HASHED_ROW, trees_key, weights_key
from headwater.testing.events import batch_of, split

from .test_refits import ROWS, Ask, Told

pytest.importorskip("lightgbm")
LOSSES = {"log": Told.y > 0, "squared": Told.y}


class Counting(MemoryView):
    """Counts the bytes of what is put, by the first byte of the key."""

    def __init__(self):
        super().__init__()
        self.puts: list[Counter] = []
        self.is_full = False

    def publish(self, meta, puts, deletes=(), status=None):
        if self.is_full:
            raise DiskFull("no room", where="view")
        self.puts.append(Counter())
        for key, value in puts:
            self.puts[-1][key[:1]] += len(bytes(value))
        super().publish(meta, puts, deletes, status)


def app_of(loss="log", methods=("full",)):
    slow = hw.LightGBM(trees=6, num_leaves=4, min_data_in_leaf=5, window=400, refit_every=100, loss=loss)
    learner = hw.Fast(slow=slow, update=hw.Planner(budget="1 cores", methods=methods), block=32, decide_every=64)
    label = hw.label(LOSSES[loss], join=Told.id_, on=Ask.id_, within="1h")
    features = [Ask.a, Ask.b, hw.category(Ask.shop), hw.category(Ask.id_)]
    return hw.App("a", models=[hw.Model("m", on=Ask, features=features, label=label, learner=learner)])


class Shown:
    """A fold, shown after each part of the stream."""

    def __init__(self, loss="log", seal=None, methods=("full",)):
        self.app, self.view = app_of(loss, methods), Counting()
        self.fold, self.refits = Fold(self.app), RefitsAtOnce(self.app)
        self.refits.attach(self.fold)
        self.publisher = Publisher(self.fold, self.view, VirtualClock(), resume=False, seal=seal)
        self.learner = self.fold.models["m"].learner

    def live(self, rows=ROWS, size=64):
        for part in split(batch_of(rows), (size,)):
            self.refits.take(self.fold.step(Chunk(self.fold.seq, part)))
            self.publisher.publish()

    def lane(self, seal=None):
        model = self.app.models["m"]
        numbers = tuple(f.name for f in model.numbers)
        names = (*numbers, *(c.name for c in model.categories))
        return FastLane("m", 0, model.learner, names, len(numbers), seal)

    def score(self, lane, xs, cs):
        with self.view.open() as view:
            return lane.score(view, view.row(weights_key("m")), xs, cs).scores

    def vectors(self, n=200):
        """Numbers, some of them missing, and categories, most of which were learnt."""
        rng, d = np.random.default_rng(0), self.learner.fast._d
        xs = rng.normal(size=(n, d))
        xs[rng.random((n, d)) < 0.2] = np.nan
        learnt = np.flatnonzero(self.learner.fast.hashed(np.arange(1 << 13)).any(axis=1))
        cs = np.where(rng.random((n, 2)) < 0.8, rng.choice(learnt, (n, 2)), rng.integers(0, 1 << 13, (n, 2)))
        return xs, cs


def rows_of(view):
    """What is shown of the line; a hashed row that is zero may be left out."""
    kept = {key: value for key, value in view._rows.items() if key[:1] in (HASHED_ROW, b"w", b"t")}
    return {key: value for key, value in kept.items() if key[:1] != HASHED_ROW or any(value)}


@pytest.mark.parametrize("loss", LOSSES)
def test_answers_from_the_parts_have_the_bits_of_the_fold_at_every_block(loss):
    shown = Shown(loss)
    lane, n_exchanged = shown.lane(), 0
    for start in range(0, len(ROWS), 100):
        shown.live(ROWS[start : start + 100])
        xs, cs = (
            shown.vectors() if shown.learner.fast.n_learnt else (np.zeros((2, shown.learner.fast._d)), np.ones((2, 2), int))
        )
        expected = bounded(shown.learner.scores(xs, cs), loss)
        assert shown.score(lane, xs, cs).tobytes() == expected.tobytes()
        assert shown.score(lane, xs[:1], cs[:1]).tobytes() == expected[:1].tobytes()
        n_exchanged += trees_key("m") in shown.view._rows
    assert n_exchanged > 3
    assert shown.score(shown.lane(), xs, cs).tobytes() == expected.tobytes()  # who comes later sees the same


@pytest.mark.parametrize("loss", LOSSES)
def test_more_trees_are_shown_like_others(loss):
    shown = Shown(loss, methods=("steps", "full"))
    lane = shown.lane()
    for start in range(0, len(ROWS), 200):
        shown.live(ROWS[start : start + 200])
        shown.refits.upkeeps["m"].planner.probe.owed = 1e9  # from the next decision point on an update is due
        xs, cs = shown.vectors()
        assert shown.score(lane, xs, cs).tobytes() == bounded(shown.learner.scores(xs, cs), loss).tobytes()
    assert "steps" in {job.method for job in shown.refits.ledger.jobs("fit") if job.outcome == "served"}
    assert shown.learner.fast.trees()["roots"].size > 6


def test_a_block_publishes_kilobytes_and_trees_are_published_once_a_refit():
    shown = Shown()
    shown.live()
    whole = len(shown.learner.packed())
    line = [sum(put[kind] for kind in (HASHED_ROW, b"w", b"t")) for put in shown.view.puts]
    assert whole > 500_000
    assert max(line) < whole / 25
    fits = [job for job in shown.refits.ledger.jobs("fit") if job.outcome == "served"]
    assert sum(put[b"t"] > 0 for put in shown.view.puts) == len(fits) > 0
    idle = len(shown.view.puts)
    shown.publisher.publish()
    assert not {HASHED_ROW, b"w", b"t"} & shown.view.puts[idle].keys()


def test_what_is_shown_part_by_part_is_what_is_shown_at_once():
    shown, whole = Shown(), MemoryView()
    shown.live()
    Publisher(shown.fold, whole, VirtualClock(), resume=False).publish()
    assert rows_of(whole) == rows_of(shown.view)


def test_what_a_full_disk_kept_from_being_shown_is_shown_later():
    shown = Shown()
    shown.live(ROWS[:600])
    shown.view.is_full = True
    shown.live(ROWS[600:1000])
    shown.view.is_full = False
    shown.live(ROWS[1000:])
    xs, cs = shown.vectors()
    assert shown.score(shown.lane(), xs, cs).tobytes() == bounded(shown.learner.scores(xs, cs), "log").tobytes()


def test_a_view_that_is_made_anew_is_followed():
    shown, lane = Shown(), None
    shown.live()
    lane, (xs, cs) = shown.lane(), shown.vectors()
    shown.score(lane, xs, cs)
    again = Shown()
    again.live(ROWS[:100])
    assert trees_key("m") not in again.view._rows
    xs, cs = again.vectors()
    assert again.score(lane, xs, cs).tobytes() == bounded(again.learner.scores(xs, cs), "log").tobytes()


def test_parts_of_another_installation_and_parts_in_each_others_place_are_refused():
    ours, theirs = Seal(b"o" * 16), Seal(b"t" * 16)
    shown = Shown(seal=ours)
    shown.live()
    xs, cs = shown.vectors(3)
    assert np.isfinite(shown.score(shown.lane(ours), xs, cs)).all()
    with pytest.raises(Untrusted, match="not written by this installation"):
        shown.score(shown.lane(theirs), xs, cs)
    shown.view._rows[trees_key("m")] = shown.view._rows[weights_key("m")]
    with pytest.raises(Untrusted, match="trees"):
        shown.score(shown.lane(ours), xs, cs)
