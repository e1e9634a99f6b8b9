"""Group commit: many producers, few appends; one failure, only its own waiters; bounded memory."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest

from headwater.core.batch import Batch
from headwater.core.errors import DiskFull, Overloaded
from headwater.ingest import Limits, Reply

from .conftest import NDJSON, CountingLog, Desk, departure, lines


class Gate:
    """Holds the log's first append until it is opened, so that others gather behind it."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, _batch: Batch) -> None:
        self.entered.set()
        assert self.open.wait(10)


def held() -> tuple[Desk, Gate]:
    gate = Gate()
    return Desk(log=CountingLog(before=gate)), gate


async def inside(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, 10)


def submit(door: Any, i: int, **more: Any) -> asyncio.Task[Reply]:
    return asyncio.ensure_future(door.submit(lines([departure(i, **more)]), NDJSON, {}, "departure"))


async def started(*tasks: asyncio.Task[Reply]) -> None:
    """Until every task waits for its commit: one turn of the loop starts it, nothing before the commit suspends it."""
    await asyncio.sleep(0)
    assert not any(t.done() for t in tasks)


def test_submits_during_a_commit_share_the_next_one() -> None:
    desk, gate = held()

    async def story() -> list[Reply]:
        door = desk.door()
        first = submit(door, 0)
        await inside(gate)
        others = [submit(door, i) for i in range(1, 101)]
        await started(*others)
        gate.open.set()
        replies = await asyncio.gather(first, *others)
        await door.close()
        return replies

    replies = [json.loads(r.body) for r in asyncio.run(story())]
    assert [r["seq"] for r in replies] == [[i, i] for i in range(101)]  # each its own slice, in order of arrival
    assert desk.log.n_appends == 2
    assert desk.rings == 2


def test_a_verdict_belongs_to_the_request_that_asked() -> None:
    desk, gate = held()

    async def story() -> list[Reply]:
        door = desk.door()
        first = submit(door, 0)
        await inside(gate)
        others = [submit(door, 1), submit(door, 1), submit(door, 2, distance="far"), submit(door, 1, distance=5.0)]
        await started(*others)
        gate.open.set()
        return await asyncio.gather(first, *others)

    replies = [json.loads(r.body) for r in asyncio.run(story())]
    counts = [(r["accepted"], r["duplicate"], r["quarantined"]) for r in replies]
    assert counts == [(1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1)]
    assert [d["code"] for d in desk.dead()] == ["wrong_type", "conflict"]


def test_too_many_waiting_events_are_429_and_the_admitted_ones_are_stored() -> None:
    gate = Gate()
    desk = Desk(Limits(max_waiting_events=3), CountingLog(before=gate))
    batch = typed_batch()

    async def story() -> list[Reply]:
        door = desk.door()
        admitted = [submit(door, 0)]
        await inside(gate)
        admitted += [submit(door, i) for i in (1, 2)]
        await started(*admitted)
        refused = await submit(door, 3)
        with pytest.raises(Overloaded):
            await door.append(batch)
        gate.open.set()
        return [refused, *await asyncio.gather(*admitted)]

    refused, *admitted = asyncio.run(story())
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "3 events wait" in json.loads(refused.body)["detail"]
    assert [r.status for r in admitted] == [200, 200, 200]
    assert len(desk.rows("departure")) == 3


def typed_batch() -> Batch:
    """A typed batch, as predictions record it."""
    other = Desk()
    other.post(lines([departure(f"p{i}") for i in range(3)]))
    return next(iter(other.log.read(0))).batch


def test_a_full_disk_fails_the_waiters_of_its_commit_only() -> None:
    desk, gate = held()

    async def story() -> list[Reply]:
        door = desk.door()
        first = submit(door, 0)
        await inside(gate)
        desk.log.before = full
        failed = [submit(door, i) for i in (1, 2)]
        await started(*failed)
        gate.open.set()
        replies = await asyncio.gather(first, *failed)
        desk.log.before = lambda batch: None
        return [*replies, await submit(door, 1)]

    def full(_batch: Batch) -> None:
        raise DiskFull("no room")

    assert [r.status for r in asyncio.run(story())] == [200, 503, 503, 200]
    assert [r["id"] for r in desk.rows("departure")] == ["0", "1"]


def test_a_batch_that_breaks_the_log_does_not_fail_its_neighbours() -> None:
    desk, gate = held()

    def poisoned(batch: Batch) -> None:
        if "2" in batch.ids.to_list():
            raise ValueError("poison")

    async def story() -> list[Reply]:
        door = desk.door()
        first = submit(door, 0)
        await inside(gate)
        desk.log.before = poisoned
        others = [submit(door, i) for i in (1, 2, 3)]
        await started(*others)
        gate.open.set()
        return await asyncio.gather(first, *others)

    assert [r.status for r in asyncio.run(story())] == [200, 200, 500, 200]


def test_typed_batches_join_the_same_commit() -> None:
    desk, gate = held()
    batch = typed_batch()

    async def story() -> Any:
        door = desk.door()
        first = submit(door, 0)
        await inside(gate)
        second = submit(door, 1)
        third = asyncio.ensure_future(door.append(batch))
        await started(second)
        gate.open.set()
        await asyncio.gather(first, second)
        return await third

    receipt = asyncio.run(story())
    np.testing.assert_array_equal(receipt.seq, [2, 3, 4])
    assert desk.log.n_appends == 2


def test_close_commits_what_waits_and_then_refuses() -> None:
    desk, gate = held()

    async def story() -> list[Reply]:
        door = desk.door()
        tasks = [submit(door, 0)]
        await inside(gate)
        tasks += [submit(door, 1)]
        await started(*tasks)
        closing = asyncio.ensure_future(door.close())
        await asyncio.sleep(0)
        late = await submit(door, 2)
        gate.open.set()
        await closing
        return [*await asyncio.gather(*tasks), late]

    assert [r.status for r in asyncio.run(story())] == [200, 200, 429]
    assert len(desk.rows("departure")) == 2


def test_a_cancelled_request_does_not_disturb_its_group() -> None:
    desk, gate = held()

    async def story() -> Reply:
        door = desk.door()
        first = submit(door, 0)
        await inside(gate)
        gone, stays = submit(door, 1), submit(door, 2)
        await started(gone, stays)
        gone.cancel()
        gate.open.set()
        await first
        return await stays

    assert asyncio.run(story()).status == 200
    assert {r["id"] for r in desk.rows("departure")} >= {"0", "2"}


def test_a_bell_that_fails_does_not_undo_an_acknowledgement() -> None:
    desk = Desk()

    def broken() -> None:
        raise OSError("no such socket")

    desk.ring = broken  # type: ignore[method-assign]
    heard: list[str] = []

    async def story() -> Reply:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["message"]))
        return await submit(desk.door(), 0)

    assert asyncio.run(story()).status == 200
    assert heard == ["on_append raised after a commit"]
