"""One model's upkeep on a clock of its own: whatever goes wrong, a plan says so, spending is bounded, the model stays."""

from __future__ import annotations

import numpy as np
import pytest

import headwater as hw
from headwater.learning.protocol import Tally
from headwater.planning.declaring import updating
from headwater.planning.ledger import Ledger
from headwater.planning.upkeep import Upkeep

MINUTE_MS, LABELS = 60_000, 1_000
KEPT_UP = {"served": 0.4, "bare": 0.5, "bold": 0.5, "careful": 0.5, "leaves": 0.4, "slow": 0.45, "no change": 0.7}
LEFT_BEHIND = {**KEPT_UP, "leaves": 0.55, "slow": 0.8}


def usual_s(rows):
    """Ten times what the cost model assumes before it has seen anything."""
    return 0.05 + 9e-5 * rows


class Days:
    """Decision points a minute apart, each after a thousand labels, and fits that cost what they are said to."""

    def __init__(self, update, cost=lambda rows: 1e-4 * rows):
        self.upkeep = Upkeep("m", updating(update), lambda rows: 600.0 * rows, 20_000, Ledger(), absolute=False)
        self.plans, self.cost, self.now_ms, self.n_known, self.labels = [], cost, 0, 0, np.arange(LABELS) % 2.0
        self.upkeep.plans = lambda at, at_ms, plan: self.plans.append(plan)

    def live(self, points, losses=KEPT_UP, n=LABELS, step_ms=MINUTE_MS):
        for _ in range(points):
            self.now_ms += step_ms
            self.n_known += n
            self.upkeep.learn(np.column_stack([self.labels, self.labels])[:n])
            order = self.upkeep.decide(self.n_known, self.now_ms, Tally(n, self.n_known, losses), self.now_ms)
            if order is not None:
                self._fit(order)

    def _fit(self, order):
        cost = self.cost(order.rows)
        if cost > order.limit_core_s:
            self.upkeep.ended(order, order.limit_core_s, "stopped", "it had taken what was reserved")
        else:
            self.upkeep.ended(order, cost, "served")

    @property
    def fits(self):
        return self.upkeep.ledger.jobs("fit")

    @property
    def whys(self):
        return [plan.why for plan in self.plans]


def test_a_fit_reserves_what_it_may_take_and_settles_what_it_took():
    days = Days(hw.Planner(budget="50% of a core"))
    bucket = days.upkeep.planner.bucket
    days.live(1)
    (job,) = days.fits
    assert job.core_s < job.estimate_core_s <= 30.0  # what is there at the start
    assert bucket.level == pytest.approx(30.0 - job.core_s)


def test_a_cost_that_grows_tenfold_is_ended_charged_backed_off_and_then_known():
    days = Days([hw.Planner(budget="10% of a core"), hw.every_labels(5_000)], usual_s)
    days.live(30)
    assert {job.outcome for job in days.fits} == {"served"}
    n = len(days.fits)
    days.cost = lambda rows: 10 * usual_s(rows)
    days.live(100)
    later = days.fits[n:]
    n_stopped = [job.outcome for job in later].index("served")
    assert 1 <= n_stopped <= 3
    assert {job.outcome for job in later[n_stopped:]} == {"served"}
    assert [job.core_s for job in later[:n_stopped]] == [job.estimate_core_s for job in later[:n_stopped]]
    assert sum(f"the last {i} fits failed" in why for i in range(1, n_stopped + 1) for why in days.whys) >= n_stopped
    assert later[-1].core_s == 10 * usual_s(later[-1].rows)
    assert days.upkeep.costs.upper(600.0 * later[-1].rows) > later[-1].core_s


def test_spending_on_fits_is_bounded_in_any_interval_whatever_they_would_cost():
    rng = np.random.default_rng(0)
    days = Days([hw.Planner(budget="2% of a core"), hw.every_labels(2_000)], lambda rows: float(rng.lognormal(0, 3)))
    days.live(400, LEFT_BEHIND)
    bucket, jobs = days.upkeep.planner.bucket, days.fits
    assert {"served", "stopped"} == {job.outcome for job in jobs}
    for i in range(len(jobs)):
        for j in range(i, len(jobs)):
            free = bucket.rate * (jobs[j].at_ms - jobs[i].at_ms) / 1000 + bucket.depth
            assert sum(job.core_s for job in jobs[i : j + 1]) <= free + 1e-6


def test_a_fit_that_the_budget_can_never_pay_is_tried_less_and_less_and_then_refused():
    days = Days(hw.Planner(budget="1% of a core"), lambda rows: 1e6)
    days.live(300)
    assert {job.outcome for job in days.fits} == {"stopped"}
    assert len(days.fits) <= 8
    assert "the budget never saves up more than 6." in days.plans[-1].why


def test_a_rule_waits_after_a_fit_that_failed_and_is_not_forgotten():
    days = Days(hw.every_labels(10_000))
    days.live(12)
    n = len(days.fits)
    days.cost = lambda rows: 1e6
    days.live(10)
    assert [job.outcome for job in days.fits[n:]] == ["stopped"]
    days.cost = lambda rows: 0.1
    days.live(12)
    assert days.fits[n + 1].outcome == "served"
    assert "10000 labels have come" in days.fits[n + 1].why


def test_a_person_is_not_made_to_wait_for_a_fit_that_failed():
    days = Days(hw.manual())
    days.live(3)
    ask = {"asked": "Refit: a person has asked for it."}
    for _ in range(2):
        order = days.upkeep.decide(days.n_known, days.now_ms, Tally(0, days.n_known, {}), days.now_ms, **ask)
        days.upkeep.ended(order, 0.1, "failed", "no trees today")
    assert [job.outcome for job in days.fits] == ["failed", "failed"]


def test_labels_of_one_class_are_refused_and_told():
    days = Days(hw.Planner())
    days.labels = np.ones(LABELS)
    days.live(5)
    assert days.fits == []
    assert "its window holds one class only" in days.whys[-1]


def test_labels_that_stop_leave_the_model_and_the_plan_says_so():
    days = Days(hw.Planner())
    days.live(10)
    n = len(days.fits)
    days.live(5, {}, n=0)
    assert len(days.fits) == n
    assert "no labels have come since the last decision; the served model stays" in days.whys[-1]


@pytest.mark.parametrize("budget", ["0% of a core", "0.0001% of a core"])
def test_no_budget_no_fit_and_the_plan_says_why(budget):
    days = Days(hw.Planner(budget=budget))
    days.live(50)
    assert days.fits == []
    assert any(text in days.whys[-1] for text in ("the budget is zero", "the budget never saves up more than"))


def test_a_clock_that_goes_back_earns_nothing_and_the_plan_says_so():
    days = Days(hw.every_labels(1_000_000))
    days.live(3)
    level = days.upkeep.planner.bucket.level
    days.live(1, step_ms=-10_000_000)
    assert "The clock went back: that adds nothing to the budget." in days.whys[-1]
    assert days.upkeep.planner.bucket.level <= level


def test_a_clock_that_jumps_a_year_ahead_earns_no_more_than_the_depth():
    days = Days(hw.Planner(budget="1% of a core"))
    days.live(3)
    days.live(1, step_ms=365 * 1440 * MINUTE_MS)
    assert days.upkeep.planner.bucket.level <= days.upkeep.planner.bucket.depth
