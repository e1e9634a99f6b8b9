"""Who is told of a stream's events, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.following.protocol import Target


@dataclass(frozen=True, slots=True)
class Manner:
    """How a consumer is served.

    Attributes:
        kind: "handler" or "webhook", as it is shown.
        start: "start" for all that the stream still has, "end" for what comes after its first run.
        attempts: Failures after which an event is parked; None tries for ever.
    """

    kind: str = "handler"
    start: str = "start"
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who follows a stream.

    Attributes:
        name: Its cursor is kept under it.
        stream: The stream's name.
        target: Who is told.
        manner: How.
    """

    name: str
    stream: str
    target: Target
    manner: Manner = field(default_factory=Manner)
