"""The methods of update of a running app's slow model: what each would read now, and what it may cost.

A full refit reads the newest labels that the budget can pay; steps go on from the trees that serve, on the labels since the
last fit; windows are tried out first. What cannot be carried out now has no price, and the planner passes it over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.evaluation.metrics import YES
from headwater.planning.cost import CostModel
from headwater.planning.keeping import kept, put_back
from headwater.planning.methods import RUNGS, Ladder, Name
from headwater.planning.windows import MOST_ROWS, PROBE_TREES, Window, candidates

SHARES = (1.0, 0.5, 0.25, 0.125)  # of the known labels; the largest that the budget can pay
LEAST, FEW = 200, 1_000  # labels of a window that is tried: no fewer; with fewer it waits while more would help
LEAST_OF_CLASS = 10
_PROBED_SHARE = 0.5  # of the labels: the window that is expected where windows are tried


@dataclass(frozen=True, slots=True)
class Trees:
    """The trees that serve.

    Attributes:
        n: How many.
        sha256: Of their file; empty where they have none.
    """

    n: int
    sha256: str = ""


class Rungs:
    """What can be done about one slow model.

    Args:
        names: The methods that were declared.
        trees, most_trees: Of a full fit; that there is room for.
        work: Rows x columns x trees of a full fit on so many rows.
        window: The most labels that a fit learns from.
        absolute: Whether labels are numbers.

    Attributes:
        ladder: Costs and gains by method.
        trees: Those that serve; None where there are none, or it is not known yet which.
        labels: float64[at most `window`]: the newest known labels.
    """

    def __init__(
        self, names: tuple[Name, ...], trees: int, most_trees: int, work: Callable[[int], float], window: int, *,
        absolute: bool = False,
    ) -> None:  # fmt: skip
        self.names, self.window = names, window
        self.ladder = Ladder(trees)
        self.labels: Floats = np.zeros(0)
        self.trees: Trees | None = None
        self._most_trees, self._work, self._absolute = most_trees, work, absolute
        self._n_fitted, self._n_calm = 0, 0

    @property
    def chooses(self) -> bool:
        """Whether there is more than full refits to choose among."""
        return len(self.names) > 1

    def rows(self, level: float) -> int:
        """Of a full refit: the newest labels, as many as the level of the budget can pay, but no fewer than an eighth."""
        n = self.labels.size
        for share in SHARES:
            rows = int(n * share)
            if self.upper("full", rows) <= level:
                return rows
        return n

    def amount(self, name: Name, rows: int, windows: tuple[Window, ...] = ()) -> float:
        """Rows x columns x trees of an update on so many rows, after windows were tried."""
        trees, probed = self.ladder.methods["full"].trees, sum(min(window.n, MOST_ROWS) for window in windows)
        own = self._work(rows) * (self.ladder.methods[name].trees / trees)
        return own + self._work(probed) * (PROBE_TREES / trees) if probed else own

    def upper(self, name: Name, rows: int, windows: tuple[Window, ...] = ()) -> float:
        """The 90 % quantile of its core-seconds."""
        return self._costs(name).upper(self.amount(name, rows, windows))

    def most(self, name: Name, rows: int, windows: tuple[Window, ...] = ()) -> float:
        """What it may take before it is ended."""
        return self._costs(name).most(self.amount(name, rows, windows))

    def _costs(self, name: Name) -> CostModel:
        """Before the first steps, what full fits have taken says what they may."""
        own = self.ladder.methods[_recorded(name)].costs
        return own if own.knows else self.ladder.methods["full"].costs

    def prices(self, n_known: int, rows: int) -> tuple[dict[Name, float], dict[Name, float]]:
        """`upper` and `most` of each method that can be carried out now; `rows` are those of a full refit."""
        jobs: dict[Name, tuple[int, tuple[Window, ...]]] = {"full": (rows, ())}
        if "steps" in self.names and self._can_step(n_known):
            jobs["steps"] = self.new_rows(n_known), ()
        if "window" in self.names and self.trees is not None and (windows := self.windows(n_known)):
            jobs["window"] = min(rows, int(self.labels.size * _PROBED_SHARE)), windows
        uppers = {name: self.upper(name, *job) for name, job in jobs.items()}
        if "window" in jobs:
            jobs["window"] = rows, jobs["window"][1]  # it may come out that all labels are best
        return uppers, {name: self.most(name, *job) for name, job in jobs.items()}

    def new_rows(self, n_known: int) -> int:
        """Labels since the last fit that served."""
        return min(max(n_known - self._n_fitted, 0), self.labels.size)

    def _can_step(self, n_known: int) -> bool:
        rows, steps = self.new_rows(n_known), self.ladder.methods["steps"]
        n_trees, work = 0 if self.trees is None else self.trees.n, steps.prepare(Window("new", 0, rows), 1)
        return self._has_both(rows) and not steps.refused(work, n_trees, self._most_trees)

    def windows(self, n_known: int) -> tuple[Window, ...]:
        """Those that are worth a trial: all labels, half, a quarter, since nothing was owed any more; longest first."""
        n = self.labels.size
        found = candidates(n, n - (n_known - self._n_calm), LEAST)
        return tuple(window for window in found if self._has_both(window.n))

    def _has_both(self, rows: int) -> bool:
        """Whether both classes are among the newest labels, ten times each; numbers always are enough."""
        yes = int((self.labels[self.labels.size - rows :] >= YES).sum())
        return self._absolute or min(yes, rows - yes) >= LEAST_OF_CLASS

    def learn(self, labels: Floats) -> None:
        """Take in labels that have become known."""
        self.labels = np.concatenate([self.labels, labels])[-self.window :]

    def is_calm(self, n_known: int) -> None:
        """Waiting has cost nothing up to here: a change can only have come later."""
        self._n_calm = n_known

    def served(self, name: Name, n_known: int, rows: int, core_s: float, windows: tuple[Window, ...]) -> None:
        """An update that was ordered with so many labels known serves, and has taken so many core-seconds."""
        self.ladder.methods[_recorded(name)].costs.observe(self.amount(name, rows, windows), core_s)
        self._n_fitted = self._n_calm = n_known

    def ended(self, name: Name, rows: int, core_s: float, windows: tuple[Window, ...]) -> None:
        """An update was ended after so many core-seconds: it would have taken more."""
        self.ladder.methods[_recorded(name)].costs.ended(self.amount(name, rows, windows), core_s)

    def kept(self) -> dict[str, Any]:
        """What a restart has to know, as JSON can say it."""
        methods = {name: kept(self.ladder.methods[name]) for name in RUNGS}
        trees = None if self.trees is None else asdict(self.trees)
        own = {"trees": trees, "n_fitted": self._n_fitted, "n_calm": self._n_calm}
        return {"methods": methods, "stands": self.ladder.stands, **own}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on from what was kept; how many trees a method fits is as declared now."""
        for name in RUNGS:
            put_back(self.ladder.methods[name], found["methods"][name], skip=("name", "trees"))
        self.ladder.stands = int(found["stands"])
        self.trees = None if found["trees"] is None else Trees(**found["trees"])
        self._n_fitted, self._n_calm = int(found["n_fitted"]), int(found["n_calm"])


def _recorded(name: Name) -> Name:
    """To whose cost model a job is told: a refit on a window is a full fit on fewer rows."""
    return "full" if name == "window" else name
