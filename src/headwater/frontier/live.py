"""The planner at work on a stream: a fast layer that learns every label, and fits of the slow model when the plan says so.

Everything is charged: the fast layer's answers and learning, the label lags, evidence, plans, fits. A fit serves only when
the stream's clock has passed the time that it took.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.frontier.fitting import Fitted, Fitter
from headwater.frontier.stream import Stream
from headwater.frontier.updates import Update, Updates
from headwater.learning.fast import EXPERTS, FastLayer, Race
from headwater.learning.forest import Forest
from headwater.learning.mixture import losses
from headwater.planning.anchors import Anchors, forgets
from headwater.planning.bucket import Bucket
from headwater.planning.delays import Delays, corrected_loss
from headwater.planning.ledger import Job, Ledger
from headwater.planning.methods import GROWTH, Name
from headwater.planning.planner import Evidence, Plan, Planner, Policy
from headwater.planning.windows import WORTH

BOLD, CAREFUL, LEAVES, UNCHANGED = (EXPERTS.index(name) for name in ("bold", "careful", "leaves", "no change"))
_SAVED = 0.25  # of the whole budget, may be spent from the start on
_NUMBERS = re.compile(r"[\d.e+-]+")
METHODS: tuple[Name, ...] = ("full",)  # beside waiting: a choice among more did not pay, see docs/update-economy.md
_LATE_ROWS = 5_000  # newest rows that tell how late labels are


@dataclass(slots=True, eq=False)
class Lived:
    """What became of a planner on a stream.

    Attributes:
        layer: The fast layer, with all answers.
        core_s: Everything that was spent.
        fast_core_s: Of it, by the fast layer.
        n_fits: Versions that were served.
        plans: (decision point, plan) of every fit, and wherever the reason changed.
        swaps: (row, labels known) of each version.
        ledger: All jobs.
        anchors: Samples of the regimes that it has been through.
        losses_now: What the last slow model loses on the anchors of each past regime.
        n_by: Served updates by method.
    """

    layer: FastLayer
    core_s: float = 0.0
    fast_core_s: float = 0.0
    n_fits: int = 0
    plans: list[tuple[int, Plan]] = field(default_factory=list)
    swaps: list[tuple[int, int]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    anchors: Anchors = field(default_factory=Anchors)
    losses_now: list[float] = field(default_factory=list)
    n_by: dict[Name, int] = field(default_factory=dict)


class Life:
    """One run of a planner over a stream.

    Args:
        stream: The history.
        fitter: The slow model; its trees see label lags.
        trees: How many trees it has.
        budget_core_s: For the whole stream.
        policy: The planner's settings.
        spec: The fast layer's.
        methods: By which the slow model may be updated; with "full" alone the planner chooses no method.
    """

    def __init__(
        self,
        stream: Stream,
        fitter: Fitter,
        trees: int,
        budget_core_s: float,
        policy: Policy | None = None,
        spec: Race | None = None,
        methods: tuple[Name, ...] = METHODS,
    ) -> None:
        self.stream, self.methods = stream, methods
        rate = budget_core_s / (1 + _SAVED) / stream.n_points
        saved = rate * stream.n_points * _SAVED
        target = stream.rows.label - stream.rows.base if stream.absolute else stream.rows.label
        self.updates = Updates(stream, fitter, trees, target)
        ladder = self.updates.ladder if methods != ("full",) else None
        self.planner = Planner(policy or Policy(), Bucket(rate, 2 * saved, saved), ladder)
        layer = FastLayer(spec or Race(), stream.rows, stream.lagged, absolute=stream.absolute, trees=GROWTH * trees)
        self.done = Lived(layer, core_s=stream.lag_core_s)
        self._yes = np.concatenate(
            [[0.0], np.cumsum(stream.rows.label[stream.rows.order])]
        )  # of the labels, as they become known
        self._waiting: tuple[int, Fitted] | None = None
        self._served: Forest | None = None
        self._seen, self._fitted, self._calm, self._swap, self._last_kind = 0, 0, 0, 0, ""

    def run(self) -> Lived:
        """Go through the stream."""
        edges = self.stream.edges
        for point in range(self.stream.n_points):
            if point >= self.stream.first:
                self._decide(point)
            self._advance(int(edges[point]), int(edges[point + 1]))
        if self._served is not None:
            lost = [self.updates.lost(self._served, regime.kept.rows) for regime in self.done.anchors.past]
            self.done.losses_now = [float(each.mean()) for each in lost]
        return self.done

    def _advance(self, first: int, last: int) -> None:
        began = time.thread_time()
        if self._waiting is not None and self._waiting[0] < last:
            swap, fitted = self._waiting
            self._waiting = None
            assert fitted.forest is not None
            self._swap = max(swap, first)
            self.done.layer.advance(first, self._swap)
            self.done.layer.exchange(fitted.forest, self._swap)
            self._served = fitted.forest
            first = self._swap
        self.done.layer.advance(first, last)
        core_s = time.thread_time() - began
        self.done.fast_core_s += core_s
        self._charge(core_s)

    def _charge(self, core_s: float) -> None:
        self.done.core_s += core_s
        self.planner.bucket.charge(core_s)

    def _decide(self, point: int) -> None:
        began = time.thread_time()
        if self._waiting is not None:
            self.planner.bucket.advance(1.0)
            return
        known = self.stream.known_at(point)
        window = self.updates.window(known, self.planner.bucket.level)
        seen = self._evidence(point, known, window)
        plan = self.planner.decide(seen)
        if self.planner.probe.owed == 0.0:
            self._calm = known.size
        kind = plan.action + _NUMBERS.sub("", plan.why)
        if plan.action in {"fit", "promote", "reset"} or kind != self._last_kind:
            self.done.plans.append((point, plan))
        self._last_kind = kind
        if plan.action == "promote":
            self.done.layer.rest()
        elif plan.action == "reset":
            self.done.layer.reset()
        self._charge(time.thread_time() - began)
        if plan.action == "fit":
            self._fit(point, known, window, seen, plan)

    def _fit(self, point: int, known: Ints, window: Ints, seen: Evidence, plan: Plan) -> None:
        forest = self.done.layer.forest
        made = self.updates.make(plan, known, window, self._fitted, self._calm, forest, WORTH * self.planner.loss_scale)
        began = time.thread_time()
        outcome, why = self._judged(made, plan)
        made.fitted.core_s += time.thread_time() - began
        self.done.core_s += made.fitted.core_s
        at_ms = int(self.stream.time_ms[self.stream.edges[point]])
        cost = plan.numbers["reserved_core_s"]
        self.done.ledger.append(Job(at_ms, "fit", made.rows.size, cost, made.fitted.core_s, outcome, plan.why))
        if outcome == "stopped":
            self.planner.postponed(made.fitted.core_s)
        else:
            self.planner.ended(seen, made.fitted.core_s, served=outcome == "served")
        if outcome != "served":
            self.done.plans.append((point, Plan("refuse", why, plan.numbers, plan.method)))
            return
        ready_ms = at_ms + int(1000 * made.fitted.core_s)
        row = max(int(np.searchsorted(self.stream.time_ms, ready_ms)), int(self.stream.edges[point]))
        self._waiting = (row, made.fitted)
        self._fitted, self._calm = known.size, known.size
        self.done.n_fits += 1
        self.done.n_by[plan.method] = self.done.n_by.get(plan.method, 0) + 1
        self.done.swaps.append((row, known.size))

    def _judged(self, made: Update, plan: Plan) -> tuple[str, str]:
        """What becomes of an update, and why where it is not served."""
        if made.choice is not None and made.choice.window is None:
            return "stopped", f"Wait: {made.choice.why} The served model stays."
        forest, before = made.fitted.forest, self.done.layer.forest
        if forest is None:
            spent, failure = made.fitted.core_s, made.fitted.failure
            return "failed", f"The fit failed after {spent:.3g} core-seconds ({failure}); the served model stays."
        anchors = self.done.anchors
        if before is None:
            return "served", ""
        if plan.numbers["owed_loss"] > 0 and plan.method != "steps":
            self._turn(before)
        rows = anchors.rows()
        missing = max(plan.numbers["fresh_advantage"] - plan.numbers["advantage"], 0.0)
        scale = self.planner.loss_scale
        lost = self.updates.lost(before, rows), self.updates.lost(forest, rows)
        verdict = forgets(*lost, missing, scale, self.planner.policy.forget)
        return ("served", "") if verdict.allowed else ("rejected", f"{verdict.why} The served model stays.")

    def _turn(self, served: Forest) -> None:
        anchors = self.done.anchors
        if anchors.regimes:
            anchors.turn(float(np.mean(self.updates.lost(served, anchors.regimes[-1].kept.rows))))

    def _evidence(self, point: int, known: Ints, window: Ints) -> Evidence:
        layer, rows = self.done.layer, known[self._seen :]
        self._seen = known.size
        self.done.anchors.offer(rows)
        if layer.forest is not None:
            rows = rows[rows >= self._swap]  # answered by the present version
        weights, coverage = self._weights(point, rows)
        lost = [self._lost(rows, k) for k in (BOLD, CAREFUL, LEAVES, UNCHANGED)]
        bold, careful, model, unchanged = (corrected_loss(each, weights) for each in lost)
        yes = int(self._yes[known.size] - self._yes[known.size - window.size])
        rarer = None if self.stream.absolute else min(yes, window.size - yes)
        costs = self.updates.costs(known, window, self._fitted, layer.forest, self.methods)
        return Evidence(
            int((~np.isnan(lost[2])).sum()) if layer.forest is not None else rows.size, min(bold, careful), model, unchanged,
            known.size, window.size, rarer, costs["full"], coverage=coverage, costs=costs if self.planner.ladder else {},
            most_core_s=self.updates.most(window.size),
            paired=lost[2] - (lost[0] if bold <= careful else lost[1]) if layer.forest is not None else None,
        )  # fmt: skip

    def _weights(self, point: int, rows: Ints) -> tuple[Floats, float]:
        """How many rows each known label stands for, and how many of the newest rows' labels can be known by now."""
        stream, now = self.stream, int(self.stream.time_ms[self.stream.edges[point]])
        if not stream.is_late:
            return np.ones(rows.size), 1.0
        edge = int(stream.edges[point])
        recent = np.arange(max(edge - _LATE_ROWS, 0), edge)
        come = (stream.known_ms[recent] <= now) & ~np.isnan(stream.rows.label[recent])
        waited = np.where(come, stream.known_ms[recent] - stream.time_ms[recent], now - stream.time_ms[recent])
        delays = Delays.learnt(waited, come)
        block = np.arange(int(stream.edges[max(point - 1, 0)]), edge)
        return delays.weights(now - stream.time_ms[rows]), float(delays.coverage(now - stream.time_ms[block]).mean())

    def _lost(self, rows: Ints, expert: int) -> Floats:
        return losses(self.done.layer.answers[rows, expert], self.stream.rows.label[rows], absolute=self.stream.absolute)
