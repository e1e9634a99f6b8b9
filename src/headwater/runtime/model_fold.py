"""One model's part of the fold: its line, its twins, its pending questions and its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.app import App, Model, Publish
from headwater.core.batch import Floats, Ints
from headwater.evaluation import prequential as p
from headwater.evaluation.labels import Missing
from headwater.evaluation.metrics import Metrics
from headwater.evaluation.pending import Pending
from headwater.features.engine import Bound
from headwater.learning.linear import Linear, LinearState
from headwater.learning.protocol import n_memos
from headwater.learning.vectors import category_matrix, number_matrix
from headwater.runtime.lane import LaneState, Point

_NEVER = np.int64(2**62)
VERSION = ""


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """A moment at which a version is registered or a twin published: the state before the row at `seq`.

    Attributes:
        model: The model's name.
        name: The twin's name, "" for a version of the live line.
        seq: The fold had seen every event before this place.
        time_ms: Event time of the row at which it was due.
        trigger: The rule, in words.
        arrays: For a version, copies of weights and statistics.
        metrics: For a version, the prequential report at that place.
    """

    model: str
    name: str
    seq: int
    time_ms: int
    trigger: str
    arrays: dict[str, Any]
    metrics: dict[str, Any]


class ModelFold:
    """State and step of one model."""

    def __init__(self, app: App, model: Model) -> None:
        self.model = model
        self.columns = app.columns[model.name]
        codes = list(app.plan.streams)
        self._on, self._by = codes.index(model.schema.stream), codes.index(model.label.value.stream)
        self.n_numbers, self.n_categories = len(model.numbers), len(model.categories)
        self.n_experts, self.n_memos = len(model.experts), n_memos(model.learner)
        self.learner = _started(model)
        self.metrics = Metrics(model.experts)
        self.ints: Ints = np.zeros(p.N_INTS, np.int64)
        self.no_change: Floats = np.zeros((3, 2))
        width = p.SCORES + self.n_experts + self.n_numbers + self.n_memos + self.n_categories
        self.pending = Pending(width, self.ints)
        self.rules = {VERSION: model.versions, **model.twins}
        self.next_due: Ints = np.array([_first(rule) for rule in self.rules.values()], np.int64).reshape(-1)
        # A question that is an outcome too is judged as one before it is asked: "no change" repeats that very outcome.
        same_entity = model.baseline.at is None or [f.text() for f in model.baseline.at] == list(model.baseline.keeper.by)
        self._labels_itself = self._on == self._by and same_entity
        negative = model.label.missing is Missing.NEGATIVE
        lateness = max(app.streams[s].lateness_ms for s in (model.schema.stream, model.label.value.stream))
        self._horizon = np.array([model.label.within_ms, lateness, negative, self.learner.block], np.int64)
        self._alarms = np.full(3, _NEVER)

    def step(self, bound: Bound, evaluated: Floats, features: Floats, due: list[Due]) -> Floats:
        """Fold one bound batch; returns the judged rows, and appends to `due` what fell due."""
        model, n = self.model, bound.n
        on, label = model.schema.stream, model.label
        scored, labelling = bound.rows.get(on, _NONE), bound.rows.get(label.value.stream, _NONE)
        if scored.size == 0 and labelling.size == 0:
            return np.zeros((0, p.J_SCORES + self.n_experts))
        xs, bases = np.zeros((n, self.n_numbers + self.n_memos)), np.zeros(n)
        cs = np.zeros((n, self.n_categories), np.int64)
        on_keys, label_keys = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
        if scored.size:
            xs[scored, : self.n_numbers] = number_matrix(features[scored], self.columns.numbers)
            bases[scored] = features[scored, self.columns.baseline]
            cs[scored] = category_matrix(
                model.categories, bound.frames[on], bound.time[scored], self.learner.base, model.learner.bits
            )
            on_keys[scored] = bound.hashes(on, (label.on,))[1]
        if labelling.size:
            label_keys[labelling] = bound.hashes(label.value.stream, (label.join,))[1]
        ys = np.full(n, np.nan)
        ys[labelling] = evaluated[labelling, self.columns.label]
        if self._labels_itself:
            bases[scored] = np.where(np.isnan(ys[scored]), bases[scored], ys[scored])
        self.pending.reserve(scored.size)
        expiring = int(self.ints[p.SIZE]) + scored.size if label.missing is Missing.NEGATIVE else 0
        width = p.J_SCORES + self.n_experts
        judged = np.zeros((labelling.size + expiring, width + self.learner.n_behind))
        done = np.zeros(1, np.int64)
        at = 0
        self.learner.open(xs, cs, scored, labelling)
        if isinstance(self.learner, LaneState):
            self.learner.stand(bound.seq, bound.time)
        while True:
            self._set_alarms()
            self.learner.look_ahead(at)
            at = p.fold_model(
                at, bound.stream, bound.skip, bound.time, bound.seq, self._on, self._by, xs, cs, bases, on_keys, label_keys, ys,
                self.learner.weights, self.learner.squares, self.learner.stats, self.learner.twins, self.learner.twin_stats,
                self.learner.counts, self.learner.params, self.pending.rows, self.pending.known, self.pending.index,
                self.pending.dirty, self.no_change, self.metrics.sums, self.metrics.hist, self.metrics.panes,
                self.metrics.pane_hist, self.ints, self._alarms, self._horizon, judged, done,
                self.learner.given,
            )  # fmt: skip
            self.learner.take(judged[: done[0]], width)
            if at == n:
                return judged[: done[0], :width].copy()
            asked = bound.stream[at] == self._on
            self._ring(bound.seq + at, int(bound.time[at]), due, asked=bool(asked))

    def _set_alarms(self) -> None:
        self._alarms[:] = _NEVER
        for rule, value in zip(self.rules.values(), self.next_due, strict=True):
            kind = p.AT_TIME if rule.every_ms else p.AT_LABELLED if rule.every_labels else p.AT_SCORED
            self._alarms[kind] = min(self._alarms[kind], value)

    def _ring(self, seq: int, time_ms: int, due: list[Due], *, asked: bool) -> None:
        """Do what is due before the row at `seq`, and set the next time for it.

        Calendars and numbers of questions look at questions only (`asked`): a rule must not ring at a label because some
        other rule stopped there.
        """
        for i, (name, rule) in enumerate(self.rules.items()):
            if not asked and not rule.every_labels:
                continue
            now = time_ms if rule.every_ms else self.ints[p.LABELLED] if rule.every_labels else self.ints[p.SCORED]
            if now < self.next_due[i]:
                continue
            first = rule.every_ms > 0 and self.next_due[i] == _first(rule)
            self.next_due[i] = _next(rule, int(now))
            if first:
                continue  # the first event only says where the calendar starts
            arrays = {}
            if name:
                self.learner.publish(list(self.model.twins).index(name))
            else:
                arrays = self.learner.snapshot()
            report = self.report()["recent"] if not name else {}
            due.append(Due(self.model.name, name, seq, time_ms, rule.describe(), arrays, report))

    def refit(self, fitted: Mapping[str, Any]) -> None:
        """Exchange the slow part of the line, where it has one."""
        if isinstance(self.learner, LaneState):
            self.learner.exchange(fitted)

    def ask(self, seq: int, time_ms: int) -> None:
        """A person asks for a refit at a place in the log."""
        if isinstance(self.learner, LaneState):
            self.learner.ask(seq, time_ms)

    def drain(self) -> tuple[list[Floats], list[Point]]:
        """Examples learnt and decision points since the last time; of a line with a slow part only."""
        return self.learner.drain() if isinstance(self.learner, LaneState) else ([], [])

    def report(self) -> dict[str, Any]:
        """Metrics of all experts, and what became of the questions."""
        out: dict[str, Any] = self.metrics.report(self.model.learner.loss)
        out["questions"] = {
            "scored": int(self.ints[p.SCORED]), "labelled": int(self.ints[p.LABELLED]), "pending": self._unlabelled(),
            "corrected": int(self.ints[p.CORRECTED]), "repeated": int(self.ints[p.REPEATED]),
            "unmatched_labels": int(self.ints[p.UNMATCHED]), "expired": int(self.ints[p.EXPIRED]),
            "superseded": int(self.ints[p.SUPERSEDED]), "null_labels": int(self.ints[p.NULLS]),
            "refused": int(self.learner.counts[1]), "blocked_weights": int(self.learner.counts[2]),
        }  # fmt: skip
        return out

    def _unlabelled(self) -> int:
        return int(np.isnan(self.pending.rows[self.pending.order(), p.LABEL]).sum())

    def small_arrays(self) -> dict[str, Any]:
        """The state without the ring of questions."""
        return {
            **self.learner.arrays(), **self.metrics.arrays(), "ints": self.ints, "no_change": self.no_change,
            "next_due": self.next_due,
        }  # fmt: skip

    def arrays(self) -> dict[str, Any]:
        """Everything in canonical form; see `Fold.arrays`."""
        ints = self.ints.copy()
        ints[p.HEAD] = 0  # where the ring starts depends on its size
        ring = {f"pending.{k}": v for k, v in self.pending.canonical().items()}
        return {**self.small_arrays(), "ints": ints, **ring}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take back the small arrays, and the ring as it lay in memory."""
        self.learner.restore(arrays)
        self.metrics.restore(arrays)
        self.no_change[...], self.next_due[...] = arrays["no_change"], arrays["next_due"]
        self.ints[...] = arrays["ints"]
        ring = Pending.positions(self.ints, arrays["pending.rows"].shape[0])
        self.pending.restore(arrays["pending.known"][ring], arrays["pending.rows"][ring])


_NONE = np.zeros(0, np.int64)


def _started(model: Model) -> LinearState | LaneState:
    """A line that has learnt nothing."""
    if isinstance(model.learner, Linear):
        return LinearState(model.learner, len(model.numbers), len(model.twins))
    numbers, categories = tuple(f.name for f in model.numbers), tuple(c.name for c in model.categories)
    return LaneState(model.learner, numbers, categories, len(model.twins))


def _first(rule: Publish) -> int:
    """When a rule is due at the earliest; for calendars, the first event starts them."""
    return -(2**62) if rule.every_ms else rule.every_labels or rule.once_scored


def _next(rule: Publish, now: int) -> int:
    if rule.every_ms:
        return (now - rule.offset_ms) // rule.every_ms * rule.every_ms + rule.offset_ms + rule.every_ms
    if rule.every_labels:
        return (now // rule.every_labels + 1) * rule.every_labels
    return int(_NEVER)
