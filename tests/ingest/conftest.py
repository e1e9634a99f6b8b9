from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from headwater.core.batch import Batch
from headwater.core.clock import VirtualClock
from headwater.core.schema import DEAD, FieldSpec, Kind, Schema
from headwater.ingest import Door, Limits
from headwater.log import MemoryLog
from headwater.log.protocol import Chunk, Counts, Receipt

NOW_MS = 1_700_000_000_000
NDJSON = "application/x-ndjson"

DEPARTURE = Schema(
    "departure",
    (
        FieldSpec("flight_id", Kind.STR),
        FieldSpec("carrier", Kind.STR, nullable=True),
        FieldSpec("distance", Kind.FLOAT),
        FieldSpec("seats", Kind.INT, required=False, default=180),
        FieldSpec("night", Kind.BOOL, required=False, default=False),
    ),
    key="flight_id",
)
ARRIVAL = Schema(
    "arrival",
    (
        FieldSpec("flight_id", Kind.STR),
        FieldSpec("arr_delay", Kind.FLOAT, nullable=True),
        FieldSpec("gate", Kind.INT, nullable=True),
    ),
    key="flight_id",
    major=2,
)
SCHEMAS = {s.stream: s for s in (DEPARTURE, ARRIVAL)}


def departure(i: object, **more: Any) -> dict[str, Any]:
    return {"id": i, "time": NOW_MS, "flight_id": f"f{i}", "carrier": "UA", "distance": 100.5, **more}


def arrival(i: object, **more: Any) -> dict[str, Any]:
    return {"id": i, "time": NOW_MS, "flight_id": f"f{i}", "arr_delay": 3.0, **more}


def lines(events: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(e).encode() for e in events)


@dataclass
class CountingLog:
    """A memory log that counts appends, can be slow on purpose, and can fail."""

    inner: MemoryLog = field(default_factory=MemoryLog)
    n_appends: int = 0
    before: Callable[[Batch], None] = lambda batch: None

    def append(self, batch: Batch) -> Receipt:
        self.n_appends += 1
        self.before(batch)
        return self.inner.append(batch)

    def read(self, seq: int, max_events: int = 65_536) -> Iterator[Chunk]:
        return self.inner.read(seq, max_events)

    def bounds(self) -> tuple[int, int]:
        return self.inner.bounds()

    def counts(self) -> dict[str, Counts]:
        return self.inner.counts()

    def retain(self, **limits: int | None) -> int:
        return self.inner.retain(**limits)

    def close(self) -> None:
        self.inner.close()


@dataclass
class Answer:
    status: int
    content: dict[str, Any]
    headers: dict[str, str]

    @property
    def counts(self) -> tuple[int, int, int]:
        return tuple(self.content[k] for k in ("accepted", "duplicate", "quarantined"))  # type: ignore[return-value]

    @property
    def codes(self) -> list[str]:
        return [p["code"] for p in self.content.get("problems", [])]


class Desk:
    """A door on a memory log; each post has an event loop of its own, so that tests read as a story."""

    def __init__(self, limits: Limits | None = None, log: CountingLog | None = None) -> None:
        self.log = log or CountingLog()
        self.limits = limits or Limits()
        self.clock = VirtualClock(NOW_MS * 1000)
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1

    def door(self) -> Door:
        return Door(self.log, SCHEMAS, clock=self.clock, limits=self.limits, on_append=self.ring)

    def post(
        self, body: bytes, stream: str | None = "departure", kind: str = NDJSON, headers: Mapping[str, str] | None = None
    ) -> Answer:
        async def once() -> Answer:
            door = self.door()
            reply = await door.submit(body, kind, headers or {}, stream)
            await door.close()
            return Answer(reply.status, json.loads(reply.body), reply.headers)

        return asyncio.run(once())

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """What the log holds of a stream, as plain events."""
        found = []
        for chunk in self.log.read(0):
            batch = chunk.batch
            if stream not in batch.frames:
                continue
            columns = {name: c.to_list() for name, c in batch.frames[stream].columns.items()}
            for i, row in enumerate(batch.rows_of(stream).tolist()):
                envelope = {"id": batch.ids[row], "source": batch.sources[batch.source[row]], "time": int(batch.time[row])}
                found.append({"seq": chunk.seq + row, **envelope, **{name: values[i] for name, values in columns.items()}})
        return found

    def dead(self) -> list[dict[str, Any]]:
        return self.rows(DEAD)


@pytest.fixture
def desk() -> Desk:
    return Desk()
