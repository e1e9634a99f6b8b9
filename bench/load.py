"""A closed-loop HTTP client: so many connections, each sends its next request when the answer is there.

Bare asyncio on sockets, so that the client is never the slow side; it runs on the other core.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

from bench.sides import cores

_END = b"\r\n\r\n"
Check = Callable[[int, bytes], None]


@dataclass(slots=True)
class Load:
    """What came of it.

    Attributes:
        seconds: From the first request to the last answer.
        latencies_s: Of each request.
        n_failed: Answers other than 200.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    n_failed: int = 0

    def quantile_ms(self, share: float) -> float:
        ranked = sorted(self.latencies_s)
        return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def request(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole POST."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection; `ask` sends a request and waits for its answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received, self._need = bytearray(), -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._need < 0:
            head = self._received.find(_END)
            if head < 0:
                return
            lower = bytes(self._received[:head]).lower()
            at = lower.index(b"content-length:") + 15
            self._need = head + 4 + int(lower[at:].split(b"\r\n", 1)[0])
        if len(self._received) >= self._need and self._answer is not None:
            raw = bytes(self._received[: self._need])
            del self._received[: self._need]
            self._need = -1
            answer, self._answer = self._answer, None
            answer.set_result((int(raw[9:12]), raw[raw.index(_END) + 4 :]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))
            self._answer = None

    async def ask(self, raw: bytes) -> tuple[int, bytes]:
        """(status, body)."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Connection:
    _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return made


async def _closed_loop(port: int, requests: Sequence[bytes], connections: int, check: Check | None) -> Load:
    load, following = Load(), iter(enumerate(requests))
    clients = [await connect(port) for _ in range(connections)]

    async def client(connection: Connection) -> None:
        for i, raw in following:
            began = time.perf_counter()
            status, body = await connection.ask(raw)
            load.latencies_s.append(time.perf_counter() - began)
            if status != 200:  # noqa: PLR2004
                load.n_failed += 1
            elif check is not None:
                check(i, body)

    began = time.perf_counter()
    await asyncio.gather(*map(client, clients))
    load.seconds = time.perf_counter() - began
    for connection in clients:
        connection.close()
    return load


def closed_loop(port: int, requests: Sequence[bytes], *, connections: int, check: Check | None = None) -> Load:
    """Send all requests; `check(i, body)` sees each good answer."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[1]})
    try:
        return uvloop.run(_closed_loop(port, requests, connections, check))
    finally:
        os.sched_setaffinity(0, before)
