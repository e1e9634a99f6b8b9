"""Events as Python objects become the batches and chunks that rooms take: no clock, no log, no door.

rows = [Seen(0, Departure(flight_id="1", ...)), Seen(60_000, Arrival(flight_id="1", ...), source="gate-1")]
fold.step(Chunk(0, batch_of(rows)))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from headwater.core.batch import Batch, Text, frame
from headwater.core.schema import CONTROL_SCHEMA, DEAD_SCHEMA


class Seen(NamedTuple):
    """One row of a log: an event with its envelope."""

    time_ms: int
    event: Any  # an `Event`, or what `control_mark` and `dead_letter` make
    source: str = "test"


def control_mark(kind: str, **body: Any) -> SimpleNamespace:
    """A row of the `_control` stream, such as `control_mark("idle", source="gate-1")`."""
    return SimpleNamespace(schema=CONTROL_SCHEMA, kind=kind, body=json.dumps(body))


def dead_letter(reason: str = "unreadable") -> SimpleNamespace:
    """A row of the `_dead` stream."""
    return SimpleNamespace(schema=DEAD_SCHEMA, code="test", reason=reason, stream="", raw="", truncated=False)


def batch_of(rows: Sequence[Seen], *, first: int = 0) -> Batch:
    """A batch of the rows in their order; ids count from `first`."""
    schemas = {row.event.schema.stream: row.event.schema for row in rows}
    names, sources = list(schemas), list(dict.fromkeys(row.source for row in rows))
    time = np.array([row.time_ms for row in rows], np.int64)
    return Batch(
        len(rows), tuple(names), np.array([names.index(row.event.schema.stream) for row in rows], np.uint8), time, time * 1000,
        tuple(sources), np.array([sources.index(row.source) for row in rows], np.uint16),
        Text.of([str(first + i) for i in range(len(rows))]),
        {s: frame(schema, [r.event for r in rows if r.event.schema.stream == s]) for s, schema in schemas.items()},
    )  # fmt: skip


def split(batch: Batch, sizes: Sequence[int]) -> Iterator[Batch]:
    """The batch in pieces of these sizes, over and over until its end."""
    start = turn = 0
    while start < batch.n:
        stop = min(start + sizes[turn % len(sizes)], batch.n)
        yield batch.slice(start, stop)
        start, turn = stop, turn + 1
