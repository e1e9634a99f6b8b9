"""Nothing that comes in makes a weight, a score or a statistic non-finite."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.batch import frame
from headwater.core.expressions import hash_values
from headwater.learning.kernels import learn_rows, score_rows
from headwater.learning.linear import Linear, LinearState, base_of, category_slots
from headwater.learning.vectors import category_matrix

wild = st.sampled_from([0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf, 1e308, -1e308, 1e100, -1e100, 1e99, 1e-308, 5e-324])
optimizers = st.sampled_from(
    [{"optimizer": o, "alpha": a} for o in ("sgd", "adagrad", "ftrl") for a in (0.0, 1.0) if o != "ftrl" or not a]
)
specs = st.builds(
    lambda optimizer, **options: Linear(**optimizer, **options),
    optimizer=optimizers,
    loss=st.sampled_from(["log", "squared", "quantile"]),
    eta0=st.sampled_from([0.05, 1.0, 1e6]),
    intercept_eta=st.sampled_from([None, 0.1, 1e300]),
    l1=st.sampled_from([0.0, 1.0]),
    l2=st.sampled_from([0.0, 1e3]),
    clip_gradient=st.sampled_from([1.0, 1e12, np.inf]),
    clip_z=st.sampled_from([8.0, np.inf]),
    bits=st.just(4),
    standardize=st.booleans(),
)
examples = st.lists(st.tuples(wild, wild, wild, st.integers(5, 20)), min_size=1, max_size=30)


def is_refused(spec, x1, x2, y):
    huge = any(abs(x) > 1e100 for x in (x1, x2))
    return huge or not (abs(y) <= 1e100 if spec.loss != "log" else 0 <= y <= 1)


@settings(max_examples=300)
@given(specs, examples)
def test_wild_inputs_are_refused_and_counted_and_everything_stays_finite(spec, rows):
    state, out = LinearState(spec, 2, 0), np.zeros(1)
    refused = 0
    for x1, x2, y, c in rows:
        xs, cs = np.array([[x1, x2]]), np.array([[c]])
        before = [a.copy() for a in (state.weights, state.squares, state.stats)]
        learn_rows(state.weights, state.squares, state.stats, state.counts, xs, cs, np.array([y]), state.params, out)
        if is_refused(spec, x1, x2, y):
            refused += 1
            assert all((a == b).all() for a, b in zip(before, (state.weights, state.squares, state.stats), strict=True))
        assert np.isfinite(out).all()
        assert np.isfinite(out**2).all()
        assert np.isfinite(state.weights).all()
        assert np.isfinite(state.stats).all()
        score_rows(state.weights.copy(), state.stats, xs, cs, state.params, out)
        assert np.isfinite(out).all()
    assert state.counts[:2].tolist() == [len(rows) - refused, refused]


def test_a_weight_that_would_grow_without_bound_stays_and_is_counted():
    spec = Linear(loss="squared", optimizer="sgd", standardize=False, eta0=1e6, bits=4)
    state, out = LinearState(spec, 1, 0), np.zeros(200)
    learn_rows(
        state.weights,
        state.squares,
        state.stats,
        state.counts,
        np.full((200, 1), 1e90),
        np.zeros((200, 0), np.int64),
        np.ones(200),
        state.params,
        out,
    )
    assert state.counts[2] > 0
    assert np.isfinite(state.weights).all()


class Row(hw.Event, key="k"):
    k: hw.Field[str]
    a: hw.Field[str]
    b: hw.Field[str]


ROWS = [Row(k=str(i), a=f"v{i % 50}", b=f"v{i % 50}") for i in range(100)]


def test_equal_values_of_two_categories_do_not_share_a_weight():
    """The name salts the hash: of 50 equal values only chance puts some on the same of 65,536 weights."""
    slots = category_matrix([hw.category(Row.a), hw.category(Row.b)], frame(Row.schema, ROWS), np.zeros(100, np.int64), 1, 16)
    assert (slots[:, 0] == slots[:, 1]).sum() < 5
    assert slots[:50].tolist() == slots[50:].tolist()
    assert slots.min() >= 1
    assert slots.max() < 1 + 2**16


def test_slots_spread_like_balls_into_bins():
    """4,000 values on 4,096 weights: the number of weights in use is what chance gives, to four deviations."""
    rows = [Row(k="", a=str(i), b="") for i in range(4000)]
    slots = category_slots([hash_values((Row.a,), frame(Row.schema, rows), np.zeros(4000, np.int64))], ["x"], 0, 12)[:, 0]
    expected = 4096 * (1 - (1 - 1 / 4096) ** 4000)
    assert abs(len(set(slots.tolist())) - expected) < 4 * 24  # the deviation is about 24


def test_two_categories_on_one_weight_both_count():
    """A collision inside an example: the score has the weight twice, and each of the two takes its step."""
    spec = Linear(loss="squared", optimizer="sgd", eta0=0.1, intercept_eta=0.0, bits=4)
    state, out = LinearState(spec, 0, 0), np.zeros(1)
    learn_rows(
        state.weights,
        state.squares,
        state.stats,
        state.counts,
        np.zeros((1, 0)),
        np.array([[3, 3]]),
        np.ones(1),
        state.params,
        out,
    )
    assert state.weights[3] == 2 * 0.1 * 2
    score_rows(state.weights.copy(), state.stats, np.zeros((1, 0)), np.array([[3, 3]]), state.params, out)
    assert out[0] == 2 * state.weights[3]


def test_layout_of_the_weights():
    state = LinearState(Linear(bits=6), 3, 2)
    assert (state.base, state.weights.shape, state.twins.shape) == (base_of(3), (1 + 6 + 64,), (2, 71))
    state.weights[:] = np.arange(71)
    state.publish(1)
    assert state.twins[1].tolist() == list(range(71))
    assert not state.twins[0].any()
    snapshot = state.snapshot()
    whole = np.zeros(71)
    whole[: state.base] = snapshot["dense"]
    whole[state.base + snapshot["hashed_at"]] = snapshot["hashed"]
    assert whole.tolist() == list(range(71))
    state.weights[0] = -1.0
    assert snapshot["dense"][0] == 0.0  # a copy
