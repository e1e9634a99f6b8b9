"""What a user declares of events out: `@app.on(Stream)` and `app.webhook(Stream, url=...)`.

A consumer is no part of the fold: adding one changes no fingerprint, and needs no new state directory.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, overload

from headwater.core.errors import DeclarationError, nearest
from headwater.core.event import Event, EventType
from headwater.core.schema import SYSTEM_SCHEMAS, Schema
from headwater.following.consumer import Consumer, Manner
from headwater.following.envelope import Envelope, Notice
from headwater.following.handlers import Handler
from headwater.following.notices import SAYS
from headwater.following.webhook import Webhook

E = TypeVar("E", bound=Event)
G = TypeVar("G")  # what a handler is given
S = TypeVar("S")  # the envelope of that

_NAME = r"[a-z_][a-z0-9_]{0,62}"
_BATCH = 500
_SYSTEM = {*SAYS, *(schema.stream for schema in SYSTEM_SCHEMAS)}
_OPTIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class On(Generic[G, S]):
    """What `app.on(...)` gives: a decorator that leaves the function as it is."""

    def __init__(self, declare: Callable[[Callable[..., object]], None]) -> None:
        self._declare = declare

    @overload
    def __call__(self, handler: Callable[[G], object]) -> Callable[[G], object]: ...
    @overload
    def __call__(self, handler: Callable[[G, S], object]) -> Callable[[G, S], object]: ...
    def __call__(self, handler: Callable[..., object]) -> Callable[..., object]:
        self._declare(handler)
        return handler


class Consuming:
    """The part of an app that says who is told of its events.

    Attributes:
        name: The app's.
        streams: Its streams by name.
        consumers: By name, in the order of their declaration.
    """

    name: str
    streams: dict[str, Schema]
    consumers: dict[str, Consumer]

    @overload
    def on(
        self, stream: type[E], *, batch: Literal[False] = False, name: str | None = None, start: str = "start",
        attempts: int | None = None,
    ) -> On[E, Envelope]: ...  # fmt: skip
    @overload
    def on(
        self, stream: type[E], *, batch: Literal[True], name: str | None = None, start: str = "start",
        attempts: int | None = None,
    ) -> On[list[E], list[Envelope]]: ...  # fmt: skip
    @overload
    def on(
        self, stream: str, *, batch: Literal[False] = False, name: str | None = None, start: str = "start",
        attempts: int | None = None,
    ) -> On[Notice, Envelope]: ...  # fmt: skip
    @overload
    def on(
        self, stream: str, *, batch: Literal[True], name: str | None = None, start: str = "start",
        attempts: int | None = None,
    ) -> On[list[Notice], list[Envelope]]: ...  # fmt: skip
    def on(
        self, stream: type[Event] | str, *, batch: bool = False, name: str | None = None, start: str = "start",
        attempts: int | None = None,
    ) -> On[Any, Any]:  # fmt: skip
        """Call a function with each event of a stream, at least once and in order, in a process of its own.

        It is called with the event, and with its `Envelope` where it takes two. An event comes again after a crash, so act
        on `envelope.key` once. Raising `hw.Fatal` parks the event; anything else is tried again, `hw.Retryable` when it
        says.

        Args:
            stream: A class of the app's streams, or a system stream such as "_versions", whose events are `hw.Notice`.
            batch: Give lists of up to 500 instead.
            name: The cursor's; the function's name if left out.
            start: "start": first all that the stream still has. "end": only what is new when it first runs.
            attempts: Park an event after so many failures; None tries for ever.

        Raises:
            DeclarationError: The app has no such stream, or the name is taken.
        """

        def declare(handler: Callable[..., object]) -> None:
            found = self._stream(stream)
            kind = stream if isinstance(stream, EventType) else None
            target = Handler(handler, kind, _BATCH if batch else 0, wants_envelope=_n_parameters(handler) > 1)
            called = name or str(getattr(handler, "__name__", ""))
            self._declare(Consumer(called, found, target, _manner("handler", start, attempts)))

        return On(declare)

    def webhook(
        self, stream: type[Event] | str, *, url: str, batch: int = 1, name: str | None = None, start: str = "start",
        headers: Mapping[str, str] | None = None, timeout_s: float = 10.0, attempts: int | None = None,
    ) -> None:  # fmt: skip
        """Post each event of a stream to an address as a CloudEvent, at least once and in order.

        A 2xx takes it; 408, 425, 429, 5xx, a redirect or no answer is tried again with growing pauses (or after
        Retry-After), for ever unless `attempts` says otherwise; any other 4xx parks the event.

        Args:
            stream: As for `on`.
            url: http or https.
            batch: More than 1 sends CloudEvents batches of up to so many.
            name: The cursor's; "webhook_" and the stream's name if left out.
            start: As for `on`.
            headers: Sent with each request.
            timeout_s: For connecting, and for each read.
            attempts: As for `on`.

        Raises:
            DeclarationError: As for `on`; or the address is none.
        """
        found = self._stream(stream)
        if not 1 <= batch <= _BATCH:
            raise DeclarationError(
                "a request has too many events or none", where=url, expected=f"1 to {_BATCH}", got=str(batch)
            )
        target = Webhook(url, self.name, most=batch, headers=headers, timeout_s=timeout_s)
        self._declare(Consumer(name or f"webhook_{found.lstrip('_')}", found, target, _manner("webhook", start, attempts)))

    def _stream(self, stream: type[Event] | str) -> str:
        name = stream if isinstance(stream, str) else stream.schema.stream if isinstance(stream, EventType) else repr(stream)
        known = self.streams if isinstance(stream, EventType) else _SYSTEM
        if name not in known:
            step = "Add it: hw.App(..., streams=[...])." if isinstance(stream, EventType) else nearest(name, _SYSTEM)
            raise DeclarationError("the app has no such stream", where=self.name, got=name, next_step=step)
        return name

    def _declare(self, consumer: Consumer) -> None:
        if not re.fullmatch(_NAME, consumer.name):
            raise DeclarationError(
                "a consumer needs a name", where=self.name, expected=_NAME, got=repr(consumer.name), next_step="Give name=..."
            )
        if consumer.name in self.consumers:
            raise DeclarationError(
                "two consumers have the same name", where=self.name, got=consumer.name, next_step="Give one of them name=..."
            )
        self.consumers[consumer.name] = consumer


def _manner(kind: str, start: str, attempts: int | None) -> Manner:
    if start not in {"start", "end"}:
        raise DeclarationError(
            "a consumer begins at one end of its stream", where=kind, expected="start or end", got=repr(start)
        )
    if attempts is not None and attempts < 1:
        raise DeclarationError("a number of attempts must be positive", where=kind, got=str(attempts))
    return Manner(kind, start, attempts)


def _n_parameters(handler: Callable[..., object]) -> int:
    """How many arguments it takes without being told names."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # something built in
        return 1
    if inspect.iscoroutinefunction(handler):
        step = "Declare it with def; each handler has a thread of its own."
        raise DeclarationError("a handler is a plain function", where=repr(handler), next_step=step)
    n = sum(p.kind in _OPTIONAL for p in parameters)
    if not n:
        raise DeclarationError("a handler takes an event", where=repr(handler), expected="def handler(event)")
    return n
