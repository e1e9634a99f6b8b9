"""How much the door takes in before it says "later"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headwater.core.errors import ConfigError


def _unknown() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the door; every one of them is a refusal that names itself, never a crash.

    Attributes:
        max_event_bytes: Longest text of one event; a longer one is quarantined, cut to this length.
        max_body_bytes: Longest request body (413 beyond it).
        max_waiting_events: Events in memory that are not on disk yet (429 beyond it).
        max_waiting_bytes: The same in bytes of request bodies (429 beyond it).
        max_lag_events: Events on disk that the learner has not learnt yet (503 beyond it).
        lag: Tells that number; 0 where nobody knows.
        linger_ms: How long a commit waits for company when several producers are at the door, 0 to 1 ms.
        max_depth: Deepest nesting of JSON; events are flat, so only ignored members can be deep.
        max_problems: Refused events that one answer describes; the rest are only counted there (all are in quarantine).
    """

    max_event_bytes: int = 1 << 20
    max_body_bytes: int = 64 << 20
    max_waiting_events: int = 100_000
    max_waiting_bytes: int = 256 << 20
    max_lag_events: int = 100_000
    lag: Callable[[], int] = _unknown
    linger_ms: float = 0.5
    max_depth: int = 32
    max_problems: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.linger_ms <= 1:
            raise ConfigError("wrong value", where="linger_ms", expected="0 to 1 (milliseconds)", got=str(self.linger_ms))
        for name in (
            "max_event_bytes",
            "max_body_bytes",
            "max_waiting_events",
            "max_waiting_bytes",
            "max_lag_events",
            "max_depth",
        ):
            if getattr(self, name) < 1:
                raise ConfigError("wrong value", where=name, expected="at least 1", got=str(getattr(self, name)))
