"""Each regime keeps a fair sample; a candidate that forgets is not served, unless it gains as much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import DeclarationError
from headwater.planning.anchors import Anchors, Reservoir, forgets


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=6), seed=st.integers(0, 100))
def test_any_split_of_the_rows_gives_the_same_sample(cuts, seed):
    whole, parts = Reservoir(20, seed), Reservoir(20, seed)
    whole.offer(np.arange(300))
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
        parts.offer(np.arange(a, b))
    np.testing.assert_array_equal(whole.rows, parts.rows)
    assert whole.n_offered == 300


def test_every_row_has_the_same_chance():
    taken = np.zeros(60)
    for seed in range(2000):
        kept = Reservoir(12, seed)
        kept.offer(np.arange(60))
        taken[kept.rows] += 1
    assert np.abs(taken / 2000 - 0.2).max() < 0.05


def test_regimes_are_kept_apart_and_the_oldest_become_one():
    anchors = Anchors(per_regime=10, most=3)
    for k in range(5):
        anchors.offer(np.arange(100 * k, 100 * k + 100))
        anchors.turn(loss_then=float(k))
    assert len(anchors.regimes) == 3
    assert [(r.first, r.last) for r in anchors.past] == [(0, 399), (400, 499)]
    assert anchors.past[0].kept.rows.size == 10
    assert anchors.past[0].kept.n_offered == 400
    assert anchors.past[0].loss_then == pytest.approx(1.5)
    assert anchors.rows().size == 20


def test_a_turn_without_labels_makes_no_regime():
    anchors = Anchors()
    anchors.turn()
    anchors.offer(np.arange(5))
    anchors.turn()
    anchors.turn()
    assert len(anchors.regimes) == 2


def test_the_limit_on_forgetting():
    served = np.full(50, 0.2)
    assert forgets(served, served + 0.01, gain=-1.0, scale=0.5).allowed
    refused = forgets(served, served + 0.1, gain=0.05, scale=0.5)
    assert not refused.allowed
    assert "loses 0.1 more on past regimes, and gains 0.05" in refused.why
    assert forgets(served, served + 0.1, gain=0.11, scale=0.5).allowed
    assert forgets(np.zeros(0), np.zeros(0), gain=0.0, scale=0.5).allowed


def test_a_reservoir_of_nothing_is_refused():
    with pytest.raises(DeclarationError, match="at least one row"):
        Reservoir(0)
