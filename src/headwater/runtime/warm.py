"""Compiles the kernels into their cache, so that nobody waits for it later: `python -m headwater.runtime.warm`."""

from __future__ import annotations

import time

import numpy as np

from headwater.app import AnyFeature, App, Model, every
from headwater.core.batch import Frame, Text, column, single
from headwater.core.compiled import cache_folder
from headwater.core.event import Event, Field
from headwater.core.schema import Kind, Schema
from headwater.evaluation.labels import label
from headwater.evaluation.pending import Pending
from headwater.evaluation.prequential import N_INTS, SCORES
from headwater.features.aggregates import category, mean
from headwater.learning.boosted import flatten
from headwater.learning.fast_lane import Fast
from headwater.learning.forest import margins_of
from headwater.learning.linear import Linear
from headwater.log.checksum import xxh64
from headwater.log.dedupe import DedupeIndex
from headwater.runtime.local import LocalRun

_MANY = 1 << 13  # ids: more than an index begins with
_SAMPLE = {Kind.FLOAT: 1.0, Kind.INT: 1, Kind.BOOL: True, Kind.STR: "a"}


def is_compiled() -> bool:
    """Whether kernels were compiled here before, from the very sources of this installation."""
    return cache_folder().is_dir()


def warm(app: App) -> float:
    """Send a few invented events of every stream through a run of their own, and ask; returns seconds."""
    began = time.perf_counter()
    _many()
    run = LocalRun(app)
    for schema in app.streams.values():
        run.log.append(single(schema, _frame(schema, 3), np.arange(3, dtype=np.int64), Text.of(["1", "2", "3"])))
    run.catch_up()
    for name, model in app.models.items():
        for key in ("a", "unknown") if model.schema.field(model.schema.key).kind is Kind.STR else (1, 2):
            run.predict(name, explain=isinstance(model.learner, Linear), **{model.schema.key: key})
        if isinstance(model.learner, Fast):
            _learn_fast(model, model.learner)
    return time.perf_counter() - began


def _many() -> None:
    """What a log on disk needs, and what a few events do not reach: tables that grow."""
    xxh64(bytes(64))
    DedupeIndex().reserve(_MANY, 0)
    Pending(SCORES, np.zeros(N_INTS, np.int64)).restore(np.zeros(0, np.uint64), np.zeros(0))


def _learn_fast(model: Model, spec: Fast) -> None:
    """A few events fill no block, and nothing is fitted on them: have the fast layer learn beside its trees, and without."""
    numbers, categories = tuple(f.name for f in model.numbers), tuple(c.name for c in model.categories)
    learner = spec.start(numbers, categories)
    xs, cs = np.zeros((2, len(numbers))), np.zeros((2, len(categories)), np.int64)
    for _ in range(2):
        learner.learn_judged(xs, cs, np.array([0.0, 1.0]), learner.say_many(xs, cs))
        learner.exchange(flatten([], 0.0)._asdict())
    margins_of(flatten([], 0.0), np.zeros((1, 1)), 0, 1)  # what more trees go on from


def _frame(schema: Schema, n: int) -> Frame:
    return Frame(n, {f.name: column(f, [_SAMPLE[f.kind]] * n) for f in schema.fields})


class Question(Event, key="key"):
    """One stream of an app that only exists to be compiled for."""

    key: Field[str]
    x: Field[float]


class Outcome(Event, key="key"):
    """The other one."""

    key: Field[str]
    y: Field[float]


def _app() -> App:
    answer = label(Outcome.y > 0, join=Outcome.key, on=Question.key, within="1d")
    features: list[AnyFeature] = [Question.x, category(Question.key), mean(Outcome.y, by=Outcome.key, half_life="1h")]
    compiled = Model("warm", on=Question, features=features, label=answer, twins={"twin": every("1d")})
    return App("warm", models=[compiled, Model("fast", on=Question, features=features, label=answer, learner=Fast())])


if __name__ == "__main__":
    print(f"Compiled the kernels in {warm(_app()):.0f} s.")
