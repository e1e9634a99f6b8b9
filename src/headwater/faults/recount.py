"""Lateness and the join of labels, counted row by row with dictionaries: slow, plain, and written without the kernels.

A kernel that learns a correction twice does so in an undisturbed fold as well; only another way of counting tells.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headwater.app import App, Model
from headwater.core.batch import Frame, column
from headwater.core.expressions import evaluate
from headwater.core.schema import Schema
from headwater.evaluation.labels import Label, Missing

Row = dict[str, Any]


@dataclass(slots=True)
class _Mark:
    """One stream's watermark: the least, over its sources, of the newest event time, less the lateness; never back."""

    lateness_ms: int
    newest: dict[str, int] = field(default_factory=dict)
    watermark: int | None = None

    def is_late(self, source: str, time_ms: int) -> bool:
        if self.watermark is not None and time_ms < self.watermark:
            return True
        self.newest[source] = max(time_ms, self.newest.get(source, time_ms))
        lowest = min(self.newest.values()) - self.lateness_ms
        self.watermark = lowest if self.watermark is None else max(self.watermark, lowest)
        return False


@dataclass(slots=True)
class _Question:
    key: object
    time_ms: int
    label: float | None = None


class _Join:
    """One model's questions and their labels."""

    def __init__(self, app: App, model: Model) -> None:
        self._label, self._on = model.label, model.schema.stream
        self._answers = app.streams[model.label.value.stream]
        streams = (self._on, model.label.value.stream)
        self._lateness_ms = max(app.streams[name].lateness_ms for name in streams)
        self._waiting: deque[_Question] = deque()
        self._newest: dict[object, _Question] = {}
        self._clock_ms: int | None = None
        self.n: Counter[str] = Counter()

    def see(self, row: Row) -> None:
        if row["stream"] == self._label.value.stream:
            self._answer(row)
        if row["stream"] == self._on:
            self._ask(row)

    def _answer(self, row: Row) -> None:
        told = _label_of(self._answers, self._label, row)
        if told is None:
            self.n["null_labels"] += 1
            return
        question = self._newest.get(row[self._label.join.spec.name])
        if question is None or row["time"] > question.time_ms + self._label.within_ms:
            self.n["unmatched_labels"] += 1
        elif question.label == told:
            self.n["repeated"] += 1
        else:
            self.n["labelled" if question.label is None else "corrected"] += 1
            question.label = told

    def _ask(self, row: Row) -> None:
        now = row["time"] if self._clock_ms is None else max(self._clock_ms, row["time"])
        self._clock_ms = now
        while self._waiting and self._waiting[0].time_ms + self._label.within_ms < now - self._lateness_ms:
            self._expire(self._waiting.popleft())
        question = _Question(row[self._label.on.spec.name], row["time"])
        self.n["superseded"] += question.key in self._newest
        self.n["scored"] += 1
        self._newest[question.key] = question
        self._waiting.append(question)

    def _expire(self, question: _Question) -> None:
        is_newest = self._newest.get(question.key) is question
        if question.label is None:
            self.n["expired"] += 1
            self.n["labelled"] += is_newest and self._label.missing is Missing.NEGATIVE
        if is_newest:
            del self._newest[question.key]

    def questions(self) -> dict[str, int]:
        names = ("scored", "labelled", "corrected", "repeated", "unmatched_labels", "expired", "superseded", "null_labels")
        pending = sum(question.label is None for question in self._waiting)
        return {**{name: self.n[name] for name in names}, "pending": pending}


def _label_of(schema: Schema, label: Label, row: Row) -> float | None:
    """What a row of the labelling stream says, or None."""
    frame = Frame(1, {f.name: column(f, [row[f.name]]) for f in schema.fields})
    told = float(evaluate(label.value, frame, np.array([row["time"]], np.int64))[0])
    return None if np.isnan(told) else told


class Recount:
    """What an app's fold should say of a log's rows, shown to it in order."""

    def __init__(self, app: App) -> None:
        self._marks = {name: _Mark(schema.lateness_ms) for name, schema in app.streams.items()}
        self._counts: dict[str, list[int]] = {}
        self._joins = {name: _Join(app, model) for name, model in app.models.items()}

    def see(self, row: Row) -> None:
        """Count one row; those of system streams and of undeclared ones count for nothing."""
        mark = self._marks.get(row["stream"])
        if mark is None:
            return
        is_late = mark.is_late(row["source"], row["time"])
        self._counts.setdefault(row["source"], [0, 0])[is_late] += 1
        if not is_late:
            for join in self._joins.values():
                join.see(row)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Applied and late events by source."""
        return {source: (applied, late) for source, (applied, late) in self._counts.items()}

    def questions(self) -> dict[str, dict[str, int]]:
        """What became of each model's questions, under the names of its metrics."""
        return {name: join.questions() for name, join in self._joins.items()}
