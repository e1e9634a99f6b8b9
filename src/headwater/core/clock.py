"""The only way to read a clock, so that tests can turn it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamping arrivals; monotonic time for measuring durations."""

    def now_us(self) -> int:
        """Microseconds since 1970, UTC. May jump."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start. Never goes back."""


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class VirtualClock:
    """A clock that moves only when told to; for tests, replay and notebooks."""

    def __init__(self, start_us: int = 0) -> None:
        self._now_us = start_us
        self._elapsed_us = 0

    def advance(self, seconds: float) -> None:
        self._now_us += int(seconds * 1e6)
        self._elapsed_us += int(seconds * 1e6)

    def jump(self, seconds: float) -> None:
        """Move wall time only, as a wrong NTP server would."""
        self._now_us += int(seconds * 1e6)

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._elapsed_us / 1e6
