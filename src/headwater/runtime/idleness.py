"""Which sources have fallen silent: noticed by the clock, said to the fold by a mark in the log."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.core.batch import Batch
from headwater.core.clock import Clock
from headwater.log.control import control_batch
from headwater.runtime.fold import Fold


class Idleness:
    """Watches the sources of one fold.

    Args:
        fold: Its counts say who spoke.
        clock: Measures silence.
        after_ms: How long a source must be silent; None watches nobody.
    """

    def __init__(self, fold: Fold, clock: Clock, after_ms: int | None) -> None:
        self._fold, self._clock, self._after_s = fold, clock, None if after_ms is None else after_ms / 1000
        self._heard: dict[str, tuple[int, float]] = {}  # source -> (events, when that number was first seen)
        self._idle: set[str] = set()

    def marks(self) -> Iterator[Batch]:
        """One control batch for each source that has just become idle; append them."""
        if self._after_s is None:
            return
        now = self._clock.monotonic_s()
        for source, counts in self._fold.counts().items():
            events = counts["applied"] + counts["late"]
            if self._heard.get(source, (-1, 0.0))[0] != events:
                self._heard[source] = events, now
                self._idle.discard(source)
            elif source not in self._idle and now - self._heard[source][1] >= self._after_s:
                self._idle.add(source)
                mark_id = f"idle-{source}-{self._fold.seq}"
                yield control_batch(
                    "idle", {"source": source}, time_ms=self._fold.watermarks.high_mark(), id=mark_id, clock=self._clock
                )
