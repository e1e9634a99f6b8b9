"""The gate calls few candidates better that are not, however often one looks; and those that are, soon."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.core.errors import DeclarationError
from headwater.planning.gate import Gate


@pytest.mark.parametrize("world", ["equal", "heavy tails", "worse", "levels that move"])
def test_false_promotions_stay_below_alpha_with_a_look_after_every_block(world):
    rng, alpha, runs, calls = np.random.default_rng(3), 0.1, 400, 0
    for _ in range(runs):
        served, candidate = rng.random(2000), rng.random(2000)
        if world == "heavy tails":
            served, candidate = rng.exponential(0.3, 2000), rng.exponential(0.3, 2000)
        elif world == "worse":
            candidate = candidate + 0.02
        elif world == "levels that move":
            level = np.repeat(rng.random(20), 100)
            served, candidate = served + level, candidate + level
        gate = Gate(alpha)
        calls += any(gate.observe(served[i : i + 20], candidate[i : i + 20]) == "better" for i in range(0, 2000, 20))
    assert calls / runs <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_a_better_candidate_is_found_and_a_worse_one_too():
    rng = np.random.default_rng(5)
    base, noise = rng.random(5000), rng.normal(0, 0.1, 5000)
    assert Gate().observe(base, base - 0.03 + noise) == "better"
    assert Gate().observe(base, base + 0.03 + noise) == "worse"
    assert Gate(margin=0.05).observe(base, base - 0.03 + noise) == "open"


def test_any_split_of_the_labels_is_the_same_and_holes_are_left_out():
    rng = np.random.default_rng(7)
    served, candidate = rng.random(300), rng.random(300)
    served[::7] = np.nan
    whole, parts = Gate(), Gate()
    whole.observe(served, candidate)
    for i in range(300):
        parts.observe(served[i : i + 1], candidate[i : i + 1])
    assert parts.evidence == pytest.approx(whole.evidence)
    assert parts.n == whole.n == 300 - 43


def test_a_gate_that_cannot_work_is_refused():
    with pytest.raises(DeclarationError, match="0 < alpha < 1"):
        Gate(alpha=0.0)
