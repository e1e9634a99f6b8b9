"""Answers from what the learner publishes, with the fold's own arithmetic.

A question with the key of an event in the log is answered from its stored vector; another one from the entities'
memories as they are now. Weights, memories and stored vectors come from one published state, so that an answer is what
the fold says at exactly that place in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Bools, Floats, Ints
from headwater.core.errors import Retryable
from headwater.core.expressions import FieldRef, hash_values
from headwater.core.schema import Schema
from headwater.evaluation.prequential import SCORES
from headwater.features.memories import Category
from headwater.features.plan import Plan
from headwater.features.reading import FeatureReader
from headwater.learning.classes import Softmax
from headwater.learning.kernels import score_rows, share_rows
from headwater.learning.linear import Linear, base_of
from headwater.learning.protocol import LearnerSpec
from headwater.learning.vectors import category_matrix, number_matrix
from headwater.serving.classes import ClassLine
from headwater.serving.looked import Looked, Looking, looked_before
from headwater.serving.parts import Lanes, lane_here, said_by
from headwater.serving.protocol import Answer, Question, Recalled, Unexplained
from headwater.serving.recalling import namer, score_stored
from headwater.serving.unchanged import no_change
from headwater.store.view import Reader, View, outcomes_key, weights_key


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What has to be known of a model to answer for it.

    Attributes:
        number: Its position among the app's models.
        schema: The stream that it answers on.
        join: The field that a question is found by.
        columns: Feature columns of its numbers.
        names: Names of its numbers, then of its categories.
        n_scores: Floats in a stored question that say what the experts answered.
        baseline: Feature column of what "no change" repeats.
        guard: What looks at its vectors first, if anything does.
        n_memos: What its learner keeps with a question, between numbers and categories.
    """

    number: int
    schema: Schema
    join: FieldRef[object]
    columns: tuple[int, ...]
    categories: tuple[Category, ...]
    names: tuple[str, ...]
    learner: Linear | Softmax | LearnerSpec
    n_scores: int
    baseline: int
    guard: Looking | None = None
    n_memos: int = 0


