"""uvicorn's HTTP protocol with bounds on a request's head and on how slowly an answer is read, and a short way for short calls.

Without the bounds, which uvicorn and its parser do not have, a connection that sends one endless header, or none at all,
would hold memory or a slot for ever: the ASGI app is called only once a head is complete. And one that asks and never reads
would keep its answer in memory.

The short way: a short call is answered within the read that brings its last byte. It needs no task, no messages and one
write instead of two, which together cost as much as the answer (decision 0013).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Protocol, cast

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headwater.core.errors import is_out_of_memory
from headwater.serving.limits import Limits
from headwater.serving.replies import Reply

Pairs = list[tuple[bytes, bytes]]
SHORT_WAY = b"/predict/"
_PATIENCE_S = 0.2

_LEAST_BYTES = 64 << 10  # of an answer, to be taken in each `write_s`


class Desk(Protocol):
    """The gateway, as far as a connection knows it.

    Attributes:
        slow: Paths that never take the short way.
    """

    @property
    def slow(self) -> frozenset[bytes]: ...

    def at_once(self, path: str, query: bytes, pairs: Pairs, body: bytes) -> Reply:
        """Answer a call of `SHORT_WAY` whose body is there; whatever goes wrong, it returns a reply."""

    def is_late(self) -> bool:
        """Whether so much was answered at once that the others' turn has come."""

    async def crowded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in place of the gateway where there are too many connections."""

    def is_operators(self, path: str) -> bool:
        """Whether a request for this path is answered however many connections there are."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose head is too long (431) or too slow (no answer: there is no request yet), or not read from."""

    limits = Limits()
    desk: Desk
    is_leaving = False  # of the class: all connections end after their next answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._in_head, self._has_moved, self._head_bytes = True, False, 0  # has_moved: a part ended within this read
        self._body: list[bytes] | None = None  # of a call that may yet take the short way
        self._patience: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.limits.head_s, self._give_up)
        self._reader_deadline: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._taken()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_moved = False
        super().data_received(data)
        if self._body is not None and self._patience is None:  # many clients send the body by itself, a moment later
            self._patience = self.loop.call_later(_PATIENCE_S, self._take_the_long_way)
        if self._in_head and not self._has_moved and not self.transport.is_closing():
            self._wait_on(len(data))

    def _wait_on(self, n: int) -> None:
        """A head goes on past this read."""
        self._head_bytes += n
        if self._head_bytes > self.limits.head_bytes:
            self._refuse(431)
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.head_s, self._give_up)

    def on_headers_complete(self) -> None:
        self._in_head, self._has_moved, self._head_bytes = False, True, 0
        self._head_arrived()
        if self._is_short():
            self._body = []
        else:
            self._start()
            if self.is_leaving:
                self.cycle.keep_alive = False

    def _start(self) -> None:
        """Hand a request to the gateway, or to whoever refuses it where there are too many connections."""
        if self._is_crowded() and not self.desk.is_operators(self.url.partition(b"?")[0].decode("latin-1")):
            ours, self.app = self.app, cast("Any", self.desk.crowded)
            super().on_headers_complete()
            self.app = ours
        else:
            super().on_headers_complete()

    def _is_crowded(self) -> bool:
        return max(len(self.connections), len(self.tasks)) > self.limits.connections

    def on_body(self, body: bytes) -> None:
        if self._body is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._in_head, self._has_moved = True, True
        if self._body is None:
            super().on_message_complete()
        else:
            self._answer(b"".join(self._taken()))

    def shutdown(self) -> None:
        self._take_the_long_way()
        super().shutdown()

    def _taken(self) -> list[bytes]:
        """What has arrived of a short call's body; the call is no longer waited for."""
        parts, self._body = self._body or [], None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return parts

    def _take_the_long_way(self) -> None:
        """Let the ASGI app read the rest of a body that keeps us waiting: it has a deadline for that."""
        if self._body is not None:
            parts = self._taken()
            self._start()
            for part in parts:
                super().on_body(part)

    def _is_short(self) -> bool:
        """Whether a call may take the short way: nothing before it waits, and nothing about it is out of the ordinary."""
        if not self.url.startswith(SHORT_WAY) or self.parser.get_method() != b"POST" or self.expect_100_continue:
            return False
        if self.desk.slow and self.url.partition(b"?")[0] in self.desk.slow:
            return False
        if self.pipeline or not (self.cycle is None or self.cycle.response_complete) or self.flow.write_paused:
            return False
        if self._is_crowded() or self.desk.is_late():
            return False
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        is_plain = length.isdigit() and b"content-encoding" not in headers and b"%" not in self.url
        return (
            is_plain and int(length) <= self.limits.inline_bytes
            and self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )  # fmt: skip

    def _answer(self, body: bytes) -> None:
        url = httptools.parse_url(self.url)
        reply = self.desk.at_once(url.path.decode("ascii"), url.query or b"", self.headers, body)
        head = [STATUS_LINE[reply.status]]
        for name, value in (*self.server_state.default_headers, *reply.pairs()):
            head += (name, b": ", value, b"\r\n")
        if self.is_leaving:
            head.append(b"connection: close\r\n")
        self.transport.write(b"".join((*head, b"\r\n", reply.body)))
        if self.is_leaving:
            self.transport.close()
        self.on_response_complete()

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_reader()  # closing waits for what is still to be read

    def _watch_reader(self) -> None:
        if self._reader_deadline is None:
            left = self.transport.get_write_buffer_size()
            self._reader_deadline = self.loop.call_later(self.limits.write_s, self._look_at_reader, left)

    def _look_at_reader(self, before: int) -> None:
        """Give up on a client that has not taken enough since the last look."""
        self._reader_deadline = None
        left = self.transport.get_write_buffer_size()
        if left and before - left < _LEAST_BYTES:
            self.transport.abort()
        elif left:
            self._watch_reader()

    def _is_read(self) -> None:
        if self._reader_deadline is not None:
            self._reader_deadline.cancel()
            self._reader_deadline = None

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read is the caller's fault; that there is no memory to keep it is not."""
        error = sys.exc_info()[1]
        if error is not None and error.__context__ is not None and is_out_of_memory(error.__context__):
            self._refuse(503, b"retry-after: 5\r\n")
        else:
            super().send_400_response(msg)

    def _refuse(self, status: int, more: bytes = b"") -> None:
        self.transport.write(STATUS_LINE[status] + more + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def protocol(limits: Limits, desk: Desk) -> type[asyncio.Protocol]:
    """The protocol class with these limits, as uvicorn's `http` option takes it."""
    made: Any = type("BoundedProtocol", (BoundedProtocol,), {"limits": limits, "desk": desk})
    return cast("type[asyncio.Protocol]", made)
