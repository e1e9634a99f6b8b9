"""One model's part of the fold where a label names a class: `ModelFold` with another walk, judges and line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headwater.app import App, Model
from headwater.core.batch import Bytes, Floats, Ints, Text
from headwater.core.expressions import FieldRef
from headwater.core.hashing import hash_string
from headwater.evaluation.class_metrics import ClassMetrics
from headwater.evaluation.classes import fold_classes
from headwater.features.engine import Bound
from headwater.learning.classes import BEYOND, MOST_NAME_BYTES, OTHER, Softmax, SoftmaxLine
from headwater.learning.protocol import BlockLearner
from headwater.runtime.model_fold import ModelFold, Rows

_OTHERS = float(hash_string(OTHER) >> 12)  # as `expressions` makes stand-ins


class ClassesFold(ModelFold):
    """State and step of one model with several classes."""

    learner: SoftmaxLine
    metrics: ClassMetrics

    def __init__(self, app: App, model: Model) -> None:
        super().__init__(app, model)
        assert isinstance(model.label.value, FieldRef)
        self._field = model.label.value.spec.name
        self._first_at: Ints = np.zeros(self.learner.met.size, np.int64)

    def _judges(self) -> tuple[ClassMetrics, Floats]:
        assert isinstance(self.model.learner, Softmax)
        k = self.model.learner.width
        return ClassMetrics(self.model.experts, k), np.zeros((k + 1, k + 1))

    def _labels(self, bound: Bound, values: Floats) -> Floats:
        """Stand-ins of labels. A text that is empty or too long, or the name of the others, names no class: infinite."""
        texts = bound.frames[self.model.label.value.stream].columns[self._field].values
        if not isinstance(texts, Text):
            return values
        n_bytes = np.diff(texts.offsets)
        unfit = (n_bytes == 0) | (n_bytes > MOST_NAME_BYTES) | (values == _OTHERS)
        return np.where(unfit & ~np.isnan(values), np.inf, values)

    def _walk(self, at: int, bound: Bound, rows: Rows, judged: Floats, done: Ints) -> int:
        line, metrics, pending = self.learner, self.metrics, self.pending
        at = fold_classes(
            at, bound.stream, bound.skip, bound.time, bound.seq, self._on, self._by, rows.xs, rows.cs, rows.bases,
            rows.on_keys, rows.label_keys, rows.ys, line.weights, line.squares, line.stats, line.met, line.twins,
            line.twin_stats, line.twin_met, line.counts, line.params, line.dirty, line.keys, line.known, self._first_at,
            pending.rows, pending.known, pending.index, pending.dirty, self.no_change, metrics.sums, metrics.by_class,
            metrics.panes, metrics.pane_by_class, self.ints, self._alarms, self._horizon, judged, done,
        )  # fmt: skip
        self._name_classes(bound)
        return at

    def _name_classes(self, bound: Bound) -> None:
        """Take the names of the classes that have just got a number from the rows of their first labels."""
        line, stream = self.learner, self.model.label.value.stream
        new = range(1 + len(line.names), 1 + int(line.known[0]))
        if new:
            rows = np.searchsorted(bound.rows[stream], self._first_at[new.start : new.stop])
            line.names += [str(value) for value in bound.frames[stream].columns[self._field].take(rows).to_list()]

    def report(self) -> dict[str, Any]:
        """As of any model; and class by class, of the live line, with the labels beyond the declared classes."""
        out = super().report()
        out["questions"]["beyond_classes"] = int(self.learner.counts[BEYOND])
        out["classes"] = self.metrics.classes((OTHER, *self.learner.names))
        return out

    def small_arrays(self) -> dict[str, Any]:
        by_row = {name for arrays, _ in self.learner.rows() for name in arrays}
        return {name: array for name, array in super().small_arrays().items() if name not in by_row}

    def by_row(self) -> list[tuple[dict[str, Any], Bytes]]:
        return [*self.learner.rows(), *super().by_row()]

    def arrays(self) -> dict[str, Any]:
        return {**super().arrays(), **self.learner.arrays()}


def fold_of(app: App, model: Model, start: Callable[[], BlockLearner] | None = None) -> ModelFold:
    """A model's part of the fold, which has seen no event; `start` as for `Fold`."""
    return ClassesFold(app, model) if isinstance(model.learner, Softmax) else ModelFold(app, model, start)
