"""What a gateway is made of: the door, and all that it may be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headwater.core.batch import Batch
from headwater.core.clock import Clock, SystemClock
from headwater.core.schema import Schema
from headwater.following.streams import Streams
from headwater.log.protocol import Receipt
from headwater.serving.access import Access
from headwater.serving.decisions import Store
from headwater.serving.keys import KeyFile
from headwater.serving.limits import Limits
from headwater.serving.scopes import EVERYTHING, NOTHING, Scopes
from headwater.telemetry.metrics import Consumers, Guarded


class DoorReply(Protocol):
    """What the door says to a producer."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str]: ...


class Door(Protocol):
    """Where events go; `headwater.ingest` has the real one."""

    def submit(self, body: bytes, content_type: str, headers: Mapping[str, str], stream: str | None) -> Awaitable[DoorReply]:
        """Take a producer's request: the reply is given after the commit."""

    def append(self, batch: Batch) -> Awaitable[Receipt]:
        """Store decoded rows durably and say what became of each."""

    def close(self) -> Awaitable[None] | None:
        """Commit what waits, then take nothing more."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a gateway may be told beside its door and its answerer.

    Attributes:
        limits: Bounds on requests.
        streams: Schemas of the streams that producers may send, for the OpenAPI page; None means those that models answer on.
        keys: The file of keys; None: there are none.
        token: A secret that opens everything, beside the keys.
        anonymous: What callers may do who show no key; None: everything, and nothing where there is a token.
        log_end: Tells the log's end, to say how many events the snapshot has not seen; None means as far as is known.
        event_time: Event time (ms since 1970 UTC) for rows that come without one. None: answers use the newest event time
            that the loop has seen and recorded rows their arrival.
        clock: Stamps arrivals.
        decisions: Keeps groups of decision records; None keeps none.
        following: What can be followed under /streams; None: nothing.
        bells: The folder where appenders to the log ring, so that followers can wait.
        consumers: Tells how far each consumer has got.
        guarded: Tells of each model that runs in a process of its own; such a model's answer is waited for in a thread.
    """

    limits: Limits = field(default_factory=Limits)
    streams: Mapping[str, Schema] | None = None
    keys: KeyFile | None = None
    token: str | None = None
    anonymous: Scopes | None = None
    log_end: Callable[[], int] | None = None
    event_time: Callable[[], int] | None = None
    clock: Clock = field(default_factory=SystemClock)
    decisions: Store | None = None
    following: Streams | None = None
    bells: Path | None = None
    consumers: Consumers | None = None
    guarded: Guarded | None = None

    @property
    def access(self) -> Access:
        """Who may do what."""
        open_to = NOTHING if self.token is not None else EVERYTHING
        return Access(self.keys, self.token, open_to if self.anonymous is None else self.anonymous)
