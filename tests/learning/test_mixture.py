"""Hedge's promises: never worse than the best expert by more than the bound, experts that sleep, experts that come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headwater.core.errors import DeclarationError
from headwater.learning.mixture import Mixture, clipped

SHARES = st.sampled_from([0.0, 1e-4, 1e-2, 0.3])


def log_losses(answers, labels):
    p = np.where(labels[:, None] == 1, answers, 1 - answers)
    return -np.log(np.clip(p, 1e-6, 1 - 1e-6))


@st.composite
def tables(draw, low, high):
    n, k = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    return draw(arrays(np.float64, (n, k), elements=st.floats(low, high))), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=60, deadline=None)
@given(table=tables(1e-6, 1 - 1e-6), share=SHARES, rate=st.sampled_from([1.0, 0.3]))
def test_probabilities_lose_no_more_than_the_bound(table, share, rate):
    answers, seed = table
    labels = np.random.default_rng(seed).integers(0, 2, answers.shape[0]).astype(float)
    mixture = Mixture(answers.shape[1], loss="log", share=share, rate=rate)
    fused = mixture.learn(answers, labels)
    lost = log_losses(np.clip(answers, 1e-6, 1 - 1e-6), labels)
    assert mixture.loss <= lost.sum(axis=0).min() + mixture.bound() + 1e-6
    assert mixture.loss == pytest.approx(log_losses(fused[:, None], labels).sum(), rel=1e-3, abs=1e-4)
    assert mixture.weights.sum() == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(table=tables(-100, 100), share=SHARES)
def test_numbers_lose_no_more_than_the_bound(table, share):
    answers, seed = table
    labels = np.random.default_rng(seed).normal(0, 50, answers.shape[0])
    mixture = Mixture(answers.shape[1], loss="absolute", share=share)
    fused = mixture.learn(answers, labels)
    lost = np.abs(answers - labels[:, None])
    best = lost.sum(axis=0).min()
    assert mixture.loss == pytest.approx(np.abs(fused - labels).sum())
    assert mixture.loss <= best + mixture.bound() + 1e-6
    if share == 0:
        n, k = answers.shape
        span = (lost.max(axis=1) - lost.min(axis=1)).max()
        assert mixture.loss <= best + span * (np.sqrt(n * np.log(k)) + 16 / 3 * np.log(k) + 2) + 1e-6


def test_the_bayesian_mixture_is_bayes_rule():
    rng = np.random.default_rng(0)
    answers, labels = rng.uniform(0.05, 0.95, (200, 4)), rng.integers(0, 2, 200).astype(float)
    mixture = Mixture(4, loss="log", share=0.0)
    mixture.learn(answers, labels)
    posterior = np.exp(-log_losses(answers, labels).sum(axis=0))
    np.testing.assert_allclose(mixture.weights, posterior / posterior.sum(), rtol=1e-9)


@pytest.mark.parametrize("loss", ["log", "absolute"])
def test_a_sleeping_expert_neither_gains_nor_loses(loss):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500).astype(float)
    answers = np.column_stack([np.where(labels == 1, 0.8, 0.2), np.full(500, 0.5), np.full(500, np.nan)])
    mixture = Mixture(3, loss=loss, share=0.0)
    mixture.learn(answers, labels)
    assert mixture.weights[2] > mixture.weights[1]
    twin = Mixture(2, loss=loss, share=0.0)
    if loss == "log":
        twin.learn(answers[:, :2], labels)
        np.testing.assert_allclose(mixture.weights[:2] / mixture.weights[:2].sum(), twin.weights)


def test_nobody_awake_has_no_answer_and_changes_nothing():
    mixture = Mixture(2, loss="log")
    assert np.isnan(mixture.learn(np.full((3, 2), np.nan), np.ones(3))).all()
    np.testing.assert_array_equal(mixture.weights, [0.5, 0.5])


@pytest.mark.parametrize("loss", ["log", "absolute"])
def test_the_share_brings_an_expert_back(loss):
    labels = np.ones(2000)
    answers = np.column_stack(
        [np.r_[np.full(1000, 0.99), np.full(1000, 0.01)], np.r_[np.full(1000, 0.01), np.full(1000, 0.99)]]
    )
    with_share = Mixture(2, loss=loss, share=0.01).learn(answers, labels)
    without = Mixture(2, loss=loss, share=0.0).learn(answers, labels)
    assert with_share[1050] > 0.9 > without[1050]


def test_what_cannot_be_made_is_refused():
    with pytest.raises(DeclarationError, match="0 < rate <= 1"):
        Mixture(3, loss="log", rate=0.0)


def test_certainty_is_clipped():
    assert clipped(1.0) == 1 - 1e-6
