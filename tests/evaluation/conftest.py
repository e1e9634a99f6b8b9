"""A small app, and the fold as twenty lines of Python would write it: dictionaries and lists, one event at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import headwater as hw
from headwater.app import App, Model, Publish
from headwater.core.batch import Batch, frame
from headwater.learning.kernels import learn_rows, score_rows
from headwater.learning.linear import LinearState
from headwater.learning.vectors import category_matrix
from headwater.log.protocol import Chunk
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.model_fold import Due
from headwater.testing.events import Seen, batch_of, split

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    x: hw.Field[float | None]
    c: hw.Field[str]


class Told(hw.Event, key="id_", lateness="2h"):
    id_: hw.Field[str]
    y: hw.Field[float | None]


def make_app(
    *, loss: str = "log", missing: Any = hw.UNKNOWN, within: str = "3h", versions: Publish | None = None, twins: Any = None
) -> App:
    value = Told.y > 0.5 if loss == "log" else Told.y
    label = hw.label(value, join=Told.id_, on=Ask.id_, within=within, missing=missing)
    learner = hw.Linear(loss="log" if loss == "log" else "squared", eta0=0.5, bits=6)
    model = Model("m", on=Ask, features=[Ask.x, hw.category(Ask.c)], label=label, learner=learner,
                  versions=versions or hw.every("1d"), twins=twins or {})  # fmt: skip
    return hw.App("a", models=[model])


@dataclass
class Done:
    """A fold and all that it did."""

    fold: Fold
    effects: list[Effects]

    @property
    def judged(self) -> Any:
        parts = [p for e in self.effects for p in e.judged.get("m", [])]
        return np.concatenate(parts) if parts else np.zeros((0, 5 + self.fold.models["m"].n_experts))

    @property
    def due(self) -> list[Due]:
        return [d for e in self.effects for d in e.due]

    @property
    def questions(self) -> Any:
        return self.fold.models["m"].report()["questions"]


def folded(app: App, rows: list[Seen] | Batch, sizes: tuple[int, ...] = (10**9,)) -> Done:
    fold = Fold(app)
    batch = rows if isinstance(rows, Batch) else batch_of(rows)
    return Done(fold, [fold.step(Chunk(fold.seq, part)) for part in split(batch, sizes)])


@dataclass(eq=False)
class Question:
    """A question that waits."""

    key: str
    seq: int
    time: int
    base: float
    scores: list[float]
    x: Any
    c: Any
    label: float | None = None


@dataclass
class Oracle:
    """The same model, spelled out."""

    app: App
    counts: Counter[str] = field(default_factory=Counter)
    judged: list[list[float]] = field(default_factory=list)
    due: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = self.app.models["m"]
        self.squared = self.model.learner.loss == "squared"
        self.state = LinearState(self.model.learner, 1, len(self.model.twins))
        self.twins = {name: (np.zeros(self.state.weights.shape[0]), np.zeros((4, 1))) for name in self.model.twins}
        self.rules: dict[str, Publish] = {"": self.model.versions, **self.model.twins}
        self.next = {name: r.every_labels or r.once_scored if not r.every_ms else None for name, r in self.rules.items()}
        self.ring: list[Question] = []
        self.newest: dict[str, Question] = {}
        self.outcomes = {state: [0.0, 0.0] for state in ("no", "yes", "none")}
        self.last: tuple[int, int, float] | None = None
        self.high = {"ask": -(2**62), "told": -(2**62)}
        self.clock = 0

    def fold(self, rows: list[Seen]) -> None:
        for seq, row in enumerate(rows):
            schema = row.event.schema
            if row.time_ms < self.high[schema.stream] - schema.lateness_ms:
                self.counts["late"] += 1
                continue
            self.high[schema.stream] = max(self.high[schema.stream], row.time_ms)
            self.publish(row.time_ms, seq, asked=schema.stream == "ask")
            if schema.stream == "told":
                self.told(row.time_ms, seq, row.event)
            else:
                self.ask(row.time_ms, seq, row.event)

    def publish(self, time: int, seq: int, *, asked: bool) -> None:
        for name, rule in self.rules.items():
            if rule.every_labels:
                due, following = (
                    self.counts["labelled"] >= self.next[name],
                    (self.counts["labelled"] // rule.every_labels + 1) * rule.every_labels,
                )
            elif not asked:
                continue
            elif rule.every_ms:
                following = next(
                    t
                    for k in range(2)
                    for t in [((time - rule.offset_ms) // rule.every_ms + 1) * rule.every_ms + rule.offset_ms]
                )
                if self.next[name] is None:
                    self.next[name] = following
                due = time >= self.next[name]
            else:
                due, following = self.next[name] is not None and self.counts["scored"] >= self.next[name] >= 0, 2**62
            if due:
                self.next[name] = following
                self.due.append((name, seq, time))
                if name:
                    self.twins[name] = (self.state.weights.copy(), self.state.stats.copy())

    def told(self, time: int, seq: int, event: Any) -> None:
        y = None if event.y is None else float(event.y if self.squared else event.y > 0.5)
        question = self.newest.get(event.id_)
        if y is None:
            self.counts["null_labels"] += 1
        elif question is None or time > question.time + self.model.label.within_ms:
            self.counts["unmatched_labels"] += 1
        elif question.label == y:
            self.counts["repeated"] += 1
        else:
            kind = 0 if question.label is None else 1
            self.counts["corrected"] += kind
            self.settle(question, y, kind, seq)
        if y is not None and (self.last is None or (time, seq) > self.last[:2]):
            self.last = (time, seq, y)

    def settle(self, question: Question, y: float, kind: int, seq: int) -> None:
        question.label = y
        if kind != 1:
            self.counts["labelled"] += 1
            held = self.outcomes[self.after(question.base)]
            held[0] += 1
            held[1] += y
        self.judged.append([question.seq, question.time, y, kind, seq, *question.scores])
        s, out = self.state, np.zeros(1)
        learn_rows(s.weights, s.squares, s.stats, s.counts, question.x, question.c, np.array([y]), s.params, out)

    def after(self, base: float) -> str:
        return "none" if np.isnan(base) or self.squared else "yes" if base > 0.5 else "no"

    def no_change(self, base: float) -> float:
        n, total = self.outcomes[self.after(base)]
        if self.squared:
            return base if not np.isnan(base) else total / n if n else 0.0
        return (total + 1) / (n + 2)

    def ask(self, time: int, seq: int, event: Any) -> None:
        self.clock = max(self.clock, time)
        while self.ring and self.ring[0].time + self.model.label.within_ms < self.clock - 2 * HOUR:
            self.expire(self.ring.pop(0), seq)
        base = np.nan if self.last is None else self.last[2]
        x = np.array([[np.nan if event.x is None else event.x]])
        c = category_matrix(
            self.model.categories, frame(Ask.schema, [event]), np.array([time]), self.state.base, self.model.learner.bits
        )
        scores = []
        for weights, stats in ((self.state.weights.copy(), self.state.stats), *self.twins.values()):
            out = np.zeros(1)
            score_rows(weights, stats, x, c, self.state.params, out)
            scores.append(float(out[0]))
        self.counts["superseded"] += event.id_ in self.newest
        self.counts["scored"] += 1
        question = Question(event.id_, seq, time, base, [*scores, self.no_change(base)], x, c)
        self.ring.append(question)
        self.newest[event.id_] = question

    def expire(self, question: Question, seq: int) -> None:
        superseded = self.newest[question.key] is not question
        if question.label is None:
            self.counts["expired"] += 1
            if self.model.label.missing is hw.NEGATIVE and not superseded:
                self.settle(question, 0.0, 2, seq)
        if not superseded:
            del self.newest[question.key]
