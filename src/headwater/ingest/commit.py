"""Group commit: rows of many requests, one append.

While one append runs, what arrives is gathered and becomes the next one; so the more producers, the fewer commits for
each. Order of arrival is kept. Each waiter gets the slice of the receipt that is about its own rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import cast

import numpy as np

from headwater.core.batch import Batch, Text, concat
from headwater.core.errors import CorruptData, Overloaded, Retryable
from headwater.core.threads import started
from headwater.ingest.decode import Decoded, Window, join
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.protocol import EventLog, Receipt

GROUP_EVENTS = 65_536  # a batch numbers its sources with 16 bits: with at most as many rows they always fit
GROUP_BYTES = 256 << 20

Done = tuple[Window, Receipt]  # the window's batch may hold others' rows too; the receipt is about its own


@dataclass(slots=True, eq=False)
class _Waiter:
    load: Window | Decoded
    n_bytes: int
    done: asyncio.Future[Done]


class GroupCommit:
    """Appends batches for many tasks of one event loop.

    Args:
        shapes: What rows were decoded with.
        log: Where to. Its `append` runs in one thread of this object's own, never twice at a time.
        limits: `linger_ms` and `max_waiting_events`.
        on_append: Called in the event loop after each commit. It should not raise; if it does, the loop's exception
            handler hears of it and the commit counts all the same.
    """

    def __init__(self, shapes: Shapes, log: EventLog, limits: Limits, on_append: Callable[[], None]) -> None:
        self._shapes, self._log, self._limits, self._on_append = shapes, log, limits, on_append
        self._queue: deque[_Waiter] = deque()
        self._thread = started(1, "commit")
        self._task: asyncio.Task[None] | None = None
        self._had_company = False
        self._is_closed = False
        self.n_waiting = 0

    def check_room(self, n: int) -> None:
        """Raise `Overloaded` if `n` more events would be too many; any number is let in where nothing waits."""
        if self._is_closed:
            raise Overloaded("the door is closed", delay_s=5.0, next_step="Send again when the gateway is back.")
        if self.n_waiting and self.n_waiting + n > self._limits.max_waiting_events:
            what = f"{self.n_waiting} events wait for the disk, at most {self._limits.max_waiting_events} may"
            raise Overloaded(what, delay_s=1.0, next_step="Send again later; a resent event is stored once.")

    def enqueue(self, load: Window | Decoded) -> asyncio.Future[Done]:
        """Queue events (at most `GROUP_EVENTS`); the future has their receipt once they are on disk."""
        n_bytes = load.n_bytes if isinstance(load, Decoded) else _size(load.batch)
        waiter = _Waiter(load, n_bytes, asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        self.n_waiting += load.n
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return waiter.done

    async def close(self) -> None:
        """Refuse newcomers, commit what is queued, release the thread."""
        self._is_closed = True
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        self._thread.shutdown()

    async def _run(self) -> None:
        while self._queue:
            if self._had_company and self._limits.linger_ms:
                await asyncio.sleep(self._limits.linger_ms / 1000)
            group = self._gather()
            self._had_company = len(group) > 1
            await self._commit(group)

    def _gather(self) -> list[_Waiter]:
        group: list[_Waiter] = []
        n, n_bytes = 0, 0
        while self._queue:
            ahead = self._queue[0]
            n, n_bytes = n + ahead.load.n, n_bytes + ahead.n_bytes
            if group and (n > GROUP_EVENTS or n_bytes > GROUP_BYTES):
                break
            group.append(self._queue.popleft())
        return group

    async def _commit(self, group: list[_Waiter]) -> None:
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._thread, self._append, [w.load for w in group])
        except Exception as error:  # noqa: BLE001 - whatever it was, its waiters must hear of it, and the next group must go on
            await self._failed(group, error)
        else:
            self._succeeded(group, done)

    def _append(self, loads: list[Window | Decoded]) -> list[Done]:
        """One append for all loads, in order; those that are rows still are put in columns together."""
        windows: list[Window] = []
        batches: list[Batch] = []
        for kind, run in groupby(loads, key=type):
            if kind is Decoded:
                windows += join(self._shapes, cast("list[Decoded]", list(run)))
                batches.append(windows[-1].batch)
            else:
                own = cast("list[Window]", list(run))
                windows += own
                batches += [w.batch for w in own]
        receipt = self._log.append(concat(batches))
        ends = list(accumulate(w.n for w in windows))
        slices = [slice(end - w.n, end) for w, end in zip(windows, ends, strict=True)]
        return [(w, Receipt(receipt.verdict[s], receipt.seq[s], receipt.end)) for w, s in zip(windows, slices, strict=True)]

    async def _failed(self, group: list[_Waiter], error: Exception) -> None:
        # A full disk or a broken log would fail each alone too. Anything else may be one waiter's fault.
        if len(group) > 1 and not isinstance(error, Retryable | CorruptData):
            for waiter in group:
                await self._commit([waiter])
            return
        for waiter in group:
            self.n_waiting -= waiter.load.n
            if not waiter.done.done():
                waiter.done.set_exception(error)

    def _succeeded(self, group: list[_Waiter], done: list[Done]) -> None:
        for waiter, result in zip(group, done, strict=True):
            self.n_waiting -= waiter.load.n
            if not waiter.done.done():  # its request may have been cancelled; its rows are stored
                waiter.done.set_result(result)
        try:
            self._on_append()
        except Exception as error:  # noqa: BLE001 - see `on_append`
            context = {"message": "on_append raised after a commit", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


def _size(batch: Batch) -> int:
    """About how many bytes of memory a batch takes."""
    columns = [c.values for f in batch.frames.values() for c in f.columns.values()]
    return sum(v.data.nbytes if isinstance(v, Text) else v.nbytes for v in columns) + 32 * batch.n


def parts_of(batch: Batch) -> list[Batch]:
    """A batch in parts that `enqueue` takes."""
    if batch.n <= GROUP_EVENTS:
        return [batch]
    return [batch.slice(at, min(at + GROUP_EVENTS, batch.n)) for at in range(0, batch.n, GROUP_EVENTS)]


def joined(receipts: Sequence[Receipt]) -> Receipt:
    """The receipt for parts that were appended one after another."""
    verdict = np.concatenate([r.verdict for r in receipts])
    return Receipt(verdict, np.concatenate([r.seq for r in receipts]), max(r.end for r in receipts))
