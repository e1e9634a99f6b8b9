"""Reading a request's body up to a limit and a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from starlette.types import Message, Receive

from headwater.serving.limits import Limits
from headwater.serving.problems import Problem
from headwater.serving.requests import Headers


class Disconnected(Exception):  # noqa: N818
    """The client left before its request was complete; there is nobody to answer."""


Grow = Callable[[int], None]


class Deadlines:
    """Ends reads that take too long, by one timer for all of them: a timer for each costs more than most reads.

    A read may last up to a quarter longer than `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def start(self, task: asyncio.Task[Any]) -> None:
        self._since[task] = monotonic()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._seconds / 4, self._cancel_overdue)

    def end(self, task: asyncio.Task[Any]) -> None:
        self._since.pop(task, None)

    def has_cancelled(self, task: asyncio.Task[Any]) -> bool:
        """Whether the read was ended here; forgets it."""
        late = task in self._overdue
        self._overdue.discard(task)
        return late

    def _cancel_overdue(self) -> None:
        latest = monotonic() - self._seconds
        for task in [t for t, since in self._since.items() if since <= latest]:
            del self._since[task]
            self._overdue.add(task)
            task.cancel()
        again = bool(self._since)
        self._sweep = asyncio.get_running_loop().call_later(self._seconds / 4, self._cancel_overdue) if again else None


class BodyReader:
    """Reads whole bodies within the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadlines = Deadlines(limits.body_s)

    async def read(self, headers: Headers, receive: Receive, grow: Grow) -> bytes:
        """The whole body; `grow` hears of each part that is in memory, and may refuse it.

        Raises:
            Problem: 408, 413 or 415, and what `grow` raises.
            Disconnected: The client left.
        """
        if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
            raise Problem(415, "compressed", "Compressed bodies are not taken", where="Content-Encoding", expected="identity")
        task = asyncio.current_task()
        assert task is not None
        self._deadlines.start(task)
        try:
            return await _read(headers, receive, self._limits, grow)
        except asyncio.CancelledError:
            if not self._deadlines.has_cancelled(task):
                raise
            task.uncancel()
            close = {"connection": "close"}
            expected = f"{self._limits.body_s:g} s"
            raise Problem(408, "slow-body", "The body did not arrive in time", expected=expected, headers=close) from None
        finally:
            self._deadlines.end(task)


async def _read(headers: Headers, receive: Receive, limits: Limits, grow: Grow) -> bytes:
    if _declared(headers) > limits.body_bytes:
        raise await _too_long(headers, receive, limits, 0)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) <= limits.body_bytes:
            grow(len(body))
            return body
    return await _read_on(message, headers, receive, limits, grow)


def _declared(headers: Headers) -> int:
    value = headers.get(b"content-length", b"0")
    if not value.isdigit():
        raise Problem(400, "wrong-header", "The body's length is not a number", where="Content-Length")
    return int(value)


async def _read_on(message: Message, headers: Headers, receive: Receive, limits: Limits, grow: Grow) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            parts.clear()
            raise await _too_long(headers, receive, limits, size, more=message.get("more_body", False))
        grow(len(parts[-1]))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def _too_long(headers: Headers, receive: Receive, limits: Limits, size: int, *, more: bool = True) -> Problem:
    """The refusal of a long body, once so much of it was thrown away that a sender who reads last can hear it."""
    drained = more and b"expect" not in headers and _declared(headers) <= limits.drain_bytes
    while more and drained and size <= limits.drain_bytes:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    close = {"connection": "close"} if more else {}
    return Problem(413, "body-too-long", "The body is too long", expected=f"at most {limits.body_bytes} bytes", headers=close)
