"""What goes with an event, and what a handler of notices is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Envelope:
    """Which event it is. Deliveries of the same event have equal envelopes: use `key` to act once.

    Attributes:
        stream: Its stream.
        seq: Its place there.
        id, source: The producer's own names for it.
        time_ms: Event time, ms since 1970 UTC.
    """

    stream: str
    seq: int
    id: str
    source: str
    time_ms: int

    @property
    def key(self) -> str:
        """Names the event among all of this installation: `order/1042`."""
        return f"{self.stream}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the system said of itself: a version, a plan, an incident.

    Attributes:
        stream: Such as `_versions`.
        id: Follows from its cause, such as `late@60112`.
        time_ms: When it happened, ms since 1970 UTC.
        data: Its facts.
    """

    stream: str
    id: str
    time_ms: int
    data: Mapping[str, Any]
