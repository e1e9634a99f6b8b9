"""The planner: at each decision point one plan, with its reason in a sentence and in numbers.

It refits the slow model when
- there is none and there are labels enough: the first fit;
- waiting has cost as much as the update does (`probe`);
- the data has grown so much since the last fit that another is worth a try. Each such try is judged by the advantage that it
  brought: one that paid halves the wait until the next, one that did not makes it six times as long.
Tries that fail come at ever longer intervals. Every fit must fit into the bucket by the 90 % quantile of its cost; it reserves
twice that, as far as it is there, and is ended when it has taken it. A window that nothing can be learnt from is refused.

With a ladder it chooses the method, too: an update that costs a tenth is due when waiting has cost a tenth, and gives way to
the next rung where it does not bring what was missing. A slow model that the probe has been shown to beat is put to rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.planning.bucket import Bucket
from headwater.planning.cost import BOUND
from headwater.planning.despair import Despair
from headwater.planning.methods import Ladder, Name
from headwater.planning.plans import Action, Evidence, Plan, Policy
from headwater.planning.probe import FRESH_POINTS, Probe
from headwater.planning.refusals import bad_window, not_affordable

__all__ = ["Action", "Evidence", "Plan", "Planner", "Policy", "Trial"]
_LEAST_SHARE = 0.1  # of a full refit's price: the price of the cheapest rung
_FULL: Name = "full"
_LATE = 0.5  # coverage of the newest rows below which labels are late rather than gone


@dataclass(slots=True, eq=False)
class Trial:
    """An update under way, and what was expected of it.

    Attributes:
        method: By which.
        reserved_core_s: What it may take.
        before: The advantage, a label, when it was begun.
        forecast: What it was expected to add to that.
        judged: Whether it has been seen at work long enough.
        after: Advantages since it serves.
    """

    method: Name
    reserved_core_s: float
    before: float
    forecast: float
    judged: bool
    after: list[float] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """What it added to the advantage, a label."""
        return sum(self.after) / len(self.after) - self.before


class Planner:
    """Plans for one slow model under one budget.

    Args:
        policy: The settings.
        bucket: The budget.
        ladder: Methods to choose among; without it, every update is a full refit.
    """

    def __init__(self, policy: Policy, bucket: Bucket, ladder: Ladder | None = None) -> None:
        self.policy, self.bucket, self.ladder = policy, bucket, ladder
        self.probe = Probe()
        self.despair = Despair()
        self.n_fits, self._fitted_at, self._wait, self._n_failed, self._since = 0, 0, 0.0, 0, 0
        self._trial = Trial("full", 0.0, 0.0, 0.0, judged=True)
        self._scale = 0.0  # mean loss of "no change"

    def decide(self, seen: Evidence, asked: str = "", rule: str = "") -> Plan:
        """Take the evidence in and say what to do.

        A fit has reserved what it may take, `reserved_core_s` of its numbers: end it there; call `ended` when it is over.
        `asked` is why a person wants a fit: then it is due, whatever the evidence says; `rule` is why a rule does, which has to
        wait after fits that failed.
        """
        self.bucket.advance(seen.elapsed)
        self._observe(seen)
        given_up = self._given_up(seen)
        if given_up is not None:
            return given_up
        wanted = asked or ("" if self._pause() else rule)
        due, why, method = (True, wanted, _FULL) if wanted else self._due(seen)
        cost = seen.costs.get(method, seen.cost_core_s)
        numbers = self._numbers(seen, cost)
        if not due:
            note = " The clock went back: that adds nothing to the budget." if seen.elapsed < 0 else ""
            return Plan("wait", why + note, numbers)
        refused = bad_window(seen, self.policy.least_labels, self.policy.least_of_class) or not_affordable(cost, self.bucket)
        if refused:
            return Plan("refuse", f"{why} But {refused} The served model stays.", numbers, method)
        numbers["reserved_core_s"] = reserved = self.bucket.reserve(cost, _most(seen, method, cost))
        self._trial = Trial(method, reserved, self.probe.advantage, self._forecast(method), judged=True)
        return Plan("fit", why, numbers, method)

    def ended(self, seen: Evidence, core_s: float, *, served: bool) -> None:
        """The fit that was planned has ended after so many core-seconds; it is served, or it failed."""
        self.bucket.settle(self._trial.reserved_core_s, core_s)
        self._since = 0
        if not served:
            self._n_failed += 1
            return
        self._n_failed = 0
        self._trial.judged = self.n_fits == 0
        self._wait = seen.n_known * self.policy.first_growth if self.n_fits == 0 else self._wait
        self.n_fits += 1
        self._fitted_at = seen.n_known
        self.despair = Despair()
        if self._trial.method == "full":
            self.probe.renew()
        else:
            self.probe.owed = 0.0  # what fresh is worth is measured by full fits

    @property
    def loss_scale(self) -> float:
        """Mean loss of "no change", a label; newer ones count more."""
        return self._scale

    def postponed(self, core_s: float) -> None:
        """The fit that was planned waits after all: its window was looked at, which took so many core-seconds."""
        self.bucket.settle(self._trial.reserved_core_s, core_s)

    def _observe(self, seen: Evidence) -> None:
        self._since += 1
        if seen.n_new == 0:
            return
        self._scale += (seen.unchanged_loss - self._scale) * (0.1 if self._scale else 1.0)
        self.probe.slack = self.policy.slack * self._scale
        if self.n_fits and not self.despair.is_resting:
            self.probe.observe(seen.n_new, seen.probe_loss, seen.model_loss)
            self._judge()

    def _judge(self) -> None:
        """Once a served fit has been seen at work for some points: did it bring what was expected?"""
        trial = self._trial
        if trial.judged:
            return
        trial.after.append(self.probe.advantage)
        if len(trial.after) < FRESH_POINTS:
            return
        trial.judged = True
        if self.ladder is not None:
            self.ladder.judged(trial.method, trial.gain, trial.forecast)
        if trial.method == "full":
            self._wait *= 0.5 if trial.gain >= self.policy.pays * self._scale else 6.0

    def _pause(self) -> str:
        """Why no try comes yet after those that failed; empty where one may."""
        pause = self.policy.cool_down * 2**self._n_failed
        if not self._n_failed or self._since >= pause:
            return ""
        return f"Wait: the last {self._n_failed} fits failed; the next try comes {pause} decision points after them."

    def _due(self, seen: Evidence) -> tuple[bool, str, Name]:
        """Whether a fit is wanted, whatever it costs, why, and by which method."""
        if pause := self._pause():
            return False, pause, "full"
        if not (self.policy.by_itself if self.n_fits else self.policy.first_by_itself):
            return False, "Wait: nobody has asked for a fit.", "full"
        if self.n_fits == 0:
            if seen.n_known < self.policy.least_labels:
                why = f"Wait: {seen.n_known} labels are known, and a first model needs {self.policy.least_labels}."
                return False, why, "full"
            return True, f"Fit the first model: {seen.n_known} labels are known.", "full"
        if self._since < self.policy.cool_down:
            return False, "Wait: the last update is too recent to be judged.", "full"
        return self._refit_due(seen)

    def _refit_due(self, seen: Evidence) -> tuple[bool, str, Name]:
        method: Name = "full" if self.ladder is None else self.ladder.rung(seen.costs)
        price = self.policy.price * self._scale * max(seen.n_new, 1) * self._share(seen, method)
        owed, grown = self.probe.owed, seen.n_known - self._fitted_at
        if owed >= price > 0:
            what = "More trees" if method == "steps" else "Refit"
            return True, f"{what}: waiting has cost {owed:.3g} in loss, and {price:.3g} is the price of an update.", method
        if grown >= self._wait:
            why = f"Refit: {grown} labels are new since the last fit; by what fits have brought, {self._wait:.0f} earn one."
            return True, why, "full"
        if seen.n_new == 0:
            return False, _no_labels(seen), method
        return False, f"Wait: waiting has cost {owed:.3g} of the {price:.3g} in loss that make an update due.", method

    def _share(self, seen: Evidence, method: Name) -> float:
        """A cheaper method's price, as a share of a full refit's."""
        full = seen.costs.get("full", seen.cost_core_s)
        return min(max(seen.costs.get(method, full) / full, _LEAST_SHARE), 1.0) if full > 0 else 1.0

    def _forecast(self, method: Name) -> float:
        missing = max(self.probe.fresh - self.probe.advantage, 0.0)
        return missing if self.ladder is None else self.ladder.forecast(method, missing)

    def _given_up(self, seen: Evidence) -> Plan | None:
        """With a ladder: the slow model is put to rest, or everything forgotten, where it has been shown to do harm."""
        if self.ladder is None or not self.policy.gives_up:
            return None
        if self.n_fits == 0 or self._since < self.policy.cool_down or seen.n_new == 0:
            return None
        why, method = self.despair.observe(seen, self._scale, is_overdrawn=self.bucket.level < 0.0)
        if not why:
            return None
        self.probe.renew()
        return Plan("reset" if method == "reset" else "promote", why, self._numbers(seen, 0.0), method)

    def _numbers(self, seen: Evidence, cost_core_s: float) -> dict[str, float]:
        probe = self.probe
        return {
            "labels": seen.n_known, "window": seen.n_window, "new_labels": seen.n_new, "owed_loss": probe.owed,
            "advantage": probe.advantage, "fresh_advantage": probe.fresh, "cost_core_s": cost_core_s,
            "level_core_s": self.bucket.level, "wait_labels": self._wait,
        }  # fmt: skip


def _most(seen: Evidence, method: Name, cost: float) -> float:
    """What a fit may take."""
    return max(BOUND * cost, seen.most.get(method, seen.most_core_s if method == _FULL else 0.0))


def _no_labels(seen: Evidence) -> str:
    if seen.coverage < _LATE:
        return (
            f"Wait: labels come late, by now {seen.coverage:.0%} of the newest can be known; that is no sign of change. "
            "The served model stays."
        )
    return "Wait: no labels have come since the last decision; the served model stays."
