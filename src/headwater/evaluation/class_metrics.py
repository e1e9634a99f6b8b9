"""Prequential metrics where a label names a class: overall and over the last 9,000 to 10,000 labels, and class by class.

As in `metrics`, a correction replaces the first label in the overall metrics only, and beside every accuracy stands how much
better that is than "as last time". `mean_recall` is the mean, over the classes that had a label, of how many of its labels were
said: where one class is nine of ten, accuracy hides the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.core.compiled import inline
from headwater.evaluation.metrics import LAST_PANES

N, LOSS, CORRECT = range(3)
LABELS, SAID, RIGHT = range(3)
_EPS = 1e-15


@inline
def judge_classes(
    y: int, row: Floats, first: int, experts: int, k: int, sign: float, sums: Floats, by_class: Floats, panes: Floats,
    pane_by_class: Floats, pane: int,
) -> None:  # fmt: skip
    """Add (sign 1) or take back (sign -1) one label's verdict on every expert.

    From `first` on, `row` has for each expert the class that it said and a probability of each of the k classes. The verdict
    counts in the metrics of all labels and, unless `pane` is -1, in those of that block of recent labels.
    """
    for e in range(experts):
        at = first + e * (1 + k)
        said = int(row[at])
        loss = -sign * np.log(min(max(row[at + 1 + y], _EPS), 1.0 - _EPS))
        right = sign if said == y else 0.0
        sums[e, N] += sign
        sums[e, LOSS] += loss
        sums[e, CORRECT] += right
        by_class[e, LABELS, y] += sign
        by_class[e, RIGHT, y] += right
        if said >= 0:
            by_class[e, SAID, said] += sign
        if pane < 0:
            continue
        panes[pane, e, N] += sign
        panes[pane, e, LOSS] += loss
        panes[pane, e, CORRECT] += right
        pane_by_class[pane, e, LABELS, y] += sign
        pane_by_class[pane, e, RIGHT, y] += right
        if said >= 0:
            pane_by_class[pane, e, SAID, said] += sign


class ClassMetrics:
    """The running sums of all experts; it has the face of `Metrics`.

    Attributes:
        sums: float64[experts, 3]: labels, log loss, right answers.
        by_class: float64[experts, 3, classes]: labels of each class, how often it was said, and how often rightly.
        panes, pane_by_class: The same for each of the last 10 blocks of 1,000 labels; the newest block is being filled.
    """

    def __init__(self, experts: list[str], n_classes: int) -> None:
        n = len(experts)
        self.experts = experts
        self.sums: Floats = np.zeros((n, 3))
        self.by_class: Floats = np.zeros((n, 3, n_classes))
        self.panes: Floats = np.zeros((LAST_PANES, n, 3))
        self.pane_by_class: Floats = np.zeros((LAST_PANES, n, 3, n_classes))

    def arrays(self) -> dict[str, Any]:
        return {
            "sums": self.sums, "by_class": self.by_class, "panes": self.panes, "pane_by_class": self.pane_by_class,
        }  # fmt: skip

    def restore(self, arrays: dict[str, Any]) -> None:
        for name, mine in self.arrays().items():
            mine[...] = arrays[name]

    def report(self, _: str) -> dict[str, dict[str, dict[str, float]]]:
        """{"overall": {expert: {metric: value}}, "recent": ...}."""
        recent = (self.panes.sum(axis=0), self.pane_by_class.sum(axis=0))
        return {"overall": self._report(self.sums, self.by_class), "recent": self._report(*recent)}

    def _report(self, sums: Floats, by_class: Floats) -> dict[str, dict[str, float]]:
        return {
            name: _measures(sums[e], by_class[e], sums[-1]) for e, name in enumerate(self.experts) if sums[e, N] > 0
        }  # fmt: skip

    def classes(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Each class that had a label or was said by the live line: how often, and how often rightly.

        A list, not a mapping: names of classes come from events, and must not become names of metrics.
        """
        live, recent = self.by_class[0].astype(np.int64), self.pane_by_class.sum(axis=0)[0].astype(np.int64)
        told = ("labels", "said", "right", "recent_labels", "recent_said", "recent_right")
        counts = np.concatenate([live, recent]).T[: len(names)].tolist()
        return [
            {"label": name, **dict(zip(told, row, strict=True))}
            for name, row in zip(names, counts, strict=True)
            if any(row[:2])
        ]


def _measures(sums: Floats, by_class: Floats, unchanged: Floats) -> dict[str, float]:
    n, there = sums[N], by_class[LABELS] > 0
    accuracy, same = float(sums[CORRECT] / n), float(unchanged[CORRECT] / n)
    return {
        "n": float(n),
        "log_loss": float(sums[LOSS] / n),
        "accuracy": accuracy,
        "kappa_temporal": (accuracy - same) / (1.0 - same) if same < 1.0 else 0.0,
        "mean_recall": float((by_class[RIGHT][there] / by_class[LABELS][there]).mean()),
        "n_classes": float(there.sum()),
    }
