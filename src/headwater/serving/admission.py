"""Who is let in when more comes than can be answered: the rest hears it at once, and when to come back.

A lane of data admits a request only while what it has taken in can be expected to be answered soon. The expectation is
measured: the lane's own pace, in seconds for each byte of work. So those who are let in keep their latency, whatever is
offered.

The operator's routes ask nobody here, and no data can hold them up: work on data gives way to the event loop after 20 ms, so
that new connections are accepted and everybody else is heard before it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, exp, inf
from time import perf_counter

from headwater.serving.problems import Problem

_BEAT_S = 0.02
_FADE_S = 1.0  # how long the pace remembers
_REQUEST_BYTES = 512  # what a request costs beside its body, as bytes of it
_STALLED_S = 5.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one lane may take in.

    Attributes:
        wait_s: How long a request may be expected to wait.
        few: So many requests are admitted however long they take: few callers who each wait for their answer are no overload.
        requests: Most requests at work.
        held_bytes: Bodies in memory, in bytes; one alone may be larger.
    """

    wait_s: float = 0.25
    few: int = 16
    requests: int = 4096
    held_bytes: int = 256 << 20


class Rounds:
    """Tells when the event loop has been at data for long enough, and should come round to everything else.

    A timer beats while requests come. One that is overdue says that the loop has not come round since, at the cost of a
    comparison for each request.
    """

    def __init__(self) -> None:
        self._due = inf
        self._is_asked = False

    def is_late(self, now: float) -> bool:
        """Whether more data should wait for the loop's next round. `now` is `perf_counter`'s."""
        self._is_asked = True
        if self._due == inf:
            self._due = now + _BEAT_S
            asyncio.get_running_loop().call_later(_BEAT_S, self._beat)
        return now > self._due

    async def turn(self) -> None:
        """Wait until it is this request's turn: those who wait go on in the order in which they came."""
        while self.is_late(perf_counter()):  # noqa: ASYNC110 - a round of the loop is what is waited for
            await asyncio.sleep(0)

    def _beat(self) -> None:
        if self._is_asked:
            self._is_asked, self._due = False, perf_counter() + _BEAT_S
            asyncio.get_running_loop().call_later(_BEAT_S, self._beat)
        else:
            self._due = inf


class Lane:
    """One lane's work: what it holds, how fast it gets done. All of it runs on the event loop's thread.

    Attributes:
        n: Requests that are inside.
        held_bytes: Bytes of their bodies that have arrived.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.n, self.held_bytes = 0, 0
        self._at_work, self._work = 0, 0  # requests whose body is there, and their weight in bytes
        self._busy_s, self._done = 0.0, 0.0  # fading sums: seconds in which work was done, bytes done in them
        self._last = 0.0  # when the latest piece of work ended, or the first began

    def look(self, now: float) -> None:
        """Let a request in, or not; decided before its body is read.

        Args:
            now: `perf_counter`'s.

        Raises:
            Problem: 429 where too much is offered, 503 where nothing is getting done.
        """
        if self._at_work >= self._bounds.few:
            self._look_at_work(now)

    def _look_at_work(self, now: float) -> None:
        if self._at_work and now - self._last > _STALLED_S:
            raise stalled()
        expected_s = self._work * self.pace_s
        if expected_s > self._bounds.wait_s or self.n >= self._bounds.requests:
            raise too_busy(expected_s)

    @property
    def pace_s(self) -> float:
        """Seconds for each byte of work; 0 while nothing is known."""
        return self._busy_s / self._done if self._done else 0.0

    @contextmanager
    def inside(self) -> Iterator[Inside]:
        """Hold a request's bytes until its reply is made."""
        inside = Inside(self)
        self.n += 1
        try:
            yield inside
        finally:
            self.n -= 1
            self.held_bytes -= inside.n_bytes
            if inside.weight:
                self._end(inside.weight, perf_counter())

    def hold(self, inside: Inside, n: int) -> None:
        """See `Inside.grow`."""
        self.held_bytes += n
        inside.n_bytes += n
        if self.held_bytes > self._bounds.held_bytes and self.held_bytes > inside.n_bytes:
            raise too_busy(self._work * self.pace_s)

    def begin(self, weight: int, now: float) -> None:
        """See `Inside.begin`."""
        if not self._at_work:
            self._last = now
        self._at_work += 1
        self._work += weight

    def _end(self, weight: int, now: float) -> None:
        took_s, self._last = now - self._last, now
        if self._at_work > 1 or not self._done:  # alone, one shows how long it takes, not how many can be done: a first guess
            fade = exp(-took_s / _FADE_S)
            self._busy_s, self._done = self._busy_s * fade + took_s, self._done * fade + weight
        self._at_work -= 1
        self._work -= weight


class Inside:
    """A request that a lane has let in."""

    __slots__ = ("_lane", "n_bytes", "weight")

    def __init__(self, lane: Lane) -> None:
        self._lane, self.n_bytes, self.weight = lane, 0, 0

    def grow(self, n: int) -> None:
        """More of its body is in memory.

        Raises:
            Problem: 429: bodies of others fill what the lane may hold.
        """
        self._lane.hold(self, n)

    def begin(self, now: float) -> None:
        """Its body is there: the work begins."""
        self.weight = self.n_bytes + _REQUEST_BYTES
        self._lane.begin(self.weight, now)


def too_busy(expected_s: float) -> Problem:
    """429 with Retry-After."""
    wait_s = max(1, ceil(expected_s))
    return Problem(
        429, "overloaded", "More is asked than can be answered", next_step=f"Try again after {wait_s} s.",
        headers={"retry-after": str(wait_s)},
    )  # fmt: skip


def stalled() -> Problem:
    """503 with Retry-After: the disk, or a model, does not follow."""
    return Problem(
        503, "stalled", "Nothing has been finished for some seconds", next_step="Try again after 5 s, or tell the operator.",
        headers={"retry-after": "5"},
    )  # fmt: skip
