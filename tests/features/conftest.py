"""Runs features alone, without models: what the fold does up to the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Batch, Floats
from headwater.core.event import EventType
from headwater.features.engine import Engine, bind
from headwater.features.memories import Aggregate
from headwater.features.plan import Plan, Planner
from headwater.features.watermarks import Watermarks
from headwater.testing.events import split


@dataclass
class Run:
    """What came of folding a batch: each event's vector (NaN where it is of another stream), and the state."""

    vectors: Floats
    skip: Any
    engine: Engine
    watermarks: Watermarks
    plan: Plan


def plan_of(features: list[Aggregate], on: EventType, streams: list[EventType]) -> Plan:
    planner = Planner([s.schema for s in streams])
    for feature in features:
        planner.aggregate(feature, on.schema)
    return planner.plan()


def run(
    features: list[Aggregate], on: EventType, streams: list[EventType], batch: Batch, sizes: tuple[int, ...] = (10**9,)
) -> Run:
    plan = plan_of(features, on, streams)
    engine, watermarks = Engine(plan), Watermarks([s.schema for s in streams])
    vectors, skips, seq = [np.zeros((0, len(plan.outputs)))], [np.zeros(0, np.uint8)], 0
    for part in split(batch, sizes):
        bound = bind(plan, part, seq)
        source = watermarks.codes_of_rows(part.sources, part.source, bound.skip)
        bound.behind[:] = watermarks.mark(bound.stream, source, bound.time, bound.skip)
        vectors.append(engine.step(bound)[1])
        skips.append(bound.skip)
        seq += part.n
    return Run(np.concatenate(vectors), np.concatenate(skips), engine, watermarks, plan)


def memories(done: Run) -> dict[tuple[int, int], Floats]:
    """(table, entity) -> its row."""
    return {
        (t, int(k)): table.rows[i] for t, table in enumerate(done.engine.tables) for i, k in enumerate(table.keys[: table.n])
    }
