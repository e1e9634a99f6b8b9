"""Answered rows become events: appended in groups after their answers, so that no answer waits for a disk.

A crash loses at most what was answered within the linger and while the last commit ran; those rows were not promised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import structlog

from headwater.core.batch import Batch, Column, Frame, Ints, Text, column, concat, concat_columns, single
from headwater.core.errors import Retryable
from headwater.core.schema import Schema
from headwater.log.protocol import Receipt, Verdict
from headwater.telemetry.metrics import Metrics

# (source, id) is what duplicates are known by: the source of producers that name none, so that a question which is asked
# here and then sent by its producer under the same id counts once.
SOURCE = "default"
_ROWS_IN_A_COMMIT = 8192

_log = structlog.stdlib.get_logger("headwater.serving")


class Appends(Protocol):
    """The door, as far as this module needs it."""

    def append(self, batch: Batch) -> Awaitable[Receipt]:
        """Store the rows durably and say what became of each."""


@dataclass(frozen=True, slots=True, eq=False)
class Recordable:
    """Complete rows of one stream.

    Attributes:
        time: Event times, int64[n], ms since 1970 UTC; None means the arrival.
        arrival_us: One stamp for all rows, us since 1970 UTC.
        values: A single row's values in the schema's order, where they are at hand: many of them join faster than frames.
    """

    schema: Schema
    frame: Frame
    ids: list[str]
    time: Ints | None
    arrival_us: int
    values: Sequence[Any] | None = None


class Recorder:
    """A bounded buffer before the door. All of it runs on the event loop's thread."""

    def __init__(self, door: Appends, metrics: Metrics, *, pending_rows: int, linger_s: float) -> None:
        self._door, self._metrics = door, metrics
        self._bound, self._linger_s = pending_rows, linger_s
        self._waiting: list[Recordable] = []
        self._task: asyncio.Task[None] | None = None
        self.pending = 0
        self.end: int | None = None  # the log's end after the latest append
        metrics.record_pending.set_function(lambda: self.pending)

    def has_room(self, n: int) -> bool:
        return self.pending + n <= self._bound

    def add(self, rows: Recordable) -> None:
        """Take rows over; they are appended after the linger, together with others'."""
        self._waiting.append(rows)
        self.pending += rows.frame.n
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Append what is pending, then return."""
        while self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            await asyncio.sleep(self._linger_s)
            while self._waiting:
                await self._commit(self._take())
        finally:
            self._task = None

    def _take(self) -> list[Recordable]:
        n, stop = 0, 0
        while stop < len(self._waiting) and n < _ROWS_IN_A_COMMIT:
            n += self._waiting[stop].frame.n
            stop += 1
        taken, self._waiting = self._waiting[:stop], self._waiting[stop:]
        return taken

    async def _commit(self, parts: list[Recordable]) -> None:
        n = sum(part.frame.n for part in parts)
        try:
            batch = _group(parts)
            receipt = await self._persist(batch)
            self._count(batch, receipt)
        except Exception as error:  # noqa: BLE001 - the loop must go on; the loss is counted and logged
            self._metrics.record_lost.labels(type(error).__name__).inc(n)
            _log.error("predicted rows were not recorded", rows=n, exc_info=error)
        else:
            self.end = receipt.end
        finally:
            self.pending -= n

    async def _persist(self, batch: Batch) -> Receipt:
        while True:
            try:
                return await self._door.append(batch)
            except Retryable as error:
                _log.warning("recording waits", rows=batch.n, error=str(error))
                await asyncio.sleep(error.delay_s)

    def _count(self, batch: Batch, receipt: Receipt) -> None:
        for code, stream in enumerate(batch.names):
            counts = np.bincount(receipt.verdict[batch.stream == code], minlength=len(Verdict))
            for verdict in Verdict:
                if counts[verdict]:
                    self._metrics.events.labels(stream, verdict.name.lower()).inc(int(counts[verdict]))


def _group(parts: list[Recordable]) -> Batch:
    by_stream: dict[str, list[Recordable]] = {}
    for part in parts:
        by_stream.setdefault(part.schema.stream, []).append(part)
    return concat([_join(same) for same in by_stream.values()])


def _join(parts: list[Recordable]) -> Batch:
    schema = parts[0].schema
    counts = [p.frame.n for p in parts]
    arrival = np.repeat(np.array([p.arrival_us for p in parts], np.int64), counts)
    time = arrival // 1000
    if any(p.time is not None for p in parts):
        time = np.concatenate([np.full(p.frame.n, p.arrival_us // 1000, np.int64) if p.time is None else p.time for p in parts])
    rows = Frame(sum(counts), _columns(schema, parts))
    return single(schema, rows, time, Text.of([i for p in parts for i in p.ids]), source=SOURCE, arrival=arrival)


def _columns(schema: Schema, parts: list[Recordable]) -> dict[str, Column]:
    singles = [p.values for p in parts if p.values is not None]
    if len(singles) == len(parts):
        return {f.name: column(f, values) for f, values in zip(schema.fields, zip(*singles, strict=True), strict=True)}
    return {f.name: _column([p.frame.columns[f.name] for p in parts], nullable=f.nullable) for f in schema.fields}


def _column(parts: list[Column], *, nullable: bool) -> Column:
    joined = concat_columns(parts)
    return joined if nullable else Column(joined.values)
