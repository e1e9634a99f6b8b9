"""The decision log: who was told what, by which version. Written after the answer, in groups, and never in its way.

A crash loses at most the linger; whatever cannot be stored is counted. Where the records go is the caller's choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import structlog

from headwater.core.batch import Column, Floats
from headwater.telemetry.metrics import Metrics

_log = structlog.stdlib.get_logger("headwater.serving")


class Decision(NamedTuple):
    """One call's answer.

    Attributes:
        time_us: When it was given, us since 1970 UTC.
        model: The model that was asked.
        version: `line@seq`.
        keys: The key of each row; of an Arrow call, its column as it came.
        scores: The score of each row; of many rows, float64[n].
        labels: The class that was said of each row; None where the model's label names none.
    """

    time_us: int
    model: str
    version: str
    keys: Sequence[Any] | Column
    scores: Sequence[float] | Floats
    labels: Sequence[str | None] | None = None


Store = Callable[[list[Decision]], Awaitable[None]]


class DecisionLog:
    """A bounded buffer before `store`. All of it runs on the event loop's thread.

    Args:
        store: Keeps a group of records; called by one task at a time.
        metrics: Where pending and lost rows are counted.
        linger_s: How long a record waits for others to share a commit with.
        pending_rows: Beyond so many waiting rows the newest are lost.
    """

    def __init__(self, store: Store, metrics: Metrics, *, linger_s: float = 0.05, pending_rows: int = 100_000) -> None:
        self._store, self._metrics = store, metrics
        self._linger_s, self._bound = linger_s, pending_rows
        self._waiting: list[Decision] = []
        self._task: asyncio.Task[None] | None = None
        self.pending = 0
        metrics.decisions_pending.set_function(lambda: self.pending)

    def add(self, decision: Decision) -> None:
        """Take a record over; it is stored after the linger."""
        n = len(decision.scores)
        if self.pending + n > self._bound:
            self._metrics.decisions_lost.labels("full").inc(n)
            return
        self._waiting.append(decision)
        self.pending += n
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Store what is pending, then return."""
        while self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._linger_s)
                group, self._waiting = self._waiting, []
                await self._commit(group)
        finally:
            self._task = None

    async def _commit(self, group: list[Decision]) -> None:
        n = sum(len(decision.scores) for decision in group)
        try:
            await self._store(group)
        except Exception as error:  # noqa: BLE001 - serving goes on; the loss is counted and logged
            self._metrics.decisions_lost.labels(type(error).__name__).inc(n)
            _log.error("decision records were not stored", rows=n, exc_info=error)
        finally:
            self.pending -= n
