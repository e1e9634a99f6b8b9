"""Late labels: coverage is what it is, and what is missing is neither a no nor a sign of change."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.core.errors import DeclarationError
from headwater.planning.delays import Delays, corrected_loss


def waited(rng, n=20_000, mean_ms=60_000.0):
    """Rows that came evenly over ten means; at the end, some still wait."""
    delay = rng.exponential(mean_ms, n).astype(np.int64)
    age = rng.integers(0, int(10 * mean_ms), n)
    return delay, age, delay <= age


def test_coverage_is_the_share_that_has_come_by_an_age_though_many_still_wait():
    delay, age, come = waited(np.random.default_rng(0))
    delays = Delays.learnt(np.where(come, delay, age), come)
    ages = np.array([6_000, 30_000, 60_000, 180_000])
    np.testing.assert_allclose(delays.coverage(ages), 1 - np.exp(-ages / 60_000), atol=0.015)
    assert delays.coverage(np.array([0]))[0] == 0.0


def test_young_rows_with_a_quick_label_do_not_pass_for_all():
    rng = np.random.default_rng(1)
    delay = rng.exponential(60_000, 20_000).astype(np.int64)
    age = rng.integers(0, 60_000, 20_000)  # no row is older than a mean delay
    come = delay <= age
    delays = Delays.learnt(np.where(come, delay, age), come)
    seen_only = (delay[come] <= 20_000).mean()
    truth = 1 - np.exp(-20 / 60)
    assert abs(delays.coverage(np.array([20_000]))[0] - truth) < 0.02 < abs(seen_only - truth)


def test_fake_negatives_are_corrected():
    rng = np.random.default_rng(2)
    delay, age, come = waited(rng)
    delays = Delays.learnt(np.where(come, delay, age), come)
    young = rng.integers(0, 60_000, 20_000)
    converts = rng.random(20_000) < 0.3
    yes = converts & (rng.exponential(60_000, 20_000) <= young)
    assert yes.mean() < 0.15
    assert delays.rate(int(yes.sum()), young) == pytest.approx(0.3, abs=0.02)
    later = delays.still_to_come(np.full(20_000, 0.3), young)
    assert later[~yes].mean() == pytest.approx(converts[~yes].mean(), abs=0.02)
    assert np.isnan(delays.rate(0, np.zeros(3, np.int64)))


def test_a_loss_that_depends_on_the_delay_is_corrected_by_coverage():
    rng = np.random.default_rng(3)
    delay, age, come = waited(rng)
    delays = Delays.learnt(np.where(come, delay, age), come)
    young = rng.integers(0, 120_000, 40_000)
    waits = rng.exponential(60_000, 40_000)
    loss = 0.2 + 0.3 * (young > 60_000) + 0 * waits
    known = np.where(waits <= young, loss, np.nan)
    assert abs(np.nanmean(known) - loss.mean()) > 0.03
    assert corrected_loss(known, delays.weights(young)) == pytest.approx(loss.mean(), abs=0.015)
    assert corrected_loss(np.array([np.nan]), np.ones(1)) == 0.0


def test_nothing_seen_is_nothing_known():
    delays = Delays.learnt(np.array([500, 700]), np.array([False, False]))
    assert delays.coverage(np.array([10_000])).tolist() == [0.0]
    with pytest.raises(DeclarationError, match="not negative"):
        Delays.learnt(np.array([-1]), np.array([True]))
