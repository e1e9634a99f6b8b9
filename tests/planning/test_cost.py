"""Cost estimates: near what was seen, and above it nine times in ten."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.planning.cost import BOUND, CostModel


def test_it_learns_a_line_from_noisy_costs():
    rng, model = np.random.default_rng(0), CostModel()
    for _ in range(60):
        work = rng.uniform(1e6, 2e7)
        model.observe(work, (0.02 + 3e-8 * work) * rng.lognormal(0, 0.1))
    for work in (2e6, 1e7):
        assert abs(model.mean(work) / (0.02 + 3e-8 * work) - 1) < 0.1


def test_the_quantile_covers_about_nine_in_ten():
    rng, covered = np.random.default_rng(1), []
    for _ in range(30):
        model = CostModel()
        for i in range(40):
            work = rng.uniform(1e6, 2e7)
            cost = (0.02 + 3e-8 * work) * rng.lognormal(0, 0.2)
            if i >= 5:
                covered.append(cost <= model.upper(work))
            model.observe(work, cost)
    assert 0.83 <= np.mean(covered) <= 0.97


def test_a_job_may_take_twice_the_quantile_and_the_first_one_ten_times_what_is_assumed():
    model = CostModel()
    assert model.most(1e9) == pytest.approx(10 * model.mean(1e9))
    for _ in range(5):
        model.observe(1e9, 4.0)
    assert model.most(1e9) == pytest.approx(BOUND * model.upper(1e9))
    assert model.most(1.0) == 0.5  # small ones are mostly overhead


def test_a_cost_that_is_ten_times_what_it_was_is_learnt_from_jobs_that_were_ended():
    model = CostModel()
    for _ in range(20):
        model.observe(1e8, 1.0)
    n_ended = 0
    while (bound := model.most(1e8)) < 10.0:
        model.ended(1e8, bound)
        n_ended += 1
        assert bound < model.upper(1e8) < model.most(1e8)
    assert n_ended <= 3
    for _ in range(2):
        model.observe(1e8, 10.0)
    assert model.mean(1e8) == pytest.approx(10.0, rel=0.2)  # the twenty before count no more
    assert model.upper(1e8) > 10.0


def test_one_job_that_had_to_be_ended_does_not_undo_what_is_known():
    model = CostModel()
    for _ in range(20):
        model.observe(1e8, 1.0)
    before = model.upper(1e8)
    model.ended(1e8, 2 * before)
    model.observe(1e8, 1.0)
    assert model.upper(1e8) == pytest.approx(before, rel=0.05)


def test_costs_that_make_no_sense_are_left_out():
    model = CostModel()
    before = model.upper(1e6)
    model.observe(1e6, float("nan"))
    model.observe(1e6, -1.0)
    assert model.upper(1e6) == before
