"""Cost estimates: near what was seen, and above it nine times in ten."""

from __future__ import annotations

import numpy as np

from headwater.planning.cost import CostModel


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


def test_costs_that_make_no_sense_are_left_out():
    model = CostModel()
    before = model.upper(1e6)
    model.observe(1e6, float("nan"))
    model.observe(1e6, -1.0)
    assert model.upper(1e6) == before
