"""A fit of the slow model as plain data: what another process needs to know beside the examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headwater.core.batch import Floats
from headwater.learning.boosted import Boosted
from headwater.learning.forest import Forest, margins_of
from headwater.learning.mixture import losses

ENDED = "it had taken the {:.3g} core-seconds that were reserved"
"""Why a fit was stopped."""
YES = 0.5  # a label from here on is a yes
LABEL, SCORE, VECTOR = range(3)
"""Columns of an example: its label, what was said when it was asked, and from there on its vector."""


@dataclass(frozen=True, slots=True)
class SlowFit:
    """How to fit.

    Attributes:
        loss: "log" or "squared": what the label is.
        trees, leaves, learning_rate, min_data_in_leaf: Of the forest.
        columns: Positions, in a vector, of what trees may split on.
        bases: Positions, in a vector, of what a number's answer starts from: the first that is there; where none is, 0.
    """

    loss: Literal["log", "squared"]
    trees: int
    leaves: int
    learning_rate: float
    min_data_in_leaf: int
    columns: tuple[int, ...]
    bases: tuple[int, ...]

    def fit(self, examples: Floats, is_over: Callable[[], bool] | None = None) -> Forest:
        """A forest from float64[n, 2 + vector] examples.

        Raises:
            FitStopped: `is_over` said so.
            Fatal: LightGBM is not installed.
        """
        return self._boosted().fit(*self._targets(examples), is_over)

    def grow(self, forest: Forest, more: int, examples: Floats, is_over: Callable[[], bool] | None = None) -> Forest:
        """A forest and so many trees more, which go on from it on float64[n, 2 + vector] examples; errors as `fit`."""
        return self._boosted().after(forest, more).fit(*self._targets(examples), is_over)

    def lost(self, forest: Forest, examples: Floats) -> Floats:
        """float64[n]: what a forest alone loses on examples: log loss, or distance."""
        numbers, targets = self._targets(examples)
        margins = margins_of(forest, numbers, 0, targets.size)
        is_log = self.loss == "log"
        return losses(1.0 / (1.0 + np.exp(-margins)) if is_log else margins, targets, absolute=not is_log)

    def _boosted(self) -> Boosted:
        return Boosted(
            "log" if self.loss == "log" else "absolute", self.trees, self.leaves, self.learning_rate,
            min_data_in_leaf=self.min_data_in_leaf,
        )  # fmt: skip

    def _targets(self, examples: Floats) -> tuple[Floats, Floats]:
        """What trees may split on, and what they learn."""
        vectors, labels = examples[:, VECTOR:], examples[:, LABEL]
        targets = (labels >= YES).astype(np.float64) if self.loss == "log" else labels - base_of(vectors, self.bases)
        return np.ascontiguousarray(vectors[:, list(self.columns)]), targets

    def work(self, rows: int) -> float:
        """What the cost of a fit grows with: rows x columns x trees."""
        return float(rows * max(1, len(self.columns)) * self.trees)


def last_of(vectors: Floats, bases: tuple[int, ...]) -> Floats:
    """float64[n]: the last known label of each row, NaN where none is known."""
    last = np.full(vectors.shape[0], np.nan)
    for column in bases:
        last = np.where(np.isnan(last), vectors[:, column], last)
    return last


def base_of(vectors: Floats, bases: tuple[int, ...]) -> Floats:
    """float64[n]: what a number's answer starts from."""
    return np.nan_to_num(last_of(vectors, bases))
