"""One model's part of the fold: its line, its twins, its pending questions and its metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.app import App, Model, Publish
from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.hashing import Hashes
from headwater.evaluation import prequential as p
from headwater.evaluation.answered import Answered
from headwater.evaluation.class_metrics import ClassMetrics
from headwater.evaluation.labels import Missing
from headwater.evaluation.metrics import Metrics
from headwater.evaluation.pending import Pending
from headwater.features.engine import Bound
from headwater.features.guard import Burst, GuardState
from headwater.learning.classes import Softmax, SoftmaxLine
from headwater.learning.linear import Linear, LinearState
from headwater.learning.protocol import BlockLearner, HashedRows, n_memos
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


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A batch as the walk takes it; rows of other streams are zero.

    Attributes:
        xs, cs, bases: float64[n, d], int64[n, k], float64[n]: vectors of the questions, and the last outcome before each.
        on_keys, label_keys: uint64[n], the join's hashes.
        ys: float64[n], labels; NaN where a row is none.
        fates: uint8[n], what the guard makes of each question; empty where there is none.
    """

    xs: Floats
    cs: Ints
    bases: Floats
    on_keys: Hashes
    label_keys: Hashes
    ys: Floats
    fates: Bytes


class ModelFold:
    """State and step of one model; `classes_fold` has the one for a label that names a class.

    Attributes:
        learner: The model's line, and its twins.
        lane: The same where it is in the event lane, else None.
    """

    def __init__(self, app: App, model: Model, start: Callable[[], BlockLearner] | None = None) -> None:
        self.model = model
        self.columns = app.columns[model.name]
        codes = list(app.plan.streams)
        self._on, self._by = codes.index(model.schema.stream), codes.index(model.label.value.stream)
        self.n_numbers, self.n_categories = len(model.numbers), len(model.categories)
        self.n_experts, self.n_memos = len(model.experts), n_memos(model.learner)
        self.learner: LinearState | SoftmaxLine | LaneState = _started(model, start)
        self.lane = self.learner if isinstance(self.learner, LaneState) else None
        self.metrics: Metrics | ClassMetrics
        self.metrics, self.no_change = self._judges()
        self.answered = Answered()
        self.ints: Ints = np.zeros(p.N_INTS, np.int64)
        self.guard = guard_of(model)
        self.bursts: list[Burst] = []
        width = p.SCORES + model.n_scores + self.n_numbers + self.n_memos + self.n_categories + (self.guard is not None)
        self.pending = Pending(width, self.ints)
        self.rules = {VERSION: model.versions, **model.twins}
        self.next_due: Ints = np.array([_first(rule) for rule in self.rules.values()], np.int64).reshape(-1)
        self._labels_itself = model.labels_itself  # "no change" repeats that very outcome
        negative = model.label.missing is Missing.NEGATIVE
        lateness = max(app.streams[s].lateness_ms for s in (model.schema.stream, model.label.value.stream))
        self._horizon = np.array([model.label.within_ms, lateness, negative, self.learner.block], np.int64)
        self._alarms = np.full(3, _NEVER)

    def _judges(self) -> tuple[Metrics | ClassMetrics, Floats]:
        """What judging adds up, and the outcomes after each last outcome."""
        return Metrics(self.model.experts), np.zeros((3, 2))

    def step(self, bound: Bound, evaluated: Floats, features: Floats, due: list[Due]) -> Floats:
        """Fold one bound batch; returns the judged rows, and appends to `due` what fell due, to `bursts` what the guard saw."""
        model, n, width = self.model, bound.n, p.J_SCORES + self.n_experts
        scored, labelling = bound.rows.get(model.schema.stream, _NONE), bound.rows.get(model.label.value.stream, _NONE)
        if scored.size == 0 and labelling.size == 0:
            return np.zeros((0, width))
        rows = self._rows(bound, scored, labelling, evaluated, features)
        self.pending.reserve(scored.size)
        ring, before = int(self.ints[p.HEAD] + self.ints[p.SIZE]), int(self.ints[p.SCORED])
        expiring = int(self.ints[p.SIZE]) + scored.size if model.label.missing is Missing.NEGATIVE else 0
        judged = np.zeros((labelling.size + expiring, width + self.learner.n_behind))
        done = np.zeros(1, np.int64)
        at = 0
        self.learner.open(rows.xs, rows.cs, scored, labelling)
        if self.lane is not None:
            self.lane.stand(bound.seq, bound.time)
        while True:
            self._set_alarms()
            self.learner.look_ahead(at)
            at = self._walk(at, bound, rows, judged, done)
            self.learner.take(judged[: done[0]], width)
            if at == n:
                self._count_answers(ring + np.arange(self.ints[p.SCORED] - before), judged[: done[0]])
                return judged[: done[0], :width].copy()
            asked = bound.stream[at] == self._on
            self._ring(bound.seq + at, int(bound.time[at]), due, asked=bool(asked))

    def _rows(self, bound: Bound, scored: Ints, labelling: Ints, evaluated: Floats, features: Floats) -> Rows:
        """Vectors of the questions, values of the labels, and the keys that join them."""
        model, n = self.model, bound.n
        on, label = model.schema.stream, model.label
        xs, bases = np.zeros((n, self.n_numbers + self.n_memos)), np.zeros(n)
        cs = np.zeros((n, self.n_categories), np.int64)
        on_keys, label_keys, ys = np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.full(n, np.nan)
        if scored.size:
            xs[scored, : self.n_numbers] = number_matrix(features[scored], self.columns.numbers)
            bases[scored] = features[scored, self.columns.baseline]
            cs[scored] = category_matrix(
                model.categories, bound.frames[on], bound.time[scored], self.learner.base, model.learner.bits
            )
            on_keys[scored] = bound.hashes(on, (label.on,))[1]
        if labelling.size:
            label_keys[labelling] = bound.hashes(label.value.stream, (label.join,))[1]
            ys[labelling] = self._labels(bound, evaluated[labelling, self.columns.label])
        if self._labels_itself:
            bases[scored] = np.where(np.isnan(ys[scored]), bases[scored], ys[scored])
        return Rows(xs, cs, bases, on_keys, label_keys, ys, self._guarded(bound, scored, xs, cs))

    def _guarded(self, bound: Bound, scored: Ints, xs: Floats, cs: Ints) -> Bytes:
        """What becomes of each row's question; the guard changes vectors in place. Empty where there is no guard."""
        if self.guard is None:
            return _NO_FATES
        numbers = xs if self.n_memos == 0 else np.ascontiguousarray(xs[:, : self.n_numbers])
        fates, bursts = self.guard.step(scored[bound.skip[scored] == 0], numbers, cs, bound.seq, bound.time)
        xs[:, : self.n_numbers] = numbers
        self.bursts += bursts
        return fates

    def _labels(self, bound: Bound, values: Floats) -> Floats:  # noqa: ARG002 - where a label names a class, its name is there
        """The labels of a batch, from their evaluated expressions."""
        return values

    def _walk(self, at: int, bound: Bound, rows: Rows, judged: Floats, done: Ints) -> int:
        """Walk on from row `at`; returns the row before which something is due, or the batch's end."""
        assert isinstance(self.metrics, Metrics)
        return p.fold_model(
            at, bound.stream, bound.skip, bound.time, bound.seq, self._on, self._by, rows.xs, rows.cs, rows.bases,
            rows.on_keys, rows.label_keys, rows.ys,
            self.learner.weights, self.learner.squares, self.learner.stats, self.learner.twins, self.learner.twin_stats,
            self.learner.counts, self.learner.params, self.pending.rows, self.pending.known, self.pending.index,
            self.pending.dirty, self.no_change, self.metrics.sums, self.metrics.hist, self.metrics.panes,
            self.metrics.pane_hist, self.ints, self._alarms, self._horizon, judged, done,
            self.learner.given, rows.fates,
        )  # fmt: skip

    def _count_answers(self, asked: Ints, judged: Floats) -> None:
        """Count this batch's questions, by their places in the ring, and its first labels."""
        if self.model.learner.loss != "log":
            return
        self.answered.ask(self.pending.rows[asked % self.pending.rows.shape[0], p.SCORES])
        self.answered.label(judged[judged[:, p.J_KIND] == p.FIRST, p.J_SCORES])

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

    @property
    def hashed(self) -> HashedRows | None:
        """The line's hashed weights where they are published by row: all of them, each time, would be megabytes."""
        if isinstance(self.learner, SoftmaxLine):
            return self.learner
        return None if self.lane is None else self.lane.fast

    def refit(self, fitted: Mapping[str, Any]) -> None:
        """Exchange the slow part of the line, where it has one."""
        if self.lane is not None:
            self.lane.exchange(fitted)

    def ask(self, seq: int, time_ms: int) -> None:
        """A person asks for a refit at a place in the log."""
        if self.lane is not None:
            self.lane.ask(seq, time_ms)

    def drain(self) -> tuple[list[Floats], list[Point]]:
        """Examples learnt and decision points since the last time; of a line with a slow part only."""
        return ([], []) if self.lane is None else self.lane.drain()

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
        if self.model.learner.loss == "log":
            out["labels_by_score"] = self.answered.report()
        if self.lane is not None and (stop := self.lane.stops).now is not None:
            out["stopped"] = {"what": stop.now.what, "at": stop.now.at, "dropped": stop.n_dropped}
        if self.guard is not None:
            out["guard"] = self.guard.report()
        return out

    def _unlabelled(self) -> int:
        return int(np.isnan(self.pending.rows[self.pending.order(), p.LABEL]).sum())

    def small_arrays(self) -> dict[str, Any]:
        """The state without what is saved by row."""
        return {
            **self.learner.arrays(), **self.metrics.arrays(), "ints": self.ints, "no_change": self.no_change,
            "next_due": self.next_due, "answered": self.answered.counts,
            **({} if self.guard is None else self.guard.arrays()),
        }  # fmt: skip

    def by_row(self) -> list[tuple[dict[str, Any], Bytes]]:
        """The arrays that are saved by row, each few with the flags of the rows that changed."""
        return [({"pending.known": self.pending.known, "pending.rows": self.pending.rows}, self.pending.dirty)]

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
        if self.guard is not None:
            self.guard.restore(arrays)
        self.no_change[...], self.next_due[...] = arrays["no_change"], arrays["next_due"]
        self.ints[...] = arrays["ints"]
        self.answered.counts[...] = arrays.get("answered", 0)  # a state from before this was counted starts at nothing
        ring = Pending.positions(self.ints, arrays["pending.rows"].shape[0])
        self.pending.restore(arrays["pending.known"][ring], arrays["pending.rows"][ring])


