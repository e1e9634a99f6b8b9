"""The fast layer as a learner of the event lane: every rule of the lane, and the race's own answers."""

from __future__ import annotations

import numpy as np
import pytest

import headwater as hw
from headwater.core.errors import DeclarationError, Fatal
from headwater.learning.boosted import Boosted
from headwater.learning.fast import EXPERTS, FastLayer, Race
from headwater.learning.fast_kernels import Rows
from headwater.learning.protocol import Refittable
from headwater.registry.artifact import decode, encode
from headwater.testing import LearnerConformance
from headwater.testing.learner_conformance import CATEGORIES, NUMBERS, examples

pytest.importorskip("lightgbm")
TREES = {"trees": 8, "num_leaves": 4, "min_data_in_leaf": 5}


def slow(**more):
    return hw.LightGBM(**{**TREES, **more})


class TestFast(LearnerConformance):
    def make_spec(self):
        return hw.Fast(slow=slow(), block=16, bits=8, decide_every=64)


class TestFastOnNumbers(LearnerConformance):
    def make_spec(self):
        return hw.Fast(loss="squared", block=8, bits=8)


def made(n=600, seed=0):
    rng = np.random.default_rng(seed)
    xs, cs = rng.normal(size=(n, 3)), rng.integers(0, 200, (n, 1))
    return xs, cs, (xs[:, 0] * xs[:, 1] + 0.3 * rng.normal(size=n) > 0).astype(np.float64)


def fitted(xs, cs, ys):
    return Boosted("log", 8, 4, min_data_in_leaf=5).fit(np.hstack([xs, cs]), ys)._asdict()


def taught(spec, xs, cs, ys):
    learner = spec.start(NUMBERS, CATEGORIES)
    for at in range(0, len(ys), spec.block):
        learner.learn_block(xs[at : at + spec.block], cs[at : at + spec.block], ys[at : at + spec.block])
    return learner


def test_a_block_is_what_the_race_makes_of_its_rows_one_after_another():
    """The oracle is the layer that walks whole streams, where each label is known before the next row."""
    xs, cs, ys = made(320)
    spec, n = hw.Fast(block=32, bits=8, lags=False), len(ys)
    learner = taught(spec, xs[:-1], cs[:-1], ys[:-1])
    none = np.full(n, np.nan)
    rows = Rows(xs, np.arange(n + 1), cs[:, 0].astype(np.int32), np.zeros(n), none, ys, np.arange(n), np.arange(n))
    layer = FastLayer(Race(bits=8), rows, xs, absolute=False, trees=1)
    layer.advance(0, n - 1)
    # It learns a label when the next row comes, so it lacks the last one, and is ahead by that row's numbers.
    behind = taught(spec, xs[: n - 32], cs[: n - 32], ys[: n - 32])
    np.testing.assert_allclose(
        behind.say_many(xs[n - 32 : n - 31], cs[n - 32 : n - 31])[0, 2:4], layer.answers[n - 32, 2:4], atol=0.01
    )
    np.testing.assert_allclose(learner.state().arrays["dense"], layer.weights.dense, atol=0.05)


def test_experts_are_judged_by_what_they_said_when_they_were_asked():
    xs, cs, ys = made(64)
    spec = hw.Fast(block=64, bits=8, lags=False, decide_every=64)
    learner = spec.start(NUMBERS, CATEGORIES)
    said = np.full((64, spec.n_memos), 0.5)
    said[:, EXPERTS.index("bold")] = np.where(ys > 0, 0.9, 0.1)
    said[:, EXPERTS.index("slow")] = np.nan
    learner.learn_judged(xs, cs, ys, said)
    tally = learner.take_tally()
    assert tally.losses["bold"] == pytest.approx(-np.log(0.9))
    assert tally.losses["served"] == pytest.approx(np.log(2))
    assert np.isnan(tally.losses["slow"])
    mixed = learner.state().arrays["mixed"]
    assert mixed.argmax() == EXPERTS.index("bold")
    assert mixed.max() > 0.8