class ViewAnswerer:
    """The `Answerer` over a learner's view. One read transaction a call; safe from several threads.

    Args:
        plan: The app's features.
        served: Its models.
        view: What the learner publishes.
        app: The app's fingerprint.
        lanes: Who answers for each model of the event lane; None has their learners in this process.
    """

    def __init__(self, plan: Plan, served: Mapping[str, Served], view: Reader, app: str, lanes: Lanes | None = None) -> None:
        self._plan, self._served, self._view, self._app = plan, served, view, app
        self._compiled = {name: s.learner for name, s in served.items() if isinstance(s.learner, Linear)}
        self._lanes: Lanes = lanes if lanes is not None else {
            name: lane_here(name, s.number, s.learner, s.names, len(s.columns))
            for name, s in served.items()
            if not isinstance(s.learner, Linear | Softmax)
        }  # fmt: skip
        self._classes = {
            name: ClassLine(s.number, s.learner, len(s.columns)) for name, s in served.items() if isinstance(s.learner, Softmax)
        }
        self._asked = {
            name: _Asked(name, served[name], spec)
            for name, spec in self._compiled.items()
            if served[name].join.spec.name == served[name].schema.key and served[name].guard is None
        }
        self._params = {name: spec.params() for name, spec in self._compiled.items()}
        self._models = {name: s.schema for name, s in served.items()}
        self._readers = {
            name: FeatureReader(plan, s.schema.stream, s.columns if s.guard is None else (*s.columns, s.guard.baseline))
            for name, s in served.items()
        }

    def models(self) -> dict[str, Schema]:
        return self._models

    def says_classes(self, model: str) -> bool:
        return model in self._classes

    def status(self) -> dict[str, object]:
        with self._view.open() as view:
            return {
                **view.status(), "seq": view.meta.seq, "time_ms": view.meta.time_ms, "published_us": view.meta.published_us,
            }  # fmt: skip

    def recall(self, model: str, key: Any) -> Recalled | None:
        asked = self._asked.get(model)
        if asked is None or key is None:
            return None
        with self._view.open() as view:
            row = view.row(asked.name(key))
            if row is None:
                return None
            self._check(view)
            block = view.row(asked.weights)
            if block is None:
                raise _unpublished(model)
            return Recalled(model, view.meta.seq, score_stored(block, row, asked.skip, asked.d, asked.params))

    def _check(self, view: View) -> None:
        if view.meta.app != self._app:
            raise Retryable("the learner is publishing another app", where="view", next_step="Restart the gateway.")

    def answer(self, model: str, question: Question) -> Answer:
        served = self._served[model]
        with self._view.open() as view:
            self._check(view)
            xs, cs, stored, looked = self._vectors(view, model, served, question)
            if question.explain and model not in self._compiled:
                raise Unexplained(model)
            if model in self._classes:
                said = self._classes[model].score(view, _block(view, model), xs, cs)
                return Answer(model, view.meta.seq, said.score(), stored, None, said)
            if model in self._lanes:
                told = said_by(self._lanes[model], view, _block(view, model), xs, cs)
                scores = self._no_change(view, model, served, question, stored) if told.scores is None else told.scores
                return Answer(model, told.seq, looked.over(scores), stored, degraded=told.degraded, guarded=looked.said)
            weights, stats = _weights(view, model, len(served.columns))
            score = np.empty(xs.shape[0])
            params = self._params[model]
            score_rows(weights, stats, xs, cs, params, score)
            shares = _shares(weights, stats, xs, cs, params, served.names) if question.explain else None
            return Answer(model, view.meta.seq, looked.over(score), stored, shares, guarded=looked.said)

    def _no_change(self, view: View, model: str, served: Served, question: Question, stored: Bools) -> Floats:
        """What "no change" says of each row: of a stored one what it said then, of another what it says now."""
        rows, n = question.rows, question.rows.n
        time = np.full(n, view.meta.time_ms) if question.time is None else question.time
        skip, d = SCORES + served.n_scores, len(served.columns) + len(served.categories)
        width = skip + d + (served.guard is not None)
        found, _ = view.rows(served.number, hash_values((served.join,), rows, time), width, b"q")
        scores: Floats = found[:, skip - 1].copy()
        outcomes = view.row(outcomes_key(model))
        if outcomes is None:
            raise _unpublished(model)
        if not stored.all():
            reader = FeatureReader(self._plan, served.schema.stream, (served.baseline,))
            features = reader.read(rows, time, view.rows)
            scores[~stored] = no_change(outcomes.reshape(3, 2), features[~stored, served.baseline], served.learner.loss)
        return scores

    def _vectors(self, view: View, model: str, served: Served, question: Question) -> tuple[Floats, Ints, Bools, Looked]:
        rows, n = question.rows, question.rows.n
        time = np.full(n, view.meta.time_ms) if question.time is None else question.time
        keys = hash_values((served.join,), rows, time)
        d, k = len(served.columns), len(served.categories)
        skip, m = SCORES + served.n_scores, served.n_memos
        found, stored = view.rows(served.number, keys, skip + d + m + k + (served.guard is not None), b"q")
        xs, cs = found[:, skip : skip + d].copy(), found[:, skip + d + m : skip + d + m + k].astype(np.int64)
        looked = Looked() if served.guard is None else looked_before(found, stored, skip - 1)
        fresh = np.flatnonzero(~stored)
        if fresh.size:
            part = rows if fresh.size == n else rows.take(fresh)
            features = self._readers[model].read(part, time[fresh], view.rows)
            base = 0 if model in self._lanes else base_of(d)
            numbers = number_matrix(features, served.columns)
            places = category_matrix(served.categories, part, time[fresh], base, served.learner.bits)
            if served.guard is not None:
                looked.take(fresh, *served.guard.look(view, model, part, time[fresh], features, numbers, places))
            xs[fresh], cs[fresh] = numbers, places
        return xs, cs, stored, looked


class _Asked:
    """What recalling needs of a model, worked out once."""

    def __init__(self, line: str, served: Served, spec: Linear) -> None:
        self.name, self.weights = namer(served.number, served.join), weights_key(line)
        self.skip, self.d, self.params = SCORES + served.n_scores, len(served.columns), spec.params()


def _unpublished(line: str) -> Retryable:
    return Retryable("this line is not published yet", where=line, next_step="Wait until the learner has started.")


def _block(view: View, line: str) -> Floats:
    """What is published of a line."""
    block = view.row(weights_key(line))
    if block is None:
        raise _unpublished(line)
    return block


def _weights(view: View, line: str, d: int) -> tuple[Floats, Floats]:
    """Weights float64[n] and statistics float64[4, d] as published: one block, statistics first."""
    block = _block(view, line)
    return block[4 * d :], block[: 4 * d].reshape(4, d)


def _shares(
    weights: Floats, stats: Floats, xs: Floats, cs: Ints, params: Floats, names: tuple[str, ...]
) -> list[dict[str, float]]:
    out = np.empty((xs.shape[0], 1 + xs.shape[1] + cs.shape[1]))
    share_rows(weights, stats, xs, cs, params, out)
    labels = ("intercept", *names)
    return [dict(zip(labels, row, strict=True)) for row in out.tolist()]
