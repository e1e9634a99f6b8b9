"""uvicorn's HTTP protocol with bounds on a request's head, which uvicorn and its parser do not have.

Without them a connection that sends one endless header, or none at all, would hold memory or a slot for ever: the ASGI
app is called only once a head is complete.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headwater.serving.limits import Limits


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose head is too long (431) or too slow (no answer: there is no request yet)."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._in_head, self._has_moved, self._head_bytes = True, False, 0  # has_moved: a part ended within this read
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.limits.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_moved = False
        super().data_received(data)
        if self._in_head and not self._has_moved and not self.transport.is_closing():
            self._wait_on(len(data))

    def _wait_on(self, n: int) -> None:
        """A head goes on past this read."""
        self._head_bytes += n
        if self._head_bytes > self.limits.head_bytes:
            self._refuse()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.head_s, self._give_up)

    def on_headers_complete(self) -> None:
        self._in_head, self._has_moved, self._head_bytes = False, True, 0
        self._head_arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._has_moved = True, True
        super().on_message_complete()

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self) -> None:
        head = b"content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[431] + head)
        self.transport.close()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol class with these limits, as uvicorn's `http` option takes it."""
    made: Any = type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
    return cast("type[asyncio.Protocol]", made)
