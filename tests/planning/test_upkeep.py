"""One model's upkeep on a clock of its own: whatever goes wrong, a plan says so, spending is bounded, the model stays."""

from __future__ import annotations

import json

import numpy as np
import pytest

import headwater as hw
from headwater.learning.protocol import Tally
from headwater.planning.declaring import updating
from headwater.planning.ledger import Ledger
from headwater.planning.rungs import Rungs, Trees
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
        spec = updating(update)
        rungs = Rungs(spec.methods, 60, 120, lambda rows: 600.0 * rows, 20_000)
        self.upkeep = Upkeep("m", spec, rungs, Ledger(), absolute=False)
        self.plans, self.sizes, self.cost, self.now_ms, self.n_known, self.labels = [], [], cost, 0, 0, np.arange(LABELS) % 2.0
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
        cost = self.cost(order.rows) * (order.more / 60 if order.more else 1)
        if cost > order.limit_core_s:
            self.upkeep.ended(order, order.limit_core_s, "stopped", "it had taken what was reserved")
        else:
            self.upkeep.ended(order, cost, "served")
            served = self.upkeep.rungs.trees
            self.upkeep.rungs.trees = Trees(served.n + order.more if order.more else 60)
            self.sizes.append(self.upkeep.rungs.trees.n)

    def restarted(self, update):
        """The same, after a restart under a declaration that may be another."""
        again = Days(update, self.cost)
        again.upkeep.restore(json.loads(json.dumps(self.upkeep.kept())))
        again.upkeep.remember(self.upkeep.rungs.labels)
        again.now_ms, again.n_known, again.labels = self.now_ms, self.n_known, self.labels
        return again

    @property
    def methods(self):
        return [job.method for job in self.fits]

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
    assert days.upkeep.rungs.upper("full", later[-1].rows) > later[-1].core_s


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


STEPS = hw.Planner(budget="50% of a core", methods=("steps", "full"))
ALL = hw.Planner(budget="50% of a core", methods=("steps", "window", "full"))


def fitted(update, cost=lambda rows: 1e-4 * rows):
    """After the first fit, with its advantage known; no growth earns a try."""
    days = Days(update, cost)
    days.live(3)
    days.upkeep.planner._wait = 1e9
    days.live(4)
    return days


def left_behind(days, n_fits, losses=LEFT_BEHIND, most=200):
    """Live on, left behind but for the points after a fit, until there are so many fits."""
    for _ in range(most):
        if len(days.fits) >= n_fits:
            return
        days.live(1, losses)
    raise AssertionError(days.whys)


def test_steps_come_first_go_on_from_what_serves_and_end_at_twice_the_trees():
    days = fitted(STEPS)
    for n in range(2, 7):
        left_behind(days, n)
        days.live(3)  # it brought what was missing
    assert days.methods == ["full", "steps", "steps", "steps", "steps", "window"]  # then a refit, on the newest labels
    assert days.sizes == [60, 75, 90, 105, 120, 60]
    assert any(why.startswith("More trees: waiting has cost") for why in days.whys)


def test_steps_read_the_labels_since_the_last_fit_and_have_costs_of_their_own():
    days = fitted(STEPS, usual_s)
    left_behind(days, 2)
    first, steps = days.fits
    assert steps.rows == days.n_known - first.rows
    costs = days.upkeep.rungs.ladder.methods
    assert costs["steps"].costs.mean(600.0 / 4 * steps.rows) == pytest.approx(steps.core_s, rel=0.1)
    assert costs["full"].costs.mean(600.0 * first.rows) == pytest.approx(first.core_s, rel=0.1)
    assert {day.method for day in days.upkeep.ledger.days()} >= {"full", "steps"}


def test_without_trees_that_serve_or_with_one_class_there_are_no_steps():
    days = fitted(STEPS)
    days.upkeep.rungs.trees = None  # until the fold comes to the mark
    left_behind(days, 2)
    assert "steps" not in days.methods
    days = Days(STEPS)
    days.live(1)
    days.labels, days.upkeep.planner._wait = np.ones(LABELS), 1e9
    days.live(6)
    left_behind(days, 2)
    assert "steps" not in days.methods


def test_steps_that_bring_nothing_twice_give_way_and_a_restart_keeps_that_place():
    days = fitted(STEPS)
    left_behind(days, 3)
    days.live(2, LEFT_BEHIND)  # now the second is judged
    assert days.methods == ["full", "steps", "steps"]
    again = days.restarted(STEPS)
    left_behind(days, 4)
    left_behind(again, 1)
    assert days.fits[-1] == again.fits[-1]
    assert days.methods[-1] == "full"
    assert days.upkeep.kept() == again.upkeep.kept()


@pytest.mark.parametrize("update", [STEPS, hw.Planner(budget="50% of a core"), ALL])
def test_other_methods_may_be_declared_at_a_restart(update):
    days = fitted(STEPS)
    left_behind(days, 2)
    again = days.restarted(update)
    left_behind(again, 1)
    assert set(again.methods) <= {*update.methods, "window"}
    assert again.upkeep.planner.ladder is (None if update.methods == ("full",) else again.upkeep.rungs.ladder)


def test_what_a_release_kept_that_knew_full_refits_only_is_read():
    days = fitted(hw.Planner(budget="50% of a core"), usual_s)
    kept = days.upkeep.kept()
    kept["costs"] = kept.pop("rungs")["methods"]["full"]["costs"]
    again = Days(STEPS)
    again.upkeep.restore(json.loads(json.dumps({**kept, "planner": {**kept["planner"], "ladder": None}})))
    assert again.upkeep.rungs.upper("full", 5_000) == days.upkeep.rungs.upper("full", 5_000)
    again.live(1)
    assert again.upkeep.planner.n_fits == 1


def test_a_window_that_waits_is_charged_said_and_no_failure():
    days, orders = fitted(hw.Planner(budget="50% of a core", methods=("window", "full"))), []
    days._fit = orders.append
    while not orders:
        days.live(1, LEFT_BEHIND)
    (order,) = orders
    assert [window.name for window in order.windows] == ["all", "half", "quarter", "since the change"]
    assert order.worth > 0
    level = days.upkeep.planner.bucket.level
    days.upkeep.ended(order, 0.5, "waits", "200 labels are few.", 0)
    assert days.upkeep.planner.bucket.level == pytest.approx(level + order.limit_core_s - 0.5)
    assert (days.fits[-1].method, days.fits[-1].outcome, days.fits[-1].rows) == ("window", "waits", 0)
    assert days.whys[-1] == "Wait: 200 labels are few. The served model stays."
    days.live(1, LEFT_BEHIND)
    assert len(orders) == 2


def test_a_model_that_is_worse_than_no_change_is_neither_reset_nor_put_to_rest():
    days = Days(STEPS)
    days.live(60, {**LEFT_BEHIND, "bold": 0.95, "careful": 0.95, "leaves": 0.9, "slow": 0.9})
    assert {plan.action for plan in days.plans} <= {"wait", "fit", "refuse"}
