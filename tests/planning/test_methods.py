"""The ladder: what each rung would do, when it is left, and what the planner makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.planning.bucket import Bucket
from headwater.planning.methods import MEANING, NAMES, Ladder, Method
from headwater.planning.planner import Evidence, Planner, Policy
from headwater.planning.windows import Window

COSTS = {"steps": 0.1, "window": 0.5, "full": 1.0}


def evidence(**changes):
    usual = {
        "n_new": 100, "probe_loss": 0.5, "model_loss": 0.4, "unchanged_loss": 0.7, "n_known": 1000, "n_window": 1000,
        "n_rarer": 300, "cost_core_s": 1.0, "costs": COSTS,
    }  # fmt: skip
    return Evidence(**usual | changes)


def fitted(**changes):
    planner = Planner(Policy(), Bucket(5.0, 50.0), Ladder(60))
    assert planner.decide(evidence()).method == "full"
    planner.ended(evidence(), 1.0, served=True)
    for _ in range(4):
        assert planner.decide(evidence(**changes)).action == "wait"
    return planner


def until(planner, **changes):
    """The next plan that is not to wait, and how many decision points it took."""
    for n in range(1, 200):
        plan = planner.decide(evidence(**changes))
        if plan.action != "wait":
            return plan, n
    raise AssertionError("nothing ever became due")


def serve(planner, core_s=0.1, **after):
    planner.ended(evidence(), core_s, served=True)
    for _ in range(4):
        planner.decide(evidence(**after))


@pytest.mark.parametrize("name", NAMES)
def test_every_method_says_what_it_would_do(name):
    work = Method(name, 10).prepare(Window("half", 500, 500), 7)
    assert (work.first, work.n, work.amount) == (500, 500, 500 * 7 * 10)
    assert Method(name).prepare(Window("half", 500, 500), 7).amount == 0.0
    assert name in MEANING


def test_steps_need_a_model_with_room_and_new_labels():
    steps, window = Method("steps", 15), Window("new", 900, 100)
    work = steps.prepare(window, 5)
    assert "no model" in steps.refused(work, 0, 60)
    assert "room for 60" in steps.refused(work, 60, 60)
    assert steps.refused(work, 45, 60) == ""
    assert "no new labels" in steps.refused(steps.prepare(Window("new", 1000, 0), 5), 45, 60)


def test_the_cheapest_rung_is_due_first():
    plan, soon = until(fitted(), model_loss=0.5)
    assert plan.method == "steps"
    assert plan.why.startswith("More trees: waiting has cost")
    late, later = until(Planner_without_ladder(), model_loss=0.5)
    assert late.method == "full"
    assert soon < later


def Planner_without_ladder():  # noqa: N802
    planner = fitted()
    planner.ladder = None
    return planner


def test_a_rung_that_falls_short_twice_gives_way_and_a_refit_that_paid_starts_again():
    planner, tried = fitted(), []
    for _ in range(4):
        plan, _ = until(planner, model_loss=0.48)
        tried.append(plan.method)
        serve(planner, model_loss=0.48)
    assert tried == ["steps", "steps", "window", "window"]
    plan, _ = until(planner, model_loss=0.48)
    assert plan.method == "full"
    serve(planner, model_loss=0.35)
    assert until(planner, model_loss=0.45)[0].method == "steps"


def test_a_rung_that_pays_is_kept():
    planner = fitted()
    for _ in range(5):
        plan, _ = until(planner, model_loss=0.48)
        assert plan.method == "steps"
        serve(planner, model_loss=0.4)


def test_a_probe_that_is_shown_to_be_better_takes_over():
    planner, rng = fitted(), np.random.default_rng(0)
    worse = evidence(probe_loss=0.4, model_loss=0.5, paired=0.1 + rng.normal(0, 0.1, 2000))
    assert planner.decide(worse).action != "promote"
    planner.bucket.charge(200.0)
    plan = planner.decide(worse)
    assert (plan.action, plan.method) == ("promote", "probe")
    assert "shown to lose less without the slow model" in plan.why
    assert planner.decide(evidence()).action == "wait"


def test_noise_promotes_no_probe():
    planner, rng = fitted(), np.random.default_rng(1)
    for _ in range(50):
        assert planner.decide(evidence(paired=rng.normal(0, 0.3, 100))).action != "promote"


def test_what_is_worse_than_no_change_for_long_is_forgotten():
    planner = fitted()
    plans = [planner.decide(evidence(probe_loss=0.9, model_loss=0.8)) for _ in range(8)]
    assert [plan.action for plan in plans].count("reset") == 1
    assert "saying that nothing changes" in next(plan for plan in plans if plan.action == "reset").why
