"""When to refit, as it is declared: what is understood, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import headwater as hw
from headwater.core.errors import DeclarationError
from headwater.planning.declaring import updating
from headwater.planning.rules import Rules, measure


def test_a_budget_and_a_freshness_come_to_a_rate():
    assert updating(None).rate == 0.05
    assert updating(hw.Planner(budget="0% of a core")).rate == 0.0
    assert updating(hw.Planner(budget="1.5 cores")).rate == 1.5
    fresh = updating(hw.Planner(freshness="1m"))
    assert (fresh.rate, fresh.freshness_s) == (1.0, 60.0)


def test_methods_are_full_refits_unless_more_are_named_cheapest_first():
    assert updating(None).methods == updating(hw.every("1d")).methods == ("full",)
    assert updating(hw.Planner(methods=["full", "steps"])).methods == ("steps", "full")
    assert updating([hw.every("1d"), hw.Planner(methods=("full", "window", "steps"))]).methods == ("steps", "window", "full")


def test_rules_alone_and_beside_a_planner():
    alone = updating(hw.every("1d"))
    assert (alone.by_itself, alone.first_by_itself, alone.rate) == (False, True, 0.05)
    assert updating(hw.manual()).first_by_itself is False
    both = updating(
        [hw.Planner(budget="10% of a core"), hw.every_labels(500), hw.on_drift("ddm"), hw.when(hw.metric("auc") < 0.7)]
    )
    assert both.by_itself
    assert (len(both.calendars), both.sensors, both.conditions[0].describe()) == (1, ("ddm",), "auc over 2000 labels < 0.7")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hw.Planner(budget="five percent"), "no budget.*5% of a core"),
        (lambda: hw.Planner(budget="-1 cores"), "no budget"),
        (lambda: hw.Planner(budget="5% of a core", freshness="1m"), "a budget or a freshness"),
        (lambda: hw.Planner(freshness="0s"), "positive"),
        (lambda: hw.Planner(freshness="soon"), "not a duration"),
        (lambda: hw.Planner(methods=("step", "full")), "no such method of update.*Did you mean steps"),
        (lambda: hw.Planner(methods=("reset", "full")), "Known: full, steps, window"),
        (lambda: hw.Planner(methods="steps"), "always has full refits"),
        (lambda: hw.Planner(methods=()), 'expected "full" among them'),
        (lambda: hw.on_drift("adwinn"), "Did you mean adwin"),
        (lambda: hw.metric("aucc"), "Did you mean auc"),
        (lambda: hw.metric("auc", over=0), "needs labels"),
        (lambda: hw.when("auc < 0.7"), "no condition"),
        (lambda: updating("daily"), "does not say when to refit"),
        (lambda: updating([]), "does not say when"),
        (lambda: updating([hw.Planner(), hw.Planner()]), "one planner"),
        (lambda: updating(hw.once(after=5)), "does not say when"),
    ],
    ids=range(17),
)
def test_what_is_not_understood_is_refused(make, says):
    with pytest.raises(DeclarationError, match=says):
        make()


def test_calendars_ring_once_in_each_turn():
    rules = Rules(updating([hw.every("1h"), hw.every_labels(100)]), [], absolute=False)
    hour, heard = 3_600_000, []
    for n, time_ms in enumerate(range(hour // 2, 5 * hour, hour // 2)):
        heard.append(rules.fired(time_ms, 40 * n, is_fresh=False))
    assert [i for i, why in enumerate(heard) if "1h have passed" in why] == [1, 3, 5, 7]
    assert [i for i, why in enumerate(heard) if "100 labels" in why] == [3, 5, 8]


def test_a_condition_holds_on_a_full_window_and_waits_while_the_model_is_fresh():
    rules = Rules(updating(hw.when(hw.metric("accuracy", over=50) < 0.9)), [], absolute=False)
    rules.learn(np.column_stack([np.ones(49), np.zeros(49)]))
    assert rules.fired(0, 49, is_fresh=False) == ""
    rules.learn(np.array([[1.0, 0.0]]))
    assert rules.fired(0, 50, is_fresh=True) == ""
    assert "accuracy over 50 labels < 0.9" in rules.fired(0, 50, is_fresh=False)


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    judged = np.column_stack([rng.integers(0, 2, 300), rng.random(300).round(2)])
    assert measure("auc", judged) == pytest.approx(roc_auc_score(judged[:, 0], judged[:, 1]))


class Alarms:
    """A sensor that alarms at one call."""

    def __init__(self, at):
        self.at, self.seen = at, []

    def feed(self, errors):
        self.seen.append(errors)
        return len(self.seen) == self.at


def test_an_alarm_asks_once_and_is_charged():
    sensor = Alarms(2)
    rules = Rules(updating(hw.on_drift(hw.ADWIN)), [sensor], absolute=False)
    heard = []
    for _ in range(4):
        rules.learn(np.array([[1.0, 0.25]] * 10))
        heard.append(rules.fired(0, 0, is_fresh=False))
    assert ["adwin has alarmed" in why for why in heard] == [False, True, False, False]
    np.testing.assert_allclose(sensor.seen[0], -np.log(0.25))
    assert rules.spent() > 0
    assert rules.spent() == 0
