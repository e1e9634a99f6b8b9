"""Updates of the slow model as the planner's methods want them: on which labels, at what cost, by which fit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.frontier.fitting import Fitted, Fitter, fit
from headwater.frontier.scores import probabilities
from headwater.frontier.stream import Stream
from headwater.learning.boosted import Boosted
from headwater.learning.forest import Forest, margins_of
from headwater.learning.mixture import losses
from headwater.planning.methods import GROWTH, Ladder, Name
from headwater.planning.plans import Plan
from headwater.planning.rungs import FEW, LEAST, LEAST_OF_CLASS, SHARES
from headwater.planning.windows import PROBE_LEAVES, PROBE_RATE, PROBE_TREES, Choice, Window, candidates, choose


@runtime_checkable
class Growing(Protocol):
    """A slow model that can go on from what it was."""

    def after(self, forest: Forest, trees: int) -> Fitter: ...


@dataclass(slots=True, eq=False)
class Update:
    """A fit that was made, or was not: `choice` says why a window waits."""

    fitted: Fitted
    rows: Ints
    choice: Choice | None = None


class Updates:
    """What can be done about one slow model on one stream.

    Args:
        stream: The history.
        fitter: The slow model.
        trees: How many trees it has.
        target: float64[n]: what it learns.
    """

    def __init__(self, stream: Stream, fitter: Fitter, trees: int, target: Floats) -> None:
        self.stream, self.fitter, self.trees, self.target = stream, fitter, trees, target
        self.ladder = Ladder(trees)

    def window(self, known: Ints, level: float) -> Ints:
        """The newest labels: as many as the budget can pay now, but no fewer than an eighth."""
        for share in SHARES:
            newest: Ints = known[int(known.size * (1 - share)) :]
            if self.cost("full", newest.size) <= level:
                return newest
        return known

    def cost(self, name: Name, n: int) -> float:
        """The 90 % quantile of a fit's core-seconds on so many labels."""
        method = self.ladder.methods[name]
        return method.cost_upper(method.prepare(Window("", 0, n), self.stream.lagged.shape[1]))

    def most(self, n: int) -> float:
        """What a full fit on so many labels may take before it is ended."""
        method = self.ladder.methods["full"]
        return method.costs.most(method.prepare(Window("", 0, n), self.stream.lagged.shape[1]).amount)

    def costs(
        self, known: Ints, window: Ints, n_fitted: int, forest: Forest | None, names: tuple[Name, ...]
    ) -> dict[Name, float]:
        """Of the methods that can be carried out now."""
        out: dict[Name, float] = {"full": self.cost("full", window.size)}
        new = Window("new", n_fitted, known.size - n_fitted)
        steps = self.ladder.methods["steps"]
        there = 0 if forest is None else forest.roots.size
        work = steps.prepare(new, self.stream.lagged.shape[1])
        able = "steps" in names and isinstance(self.fitter, Growing) and self._has_both(known[n_fitted:])
        if able and not steps.refused(work, there, GROWTH * self.trees):
            out["steps"] = steps.cost_upper(work)
        if "window" in names and forest is not None:
            out["window"] = min(self.cost("full", known.size // 2), out["full"])
        return out

    def make(
        self, plan: Plan, known: Ints, window: Ints, n_fitted: int, changed_at: int, forest: Forest | None, worth: float
    ) -> Update:
        """Carry a plan out; what it takes, probes of windows too, is in the fit's core-seconds."""
        limit = plan.numbers["reserved_core_s"]
        if plan.method == "steps" and forest is not None and isinstance(self.fitter, Growing):
            grown = self.fitter.after(forest, self.ladder.methods["steps"].trees)
            return self._fit("steps", grown, known[n_fitted:], limit)
        if plan.method != "window":
            return self._fit("full", self.fitter, window, limit)
        began = time.thread_time()
        choice = self._choose(known, changed_at, worth)
        spent = time.thread_time() - began
        if choice.window is None:
            return Update(Fitted(None, spent), known[:0], choice)
        made = self._fit("full", self.fitter, known[max(choice.window.first, known.size - window.size) :], limit - spent)
        made.fitted.core_s += spent
        made.choice = choice
        return made

    def _fit(self, name: Name, fitter: Fitter, rows: Ints, limit: float) -> Update:
        fitted = fit(fitter, self.stream.lagged, self.target, rows, limit)
        method = self.ladder.methods[name]
        amount = method.prepare(Window("", 0, rows.size), self.stream.lagged.shape[1]).amount
        if fitted.forest is not None:
            method.costs.observe(amount, fitted.core_s)
        elif fitted.is_over:
            method.costs.ended(amount, fitted.core_s)
        return Update(fitted, rows)

    def _choose(self, known: Ints, changed_at: int, worth: float) -> Choice:
        windows = [each for each in candidates(known.size, changed_at, LEAST) if self._has_both(known[each.first :])]
        return choose(windows, known.size, lambda learn, judge: self._probe(known, learn, judge), least=FEW, worth=worth)

    def _has_both(self, rows: Ints) -> bool:
        """Whether both classes are among the labels of some rows, ten times each; numbers always are enough."""
        if self.stream.absolute:
            return True
        yes = int(self.stream.rows.label[rows].sum())
        return min(yes, rows.size - yes) >= LEAST_OF_CLASS

    def _probe(self, known: Ints, learn: Ints, judge: Ints) -> Floats:
        spec = Boosted("absolute" if self.stream.absolute else "log", PROBE_TREES, PROBE_LEAVES, PROBE_RATE)
        forest = spec.fit(self.stream.lagged[known[learn]], self.target[known[learn]])
        return self.lost(forest, known[judge])

    def lost(self, forest: Forest, rows: Ints) -> Floats:
        """float64[rows]: the losses of the slow model alone."""
        margins = margins_of(forest, np.ascontiguousarray(self.stream.lagged[rows]), 0, rows.size)
        return losses(
            margins if self.stream.absolute else probabilities(margins), self.target[rows], absolute=self.stream.absolute
        )