_NONE = np.zeros(0, np.int64)
_NO_FATES = np.zeros(0, np.uint8)


def _started(model: Model, start: Callable[[], BlockLearner] | None) -> LinearState | SoftmaxLine | LaneState:
    """A line that has learnt nothing."""
    if isinstance(model.learner, Softmax):
        return SoftmaxLine(model.learner, len(model.numbers), len(model.twins))
    if isinstance(model.learner, Linear):
        return LinearState(model.learner, len(model.numbers), len(model.twins))
    numbers, categories = tuple(f.name for f in model.numbers), tuple(c.name for c in model.categories)
    return LaneState(model.learner, numbers, categories, len(model.twins), start)


def guard_of(model: Model) -> GuardState | None:
    """A model's guard that has seen nothing, if it has one."""
    if model.guard is None:
        return None
    return GuardState(model.guard, [f.name for f in model.numbers], [c.name for c in model.categories], model.name)


def _first(rule: Publish) -> int:
    """When a rule is due at the earliest; for calendars, the first event starts them."""
    return -(2**62) if rule.every_ms else rule.every_labels or rule.once_scored


def _next(rule: Publish, now: int) -> int:
    if rule.every_ms:
        return (now - rule.offset_ms) // rule.every_ms * rule.every_ms + rule.offset_ms + rule.every_ms
    if rule.every_labels:
        return (now // rule.every_labels + 1) * rule.every_labels
    return int(_NEVER)
