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
from headwater.frontier.fitting import Fitted, Fitter, fit
from headwater.frontier.scores import losses
from headwater.frontier.stream import Stream
from headwater.learning.fast import EXPERTS, FastLayer, Race
from headwater.planning.bucket import Bucket
from headwater.planning.cost import CostModel
from headwater.planning.ledger import Job, Ledger
from headwater.planning.planner import Evidence, Plan, Planner, Policy

BOLD, CAREFUL, LEAVES, UNCHANGED = (EXPERTS.index(name) for name in ("bold", "careful", "leaves", "no change"))
_SAVED = 0.25  # of the whole budget, may be spent from the start on
_LIMIT = 10.0  # a fit is stopped when it takes so many times what was reserved
_NUMBERS = re.compile(r"[\d.e+-]+")
WINDOWS = (1.0, 0.5, 0.25, 0.125)  # shares of the known labels; the largest that the budget can pay


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
    """

    layer: FastLayer
    core_s: float = 0.0
    fast_core_s: float = 0.0
    n_fits: int = 0
    plans: list[tuple[int, Plan]] = field(default_factory=list)
    swaps: list[tuple[int, int]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)


class Life:
    """One run of a planner over a stream.

    Args:
        stream: The history.
        fitter: The slow model; its trees see label lags.
        trees: How many trees it has.
        budget_core_s: For the whole stream.
        policy: The planner's settings.
        spec: The fast layer's.
    """

    def __init__(
        self,
        stream: Stream,
        fitter: Fitter,
        trees: int,
        budget_core_s: float,
        policy: Policy | None = None,
        spec: Race | None = None,
    ) -> None:
        self.stream, self.fitter, self.trees = stream, fitter, trees
        rate = budget_core_s / (1 + _SAVED) / stream.n_points
        saved = rate * stream.n_points * _SAVED
        self.planner = Planner(policy or Policy(), Bucket(rate, 2 * saved, saved))
        self.costs = CostModel()
        self.target = stream.rows.label - stream.rows.base if stream.absolute else stream.rows.label
        layer = FastLayer(spec or Race(), stream.rows, stream.lagged, absolute=stream.absolute, trees=trees)
        self.done = Lived(layer, core_s=stream.lag_core_s)
        self._yes = np.concatenate(
            [[0.0], np.cumsum(stream.rows.label[stream.rows.order])]
        )  # of the labels, as they become known
        self._waiting: tuple[int, Fitted] | None = None
        self._seen, self._last_kind = 0, ""

    def run(self) -> Lived:
        """Go through the stream."""
        edges = self.stream.edges
        for point in range(self.stream.n_points):
            if point >= self.stream.first:
                self._decide(point)
            self._advance(int(edges[point]), int(edges[point + 1]))
        return self.done

    def _advance(self, first: int, last: int) -> None:
        began = time.thread_time()
        if self._waiting is not None and self._waiting[0] < last:
            swap, fitted = self._waiting
            self._waiting = None
            assert fitted.forest is not None
            self.done.layer.advance(first, max(swap, first))
            self.done.layer.exchange(fitted.forest, max(swap, first))
            first = max(swap, first)
        self.done.layer.advance(first, last)
        core_s = time.thread_time() - began
        self.done.core_s += core_s
        self.done.fast_core_s += core_s
        self.planner.bucket.charge(core_s)

    def _decide(self, point: int) -> None:
        began = time.thread_time()
        if self._waiting is not None:
            self.planner.bucket.advance(1.0)
            return
        known = self.stream.known_at(point)
        window = self._window(known)
        seen = self._evidence(known, window)
        plan = self.planner.decide(seen)
        kind = plan.action + _NUMBERS.sub("", plan.why)
        if plan.action == "fit" or kind != self._last_kind:
            self.done.plans.append((point, plan))
        self._last_kind = kind
        core_s = time.thread_time() - began
        self.done.core_s += core_s
        self.planner.bucket.charge(core_s)
        if plan.action == "fit":
            self._fit(point, window, seen, plan)

    def _fit(self, point: int, window: Ints, seen: Evidence, plan: Plan) -> None:
        fitted = fit(self.fitter, self.stream.lagged, self.target, window, _LIMIT * seen.cost_core_s)
        served = fitted.forest is not None
        self.planner.ended(seen, fitted.core_s, served=served)
        self.done.core_s += fitted.core_s
        at_ms = int(self.stream.time_ms[self.stream.edges[point]])
        outcome = "served" if served else "failed"
        self.done.ledger.append(Job(at_ms, "fit", window.size, seen.cost_core_s, fitted.core_s, outcome, plan.why))
        if not served:
            why = f"The fit failed after {fitted.core_s:.3g} core-seconds ({fitted.failure}); the served model stays."
            self.done.plans.append((point, Plan("refuse", why, plan.numbers)))
            return
        self.costs.observe(self._work(window.size), fitted.core_s)
        ready_ms = at_ms + int(1000 * fitted.core_s)
        row = max(int(np.searchsorted(self.stream.time_ms, ready_ms)), int(self.stream.edges[point]))
        self._waiting = (row, fitted)
        self.done.n_fits += 1
        self.done.swaps.append((row, self.stream.known_at(point).size))

    def _work(self, rows: int) -> float:
        return float(rows * self.stream.lagged.shape[1] * self.trees)

    def _window(self, known: Ints) -> Ints:
        """The newest labels: as many as the budget can pay now, but no fewer than an eighth."""
        for share in WINDOWS:
            window = known[int(known.size * (1 - share)) :]
            if self.costs.upper(self._work(window.size)) <= self.planner.bucket.level:
                return window
        return known

    def _evidence(self, known: Ints, window: Ints) -> Evidence:
        layer, rows = self.done.layer, known[self._seen :]
        self._seen = known.size
        probes = [self._mean(rows, k) for k in (BOLD, CAREFUL)]
        model = self._mean(rows, LEAVES)
        yes = int(self._yes[known.size] - self._yes[known.size - window.size])
        rarer = None if self.stream.absolute else min(yes, window.size - yes)
        return Evidence(
            int((~np.isnan(layer.answers[rows, LEAVES])).sum()) if layer.version else rows.size, min(probes), model,
            self._mean(rows, UNCHANGED), known.size, window.size, rarer, self.costs.upper(self._work(window.size)),
        )  # fmt: skip

    def _mean(self, rows: Ints, expert: int) -> float:
        lost: Floats = losses(
            self.done.layer.answers[rows, expert], self.stream.rows.label[rows], absolute=self.stream.absolute
        )
        there = lost[~np.isnan(lost)]
        return float(there.mean()) if there.size else 0.0
