"""The fast layer: answers before labels, any split, forests started at their own values, never far behind its best expert."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.learning.fast import EXPERTS, FastLayer, Race
from headwater.learning.fast_kernels import Rows
from headwater.learning.forest import Forest, descend, margins_of
from headwater.learning.lags import known_before, label_lags, order_of


def rows_of(n=3000, delay=0, seed=0, *, absolute=False, turn=None):
    """A stream whose yes depends on one number, one category, and the last label; `turn` reverses the number's meaning."""
    rng = np.random.default_rng(seed)
    x, category = rng.normal(size=(n, 2)), rng.integers(0, 5, n)
    way = np.where(np.arange(n) < (turn or n), 1.0, -1.0)
    margin = 2 * x[:, 0] * way + (category - 2)
    label = 10 * margin + rng.normal(size=n) if absolute else (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(float)
    time = np.arange(n)
    order = order_of(time + delay)
    ready = known_before(time, time + delay, order)
    lags = label_lags(label, np.zeros(0, np.int64), 0, order, ready)
    base, unchanged = np.nan_to_num(lags[:, 0]), lags[:, 0] if absolute else np.where(np.isnan(lags[:, 0]), np.nan, 0.5)
    dense = np.ascontiguousarray(np.column_stack([x, lags]))
    return Rows(dense, np.arange(n + 1), (7 * category).astype(np.int32), base, unchanged, label, order, ready), x, margin


def stump(low, high):
    """One tree with one split at 0 of the first column."""
    return Forest(
        np.zeros(1, np.int16),
        np.zeros(1, np.int16),
        np.zeros(1),
        np.array([[~0, ~1]], np.int16),
        np.ones(1, np.int16),
        np.array([low, high], np.float64),
    )


def log_loss(answers, labels):
    p = np.clip(answers, 1e-6, 1 - 1e-6)
    return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def layer_of(rows, numbers, *, absolute=False):
    return FastLayer(Race(bits=8), rows, numbers, absolute=absolute, trees=1)


@pytest.mark.parametrize("delay", [0, 25])
def test_any_split_of_the_stream_gives_the_same_answers(delay):
    rows, x, _ = rows_of(800, delay)
    whole, parts = layer_of(rows, x), layer_of(rows, x)
    whole.advance(0, 300)
    whole.exchange(stump(-1, 1), 300)
    whole.advance(300, 800)
    for a, b in ((0, 1), (1, 250), (250, 300)):
        parts.advance(a, b)
    parts.exchange(stump(-1, 1), 300)
    for a, b in ((300, 301), (301, 640), (640, 800)):
        parts.advance(a, b)
    np.testing.assert_array_equal(whole.fused, parts.fused)


def test_labels_of_the_future_change_no_answer():
    rows, x, _ = rows_of(500, 40)
    first = layer_of(rows, x)
    first.advance(0, 500)
    poisoned = rows._replace(label=np.where(np.arange(500) >= 300, 1 - rows.label, rows.label))
    second = layer_of(poisoned, x)
    second.advance(0, 500)
    np.testing.assert_array_equal(first.fused[:340], second.fused[:340])
    assert (first.fused[345:] != second.fused[345:]).any()


@pytest.mark.parametrize("absolute", [False, True])
def test_the_answer_loses_no_more_than_the_bound_to_its_best_expert(absolute):
    rows, x, _ = rows_of(absolute=absolute, turn=1500)
    layer = layer_of(rows, x, absolute=absolute)
    layer.advance(0, rows.label.size)
    n_learnt = layer.n_learnt
    answers, labels = layer.answers[1:n_learnt], rows.label[1:n_learnt]  # the first row is answered before "no change" wakes
    awake = ~np.isnan(answers).any(axis=0)
    lost = np.abs(answers - labels[:, None]) if absolute else log_loss(answers, labels[:, None])
    k, share = len(EXPERTS), -np.log1p(-layer.spec.share)
    gap = layer.weights.mixture[1]
    bound = gap * (2 + labels.size * share / np.log(k)) if absolute else (np.log(k) + labels.size * share) / layer.spec.rate
    fused = layer.fused[1:n_learnt]
    mine = np.abs(fused - labels) if absolute else log_loss(fused, labels)
    assert mine.sum() <= lost[:, awake].sum(axis=0).min() + bound + 15


def test_it_comes_near_what_can_be_known_and_follows_a_turn():
    rows, x, margin = rows_of(6000, turn=3000)
    layer = layer_of(rows, x)
    layer.advance(0, 6000)
    best = log_loss(1 / (1 + np.exp(-margin)), rows.label)
    lost = log_loss(layer.fused, rows.label)
    assert lost[1500:3000].mean() < best[1500:3000].mean() + 0.06
    assert lost[4500:].mean() < best[4500:].mean() + 0.06


def test_leaves_start_at_the_trees_own_values():
    rows, x, _ = rows_of(200)
    layer = layer_of(rows, x)
    layer.exchange(stump(-3, 3), 0)
    layer.advance(0, 1)
    expected = 1 / (1 + np.exp(-np.where(x[0, 0] <= 0, -3.0, 3.0)))
    assert layer.answers[0, EXPERTS.index("leaves")] == pytest.approx(expected)
    assert layer.answers[0, EXPERTS.index("corrector")] == pytest.approx(expected)
    assert layer.answers[0, EXPERTS.index("slow")] == pytest.approx(expected)


def test_experts_of_the_slow_model_sleep_without_one():
    rows, x, _ = rows_of(50)
    layer = layer_of(rows, x)
    layer.advance(0, 50)
    assert np.isnan(layer.answers[:, [EXPERTS.index(name) for name in ("corrector", "leaves", "slow")]]).all()
    assert np.isfinite(layer.fused).all()


def test_a_forest_sends_missing_numbers_where_it_was_told():
    forest = stump(-1, 1)
    numbers = np.array([[-1.0], [0.0], [2.0], [np.nan]])
    leaves, margins = np.zeros((4, 1), np.int16), np.zeros(4)
    descend(forest, numbers, np.arange(4), leaves, margins)
    assert leaves[:, 0].tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(margins, margins_of(forest, numbers, 0, 4))
