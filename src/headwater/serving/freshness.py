"""How far the served snapshot lags behind the log: asked of the answerer, told on every page that shows it."""

from __future__ import annotations

from collections.abc import Callable

from headwater.core.clock import Clock
from headwater.core.errors import Retryable
from headwater.serving.protocol import Answerer
from headwater.telemetry.metrics import Freshness


class Follower:
    """Reads the learner's status and puts it against the clock and the log's end."""

    def __init__(self, answerer: Answerer, clock: Clock, log_end: Callable[[], int | None]) -> None:
        self._answerer, self._clock, self._log_end = answerer, clock, log_end

    def now(self) -> Freshness:
        """Never raises for want of a snapshot: that is a state to be told, not a failure."""
        try:
            status = self._answerer.status()
        except Retryable:
            status = {}
        seq, published_us = _whole(status, "seq"), _whole(status, "published_us")
        if published_us is None:
            return Freshness(None, None, None, None, status)
        age_s = max(0, self._clock.now_us() - published_us) / 1e6
        end = self._log_end()
        seq = seq or 0
        behind = None if end is None else max(0, end - seq)
        return Freshness(seq, age_s, behind, _whole(status, "time_ms"), status)


def _whole(status: dict[str, object], name: str) -> int | None:
    """A count or a time of the status; 0 and whatever is not a number mean that there is none yet."""
    value = status.get(name)
    return int(value) if isinstance(value, int | float) and value else None
