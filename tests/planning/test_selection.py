"""Every choice has its size, no row twice, and keeps what it promises to keep."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.planning import selection

CHOICES = {
    "recency": lambda n, k, seed: selection.recency(n, k),
    "random": selection.random,
    "stratified": lambda n, k, seed: selection.stratified(np.random.default_rng(seed).integers(0, 4, n), k, seed),
    "uncertainty": lambda n, k, seed: selection.uncertainty(np.random.default_rng(seed).random(n), k),
    "by_loss": lambda n, k, seed: selection.by_loss(np.random.default_rng(seed).random(n), k, seed),
    "reservoir": selection.reservoir,
    "k_centre": lambda n, k, seed: selection.k_centre(np.random.default_rng(seed).random((n, 2)), k),
}


@pytest.mark.parametrize("name", CHOICES)
@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 60), k=st.integers(0, 70), seed=st.integers(0, 1000))
def test_a_choice_has_its_size_and_no_row_twice_and_is_the_same_again(name, n, k, seed):
    chosen = CHOICES[name](n, k, seed)
    assert chosen.dtype == np.int64
    assert chosen.size == min(n, k)
    assert (np.diff(chosen) > 0).all()
    assert ((chosen >= 0) & (chosen < n)).all()
    np.testing.assert_array_equal(chosen, CHOICES[name](n, k, seed))


@settings(max_examples=100, deadline=None)
@given(strata=st.lists(st.integers(0, 5), min_size=1, max_size=80), k=st.integers(1, 80))
def test_strata_keep_their_shares_and_none_is_lost_while_there_is_room(strata, k):
    strata = np.array(strata)
    chosen = selection.stratified(strata, k)
    names, sizes = np.unique(strata, return_counts=True)
    taken = np.array([(strata[chosen] == name).sum() for name in names])
    exact = sizes * chosen.size / strata.size
    if chosen.size >= names.size:
        assert (taken >= 1).all()
    small = int((exact < 1).sum())
    assert (np.abs(taken - exact) <= 1 + small).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 4))
def test_k_centre_is_within_twice_the_best_radius(seed, k):
    points = np.random.default_rng(seed).normal(size=(9, 2))
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    apart = np.sqrt(((scaled[:, None] - scaled[None]) ** 2).sum(axis=2))
    best = min(apart[list(centres)].min(axis=0).max() for centres in itertools.combinations(range(9), k))
    assert apart[selection.k_centre(points, k)].min(axis=0).max() <= 2 * best + 1e-9


def test_a_column_without_numbers_is_no_distance():
    points = np.column_stack([np.arange(5.0), np.full(5, np.nan)])
    assert selection.k_centre(points, 2).tolist() == [0, 4]


def test_what_is_uncertain_or_lost_much_is_preferred():
    p = np.full(1000, 0.99)
    p[100:200] = 0.5
    assert set(selection.uncertainty(p, 100)) == set(range(100, 200))
    drawn = selection.by_loss(np.where(np.arange(1000) < 500, 1.0, 0.01), 200)
    assert (drawn < 500).mean() > 0.9


def test_a_reservoir_favours_no_row():
    taken = np.zeros(50)
    for seed in range(2000):
        taken[selection.reservoir(50, 10, seed)] += 1
    assert np.abs(taken / 2000 - 0.2).max() < 0.05
