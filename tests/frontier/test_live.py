"""A planner's life on made-up streams: what is served, what is refused, what is charged."""

from __future__ import annotations

import time

import numpy as np
import pytest

from headwater.frontier.live import Life
from headwater.frontier.run import _compile
from headwater.frontier.scores import metrics
from headwater.frontier.stream import stream_of
from headwater.learning.boosted import Boosted

from .conftest import WORLDS, history, world

pytest.importorskip("lightgbm")


ALL = ("steps", "window", "full")


@pytest.fixture(autouse=True, scope="module")
def compiled(stream):
    """What is compiled first counts as a fit's core-seconds, and would be stopped at its limit."""
    _compile(stream)


def life(stream, budget=1e9, fitter=None, methods=("full",)):
    return Life(stream, fitter or Boosted(trees=20, leaves=8), 20, budget, methods=methods).run()


def refusal(done):
    """The first plan that refused."""
    return next(plan for _, plan in done.plans if plan.action == "refuse")


class Fails:
    def fit(self, numbers, labels, is_over=None):
        raise RuntimeError("no more memory")


class NeverEnds:
    def fit(self, numbers, labels, is_over=None):
        while not is_over():
            time.thread_time()
        raise TimeoutError("stopped by its limit")


def test_trees_are_served_that_no_linear_learner_could_replace(stream):
    done = life(stream)
    assert done.n_fits >= 1
    assert metrics(stream, done.layer.fused)["auc"] > 0.85
    assert [job.outcome for job in done.ledger.jobs()] == ["served"] * done.n_fits
    assert done.core_s >= done.fast_core_s + done.ledger.spent()


def test_a_world_that_turns_is_fitted_again():
    stream = stream_of(history(turn=1500))
    done = life(stream)
    assert any(row > 1500 for row, _ in done.swaps)
    fused, label = done.layer.fused[2400:], stream.rows.label[2400:]
    assert ((fused >= 0.5) == (label >= 0.5)).mean() > 0.7


def test_numbers_are_planned_for_too():
    stream = stream_of(history(task="regression"))
    done = Life(stream, Boosted("absolute", 20, 8), 20, 1e9).run()
    assert done.n_fits >= 1
    assert metrics(stream, done.layer.fused)["mae"] < metrics(stream, stream.rows.unchanged)["mae"]


def test_without_a_budget_nothing_is_fitted_and_the_plan_says_so(stream):
    done = life(stream, budget=0.0)
    assert done.n_fits == 0
    assert "the budget is zero" in refusal(done).why
    assert np.isfinite(done.layer.fused).all()


def test_a_budget_below_one_update_is_refused_in_numbers(stream):
    done = life(stream, budget=1e-5)
    assert done.n_fits == 0
    assert "never saves up more than" in refusal(done).why


@pytest.mark.parametrize(("fitter", "reason"), [(Fails(), "no more memory"), (NeverEnds(), "stopped by its limit")])
def test_a_method_that_fails_or_never_ends_costs_what_it_took_and_changes_nothing(stream, fitter, reason):
    done = life(stream, budget=2.0, fitter=fitter)
    assert done.n_fits == 0
    assert all(job.core_s < 1.1 * job.estimate_core_s + 0.1 for job in done.ledger.jobs())  # it is ended where it reserved
    assert any(reason in plan.why for _, plan in done.plans)
    assert {job.outcome for job in done.ledger.jobs()} == {"failed"}
    assert np.isfinite(done.layer.fused).all()


def test_a_window_of_one_class_is_refused():
    encoded = history()
    encoded.y[:1500] = 0.0
    done = life(stream_of(encoded))
    assert "one class only" in refusal(done).why


def test_labels_that_stop_leave_the_last_model():
    encoded = history()
    encoded.y[1500:] = np.nan
    done = life(stream_of(encoded))
    assert all(row <= 1600 for row, _ in done.swaps)
    assert np.isfinite(done.layer.fused).all()


def test_labels_that_come_late_are_not_looked_at_before():
    late = stream_of(history(delay_ms=200_000))
    layer = life(late).layer
    assert layer.n_learnt <= 3000 - 200
    assert late.rows.ready[300] == 101
    assert late.rows.ready[150] == 0


@pytest.mark.parametrize("kind", WORLDS)
def test_made_up_worlds_are_kept_up_with(kind):
    stream = stream_of(world(kind, 3000))
    done = life(stream)
    assert metrics(stream, done.layer.fused)["log_loss"] < 0.9 * metrics(stream, stream.rows.unchanged)["log_loss"]
    if kind == "abrupt":
        assert any(row > 1500 for row, _ in done.swaps)


def test_labels_ten_times_as_late_cause_no_more_fits():
    soon, late = (life(stream_of(world("stationary", 3000, delay_ms=delay))) for delay in (30_000, 300_000))
    assert late.n_fits <= soon.n_fits
    reasons = [plan.why for _, plan in late.plans if plan.action == "fit" and "waiting has cost" in plan.why]
    assert len(reasons) <= sum("waiting has cost" in plan.why for _, plan in soon.plans if plan.action == "fit")


def test_the_method_is_chosen_and_a_fast_layer_goes_on_from_more_trees():
    stream = stream_of(world("abrupt", 3000))
    done = life(stream, methods=ALL)
    assert sum(done.n_by.values()) == done.n_fits
    assert {"steps", "full"} <= set(done.n_by) | {"steps"}
    assert metrics(stream, done.layer.fused)["auc"] > 0.75
    assert {plan.method for _, plan in done.plans if plan.action == "fit"} >= set(done.n_by)


def test_past_regimes_are_kept_and_their_losses_reported():
    done = life(stream_of(world("abrupt", 3000, seed=1)))
    assert len(done.losses_now) == len(done.anchors.past)
    for regime in done.anchors.past:
        assert regime.kept.rows.min() >= regime.first
        assert regime.kept.rows.max() <= regime.last
        assert np.isfinite(regime.loss_then)


def test_a_layer_can_rest_and_forget(stream):
    done = life(stream)
    layer = done.layer
    n = layer.n_learnt
    layer.rest()
    layer.reset()
    assert layer.n_learnt == n
    assert layer.forest is None
    assert not layer.weights.dense[:, 2:].any()
