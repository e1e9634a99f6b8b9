"""A small app's events in a log in memory, and consumers on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.core.batch import Text, concat, frame, single
from headwater.core.clock import VirtualClock
from headwater.following import Consumer, Cursors, Delivery, Manner, Notices, Page, Streams
from headwater.log.memory import MemoryLog

START_MS = 1_767_225_600_000  # 2026-01-01


class Order(hw.Event, key="order_id"):
    order_id: hw.Field[str]
    shop: hw.Field[str | None]
    n_items: hw.Field[int | None]
    is_gift: hw.Field[bool | None]
    distance_km: hw.Field[float | None]


class Ping(hw.Event, key="n"):
    n: hw.Field[int]


def order(i: int) -> Order:
    return Order(
        order_id=f"o{i}", shop=None if i % 5 == 4 else f"shöp-{i % 3}", n_items=None if i % 7 == 3 else i,
        is_gift=None if i % 4 == 2 else i % 2 == 0, distance_km=None if i % 6 == 5 else i / 3,
    )  # fmt: skip


def batch(events: list[Any], first: int, source: str = "till") -> Any:
    """Events of one stream, one second apart, with ids that count from `first`."""
    schema, n = events[0].schema, len(events)
    times = START_MS + 1000 * (first + np.arange(n, dtype=np.int64))
    ids = Text.of([f"{schema.stream}-{first + i}" for i in range(n)])
    return single(schema, frame(schema, events), times, ids, source=source, arrival=1000 * times + 7)


class World:
    """A log, notices, cursors and a clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START_MS * 1000)
        self.log = MemoryLog(clock=self.clock)
        self.notices, self.cursors = Notices(None), Cursors(None)
        self.streams = Streams(self.log, {"order": Order.schema, "ping": Ping.schema}, self.notices)
        self.n = 0

    def orders(self, n: int, *, pings: int = 0) -> None:
        """Append orders, and as many pings after each, in one chunk."""
        parts = []
        for _ in range(n):
            parts.append(batch([order(self.n)], self.n))
            if pings:
                parts.append(batch([Ping(n=i) for i in range(pings)], self.n * 1000))
            self.n += 1
        self.log.append(concat(parts))

    def delivery(self, target: Any, *, name: str = "mine", stream: str = "order", **manner: Any) -> Delivery:
        consumer = Consumer(name, stream, target, Manner(**manner))
        return Delivery(consumer, self.streams.open(stream), self.cursors, self.clock)

    def run(self, delivery: Delivery, most: int = 10_000) -> list[float]:
        """Step until there is nothing to do, with time that goes on only as asked for; the pauses after failures."""
        pauses = []
        for _ in range(most):
            wait_s = delivery.step()
            if wait_s == float("inf"):
                return pauses
            if wait_s:
                if self.cursors.of(delivery.name).attempt:
                    pauses.append(wait_s)
                self.clock.advance(wait_s + 1e-6)
        raise AssertionError(f"not done after {most} steps")


class Spy:
    """A target that keeps the seqs it was told, and fails when told to."""

    def __init__(self, most: int = 1, fail: Callable[[Page], None] | None = None) -> None:
        self.most, self._fail = most, fail
        self.taken: list[int] = []
        self.calls: list[list[int]] = []

    def hand_over(self, page: Page) -> None:
        self.calls.append(page.seq.tolist())
        if self._fail is not None:
            self._fail(page)
        self.taken += page.seq.tolist()

    def close(self) -> None:
        pass


@pytest.fixture
def world() -> World:
    return World()
