"""Plans: each says why, and nothing that cannot work is begun."""

from __future__ import annotations

import pytest

from headwater.planning.bucket import Bucket
from headwater.planning.planner import Evidence, Planner, Policy
from headwater.planning.probe import Probe


def evidence(**changes):
    usual = {
        "n_new": 100, "probe_loss": 0.5, "model_loss": 0.4, "unchanged_loss": 0.7, "n_known": 1000, "n_window": 1000,
        "n_rarer": 300, "cost_core_s": 1.0,
    }  # fmt: skip
    return Evidence(**usual | changes)


def fitted(bucket=None, **changes):
    """A planner that serves its first model, past its cool-down."""
    planner = Planner(Policy(), bucket or Bucket(1.0, 10.0))
    assert planner.decide(evidence()).action == "fit"
    planner.ended(evidence(), 1.0, served=True)
    for _ in range(4):
        assert planner.decide(evidence(**changes)).action == "wait"
    return planner


def test_nothing_is_fitted_before_there_are_labels_enough():
    plan = Planner(Policy(), Bucket(1.0, 10.0)).decide(evidence(n_known=30, n_window=30))
    assert plan.action == "wait"
    assert plan.why == "Wait: 30 labels are known, and a first model needs 200."


@pytest.mark.parametrize(
    ("changes", "bucket", "reason"),
    [
        ({"n_rarer": 0}, Bucket(1.0, 10.0), "one class only"),
        ({"n_rarer": 3}, Bucket(1.0, 10.0), "3 labels of the rarer class"),
        ({"n_window": 50}, Bucket(1.0, 10.0), "50 labels, too few"),
        ({"n_sources": 1}, Bucket(1.0, 10.0), "labels of one source only"),
        ({}, Bucket(0.0, 0.0), "budget is zero"),
        ({"cost_core_s": 11.0}, Bucket(1.0, 10.0), "never saves up more than 10"),
        ({"cost_core_s": 5.0}, Bucket(0.0, 10.0, 2.0), "has 2 left"),
    ],
)
def test_a_fit_that_must_not_begin_is_refused_with_its_reason(changes, bucket, reason):
    plan = Planner(Policy(), bucket).decide(evidence(**changes))
    assert plan.action == "refuse"
    assert reason in plan.why
    assert "The served model stays." in plan.why


def test_a_world_that_stands_still_is_left_alone():
    planner = fitted()
    assert {planner.decide(evidence()).action for _ in range(200)} == {"wait"}


def test_a_lost_advantage_makes_a_refit_due_and_the_plan_says_what_it_cost():
    planner = fitted()
    plans = [planner.decide(evidence(model_loss=0.5)) for _ in range(10)]
    due = next(plan for plan in plans if plan.action == "fit")
    assert "waiting has cost" in due.why
    assert due.numbers["owed_loss"] >= 0.5 * 0.7 * 100
    assert due.numbers["fresh_advantage"] == pytest.approx(0.1)


def test_labels_that_stop_leave_the_served_model():
    planner = fitted()
    plan = planner.decide(evidence(n_new=0))
    assert plan.action == "wait"
    assert "no labels have come" in plan.why


def test_a_cost_that_explodes_blocks_the_next_fit_until_it_is_earned():
    bucket = Bucket(1.0, 10.0)
    planner = fitted(bucket)
    while planner.decide(evidence(model_loss=0.6)).action != "fit":
        pass
    planner.ended(evidence(), 10 * bucket.depth, served=True)
    assert bucket.level < 0
    for _ in range(4):
        planner.decide(evidence())
    refused = [planner.decide(evidence(model_loss=0.7)) for _ in range(20)][-1]
    assert refused.action == "refuse"
    assert "core-seconds" in refused.why


def test_a_fit_that_failed_is_paid_for_and_tried_again_later():
    planner = fitted()
    level = planner.bucket.level
    while planner.decide(evidence(model_loss=0.6)).action != "fit":
        pass
    planner.ended(evidence(), 3.0, served=False)
    assert planner.n_fits == 1
    assert planner.bucket.level <= level
    assert "the last 1 fits failed" in planner.decide(evidence(model_loss=0.6)).why


def test_a_clock_that_goes_back_is_said_and_earns_nothing():
    planner = fitted(Bucket(1.0, 10.0, 5.0))
    level = planner.bucket.level
    plan = planner.decide(evidence(elapsed=-5.0))
    assert "clock went back" in plan.why
    assert planner.bucket.level == level


def test_a_clock_that_jumps_ahead_saves_up_no_more_than_the_depth():
    planner = fitted(Bucket(1.0, 10.0, 5.0))
    assert planner.decide(evidence(elapsed=1e9)).numbers["level_core_s"] == 10.0


def test_labels_of_several_sources_are_learnt_from():
    assert Planner(Policy(), Bucket(1.0, 10.0)).decide(evidence(n_sources=2)).action == "fit"


def test_labels_that_are_late_are_told_from_labels_that_stopped():
    late = fitted().decide(evidence(n_new=0, coverage=0.1))
    assert late.action == "wait"
    assert "labels come late, by now 10% of the newest can be known; that is no sign of change" in late.why


def test_a_window_that_is_to_wait_costs_its_probes_and_is_no_failure():
    planner = fitted()
    while planner.decide(evidence(model_loss=0.6)).action != "fit":
        pass
    level = planner.bucket.level
    planner.postponed(0.25)
    assert planner.bucket.level == pytest.approx(level + 2.0 - 0.25)  # twice its estimate was reserved
    assert planner.decide(evidence(model_loss=0.6)).action == "fit"


def test_a_method_that_never_ends_is_stopped_charged_and_backed_off():
    planner, tries, spent = fitted(Bucket(0.5, 10.0)), 0, 0.0
    for _ in range(60):
        if planner.decide(evidence(model_loss=0.6)).action == "fit":
            tries, spent = tries + 1, spent + 3.0
            planner.ended(evidence(), 3.0, served=False)
    assert planner.n_fits == 1
    assert 2 <= tries <= 4
    assert spent <= 0.5 * 60 + 10.0 + 3.0


def test_tries_that_pay_come_sooner_and_tries_that_do_not_come_later():
    def wait_after(second_model_loss):
        planner = fitted()
        grown = evidence(n_known=5000, n_window=5000)
        assert planner.decide(grown).action == "fit"
        planner.ended(grown, 1.0, served=True)
        for _ in range(2):
            planner.decide(evidence(n_known=5000, n_window=5000, model_loss=second_model_loss))
        return planner.decide(grown).numbers["wait_labels"]

    assert wait_after(0.3) == 1500
    assert wait_after(0.4) == 18000


def test_the_probe_counts_only_what_is_missing():
    probe = Probe(slack=0.0)
    for advantage in (0.2, 0.2, 0.3, 0.1):
        probe.observe(10, advantage, 0.0)
    assert probe.owed == pytest.approx(1.0)
    probe.observe(10, 0.3, 0.0)
    assert probe.owed == pytest.approx(0.0)


def test_a_fit_that_somebody_asked_for_is_due_but_still_has_to_be_paid():
    planner = Planner(Policy(by_itself=False, first_by_itself=False), Bucket(1.0, 10.0))
    assert planner.decide(evidence()).why == "Wait: nobody has asked for a fit."
    plan = planner.decide(evidence(), asked="Refit: an operator asked for it.")
    assert (plan.action, plan.method, plan.why) == ("fit", "full", "Refit: an operator asked for it.")
    planner.ended(evidence(), 1.0, served=True)
    assert "never saves up" in planner.decide(evidence(cost_core_s=11.0), asked="Refit: again.").why