def test_trees_that_come_from_outside_help_and_start_at_their_own_values():
    xs, cs, ys = made(2000)
    spec = hw.Fast(slow=slow(), block=50, bits=8, lags=False, decide_every=500)
    with_trees, without = taught(spec, xs[:1000], cs[:1000], ys[:1000]), taught(spec, xs[:1000], cs[:1000], ys[:1000])
    with_trees.exchange(fitted(xs[:1000], cs[:1000], ys[:1000]))
    for learner in (with_trees, without):
        learner.take_tally()
        for at in range(1000, 2000, 50):
            learner.learn_block(xs[at : at + 50], cs[at : at + 50], ys[at : at + 50])
    mine, bare = with_trees.take_tally(), without.take_tally()
    assert (mine.n, mine.n_known) == (1000, 2000)
    assert mine.losses["leaves"] < mine.losses["bold"] - 0.1
    assert mine.losses["served"] < bare.losses["served"] - 0.1
    assert np.isnan(bare.losses["leaves"])
    assert with_trees.take_tally() is None


def test_its_state_with_trees_goes_through_bytes_and_holds_no_text():
    xs, cs, ys = made()
    spec = hw.Fast(slow=slow(), block=50, bits=8, lags=False)
    learner = taught(spec, xs, cs, ys)
    learner.exchange(fitted(xs, cs, ys))
    learner.learn_block(xs[:50], cs[:50], ys[:50])
    state = learner.state()
    packed = encode(state.arrays, state.header)
    artifact = decode(packed)
    other = spec.start(NUMBERS, CATEGORIES)
    other.load(type(state)(artifact.header, artifact.arrays))
    assert other.score_many(xs, cs).tobytes() == learner.score_many(xs, cs).tobytes()
    for one in (learner, other):
        one.learn_block(xs[50:100], cs[50:100], ys[50:100])
    assert encode(other.state().arrays, {}) == encode(learner.state().arrays, {})
    assert all(array.dtype.kind in "fiu" for array in state.arrays.values())


def test_the_default_state_is_small():
    learner = hw.Fast(slow=hw.LightGBM(trees=60, num_leaves=15)).start(tuple(f"n{i}" for i in range(50)), ("a", "b"))
    state = learner.state()
    assert len(encode(state.arrays, state.header)) < 2 << 20


def test_trees_of_other_features_are_refused():
    xs, cs, ys = made()
    learner = hw.Fast(slow=slow(), lags=False).start(("a",), ())
    assert isinstance(learner, Refittable)
    with pytest.raises(Fatal, match="not of this learner's features"):
        learner.exchange(fitted(xs, cs, ys))


def test_the_last_label_is_where_numbers_start_from():
    """A random walk: "no change" is the best that can be known, and the answer comes near it."""
    rng = np.random.default_rng(0)
    walk = 1000 + np.cumsum(rng.normal(size=2001))
    xs, ys = np.column_stack([walk[:-1], walk[:-1], walk[:-1]]), walk[1:]
    spec = hw.Fast(loss="squared", bits=8).lagged(("a", "b", "mean(c)"))
    learner = taught(spec, xs[:1600], np.zeros((1600, 1), np.int64), ys[:1600])
    said = learner.score_many(xs[1600:], np.zeros((400, 1), np.int64))
    assert np.abs(said - ys[1600:]).mean() < 1.1 * np.abs(xs[1600:, 0] - ys[1600:]).mean()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"slow": "lightgbm"}, r"hw\.Fast\.slow.*expected hw\.LightGBM"),
        ({"slow": slow(loss="squared"), "loss": "log"}, "one with loss='log'"),
        ({"loss": "hinge"}, r"hw\.Fast\.loss"),
        ({"block": 0}, r"hw\.Fast\.block"),
        ({"bits": 40}, r"hw\.Fast\.bits"),
        ({"decide_every": 0}, "a number of labels"),
        ({"slow": slow(trees=500, num_leaves=64)}, "at most 7560 leaves"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_where_it_is_declared(wrong, says):
    with pytest.raises(DeclarationError, match=says):
        hw.Fast(**wrong)


def test_conformance_examples_have_the_shape_that_is_asked_for():
    xs, cs, _ = examples(hw.Fast(block=16, bits=8), 5, seed=0)
    assert (xs.shape, cs.shape) == ((5, len(NUMBERS)), (5, len(CATEGORIES)))
    assert len(EXPERTS) == 7
