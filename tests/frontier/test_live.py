"""A planner's life on made-up streams: what is served, what is refused, what is charged."""

from __future__ import annotations

import time

import numpy as np
import pytest

from headwater.frontier.live import Life
from headwater.frontier.scores import metrics
from headwater.frontier.stream import stream_of
from headwater.learning.boosted import Boosted

from .conftest import history

pytest.importorskip("lightgbm")


def life(stream, budget=1e9, fitter=None):
    return Life(stream, fitter or Boosted(trees=20, leaves=8), 20, budget).run()


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
    done = life(stream, fitter=fitter)
    assert done.n_fits == 0
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
