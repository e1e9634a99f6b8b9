"""The planner: at each decision point one plan, with its reason in a sentence and in numbers.

It refits the slow model when
- there is none and there are labels enough: the first fit;
- waiting has cost as much as the update does (`probe`);
- the data has grown so much since the last fit that another is worth a try. Each such try is judged by the advantage that it
  brought: one that paid halves the wait until the next, one that did not makes it six times as long.
Tries that fail come at ever longer intervals. Every fit must fit into the bucket by the 90 % quantile of its cost. A window
that nothing can be learnt from is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from headwater.planning.bucket import Bucket
from headwater.planning.probe import FRESH_POINTS, Probe

Action = Literal["wait", "fit", "refuse"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do at a decision point.

    Attributes:
        action: "fit" begins an update, "wait" does not, "refuse" would but must not.
        why: One plain sentence.
        numbers: What the sentence rests on.
    """

    action: Action
    why: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """The planner's settings.

    Attributes:
        least_labels: No fit on fewer.
        least_of_class: Nor on fewer labels of the rarer class.
        price: A refit is due when waiting has cost `price` times the loss of "no change" at one decision point.
        slack: Share of the loss of "no change" that is put down to noise.
        pays: A refit pays if it brings this share of the loss of "no change".
        first_growth: The first try comes when there are so many times the labels of the first fit.
        cool_down: Decision points between two fits, at least.
        by_itself, first_by_itself: Whether refits, and the first fit, need not be asked for.
    """

    least_labels: int = 200
    least_of_class: int = 10
    price: float = 0.5
    slack: float = 0.01
    pays: float = 0.01
    first_growth: float = 3.0
    cool_down: int = FRESH_POINTS + 1
    by_itself: bool = True
    first_by_itself: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a decision point.

    Attributes:
        n_new: Labels since the last decision point.
        probe_loss, model_loss, unchanged_loss: Mean losses on them: the learner without trees, the one with, "no change".
        n_known: Labels known.
        n_window: Of them, in the window that a fit would learn from.
        n_rarer: Of these, labels of the rarer class; None for numbers.
        cost_core_s: The fit's cost, 90 % quantile.
        elapsed: Decision points since the last plan, by the clock.
    """

    n_new: int
    probe_loss: float
    model_loss: float
    unchanged_loss: float
    n_known: int
    n_window: int
    n_rarer: int | None
    cost_core_s: float
    elapsed: float = 1.0


class Planner:
    """Plans for one slow model under one budget."""

    def __init__(self, policy: Policy, bucket: Bucket) -> None:
        self.policy, self.bucket = policy, bucket
        self.probe = Probe()
        self.n_fits, self._fitted_at, self._wait, self._before = 0, 0, 0.0, 0.0
        self._judged, self._n_failed = True, 0
        self._scale = 0.0  # mean loss of "no change"
        self._since = 0

    def decide(self, seen: Evidence, asked: str = "") -> Plan:
        """Take the evidence in and say what to do. A fit has its cost reserved; call `ended` when it is over.

        `asked` is why somebody else wants a fit: a rule or a person. It then is due, whatever the evidence says.
        """
        self.bucket.advance(seen.elapsed)
        self._observe(seen)
        due, why = (True, asked) if asked else self._due(seen)
        numbers = self._numbers(seen)
        if not due:
            note = " The clock went back: that adds nothing to the budget." if seen.elapsed < 0 else ""
            return Plan("wait", why + note, numbers)
        refused = self._refused(seen)
        if refused:
            return Plan("refuse", f"{why} But {refused} The served model stays.", numbers)
        self.bucket.reserve(seen.cost_core_s)
        return Plan("fit", why, numbers)

    def ended(self, seen: Evidence, core_s: float, *, served: bool) -> None:
        """The fit that was planned has ended after so many core-seconds; it is served, or it failed."""
        self.bucket.settle(seen.cost_core_s, core_s)
        self._since = 0
        if not served:
            self._n_failed += 1
            return
        self._n_failed = 0
        self._before, self._judged = self.probe.advantage, self.n_fits == 0
        self._wait = seen.n_known * self.policy.first_growth if self.n_fits == 0 else self._wait
        self.n_fits += 1
        self._fitted_at = seen.n_known
        self.probe.renew()

    def _observe(self, seen: Evidence) -> None:
        self._since += 1
        if seen.n_new == 0:
            return
        self._scale += (seen.unchanged_loss - self._scale) * (0.1 if self._scale else 1.0)
        self.probe.slack = self.policy.slack * self._scale
        if self.n_fits:
            self.probe.observe(seen.n_new, seen.probe_loss, seen.model_loss)
        if not self._judged and self.probe.n_points == FRESH_POINTS:
            self._judged = True
            paid = self.probe.fresh - self._before >= self.policy.pays * self._scale
            self._wait *= 0.5 if paid else 6.0

    def _due(self, seen: Evidence) -> tuple[bool, str]:
        """Whether a fit is wanted, whatever it costs, and why."""
        pause = self.policy.cool_down * 2**self._n_failed
        if self._n_failed and self._since < pause:
            return False, f"Wait: the last {self._n_failed} fits failed; the next try comes {pause} decision points after them."
        if not (self.policy.by_itself if self.n_fits else self.policy.first_by_itself):
            return False, "Wait: nobody has asked for a fit."
        if self.n_fits == 0:
            if seen.n_known < self.policy.least_labels:
                return False, f"Wait: {seen.n_known} labels are known, and a first model needs {self.policy.least_labels}."
            return True, f"Fit the first model: {seen.n_known} labels are known."
        if self._since < self.policy.cool_down:
            return False, "Wait: the last update is too recent to be judged."
        return self._refit_due(seen)

    def _refit_due(self, seen: Evidence) -> tuple[bool, str]:
        price = self.policy.price * self._scale * max(seen.n_new, 1)
        owed, grown = self.probe.owed, seen.n_known - self._fitted_at
        if owed >= price:
            return True, f"Refit: waiting has cost {owed:.3g} in loss, and {price:.3g} is the price of an update."
        if grown >= self._wait:
            return (
                True,
                f"Refit: {grown} labels are new since the last fit; by what fits have brought, {self._wait:.0f} earn one.",
            )
        if seen.n_new == 0:
            return False, "Wait: no labels have come since the last decision; the served model stays."
        return False, f"Wait: waiting has cost {owed:.3g} of the {price:.3g} in loss that make an update due."

    def _refused(self, seen: Evidence) -> str:
        """Why a fit that is due must not begin; empty where it may."""
        return _bad_window(seen, self.policy) or _not_affordable(seen, self.bucket)

    def _numbers(self, seen: Evidence) -> dict[str, float]:
        probe = self.probe
        return {
            "labels": seen.n_known, "window": seen.n_window, "new_labels": seen.n_new, "owed_loss": probe.owed,
            "advantage": probe.advantage, "fresh_advantage": probe.fresh, "cost_core_s": seen.cost_core_s,
            "level_core_s": self.bucket.level, "wait_labels": self._wait,
        }  # fmt: skip


def _bad_window(seen: Evidence, policy: Policy) -> str:
    if seen.n_window < policy.least_labels:
        return f"its window holds {seen.n_window} labels, too few to learn from."
    if seen.n_rarer == 0:
        return "its window holds one class only: a model of it would know no other."
    if seen.n_rarer is not None and seen.n_rarer < policy.least_of_class:
        return f"its window holds {seen.n_rarer} labels of the rarer class, too few to learn from."
    return ""


def _not_affordable(seen: Evidence, bucket: Bucket) -> str:
    cost = f"it may cost {seen.cost_core_s:.3g} core-seconds, and the budget"
    if bucket.rate == 0 and bucket.depth == 0:
        return "the budget is zero."
    if seen.cost_core_s > bucket.depth:
        return f"{cost} never saves up more than {bucket.depth:.3g}."
    if seen.cost_core_s > bucket.level:
        return f"{cost} has {bucket.level:.3g} left."
    return ""
