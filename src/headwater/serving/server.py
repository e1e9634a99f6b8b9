"""Runs the gateway: uvicorn with uvloop and httptools, on a socket that is bound before anything else is started."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog
import uvicorn

from headwater.core.addresses import is_loopback
from headwater.core.errors import ConfigError, Fatal
from headwater.serving.gateway import Gateway
from headwater.serving.wire import protocol

_BACKLOG = 1024
_ACCEPTING = 8
_LEAVE_S, _LOOK_S = 2.0, 0.02  # how long connections may stay that never ask again; how often we look
_log = structlog.stdlib.get_logger("headwater.serving")


class CannotListen(Fatal):
    """The address cannot be listened on: another program has it, or this machine does not."""

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections.

    Attributes:
        host: The address it listens on.
        port: The port, also where port 0 was asked for.
        stop: Ends it from any thread: no new connections, requests in flight are finished, pending rows appended.
        leave: As `stop`, but for a few seconds who still asks is answered, and told to ask elsewhere next time: no request
            can cross with the closing of its connection.
    """

    host: str
    port: int
    stop: Callable[[], None]
    leave: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._stopping, self._is_leaving = ready, stopping, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def leave(self) -> None:
        self._is_leaving = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        if self._is_leaving:
            for server in self.servers:
                server.close()
            protocol_class: Any = self.config.http_protocol_class
            protocol_class.is_leaving = True
            ends = time.monotonic() + _LEAVE_S
            while self.server_state.connections and time.monotonic() < ends:  # noqa: ASYNC110 - uvicorn's set has no event
                await asyncio.sleep(_LOOK_S)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the server and `serve` returns; uvicorn's own would raise them once more at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(
    app: Gateway, host: str = "127.0.0.1", port: int = 8000, *, ready: Callable[[Running], None] | None = None,
    listening: socket.socket | None = None,
) -> None:  # fmt: skip
    """Serve until SIGINT, SIGTERM or `Running.stop`; then close the gateway and its door.

    Args:
        app: The gateway.
        host: Where to listen. Other machines can reach it only where this is no loopback address; that needs keys or a token.
        port: 0 takes a free one.
        ready: Called on the server's thread once connections are accepted.
        listening: A bound socket to accept from, shared with others perhaps; None binds one.

    Raises:
        CannotListen: The port is in use or the address is not this machine's.
        ConfigError: The address is not a loopback one, and there is no key that callers must show.
    """
    if not app.is_protected and not is_loopback(host):
        raise ConfigError(
            "a gateway that asks for no key or token listens on loopback addresses only", where="host", got=host,
            next_step="Make a key with `headwater keys add NAME --scope admin`, or keep 127.0.0.1.",
        )  # fmt: skip
    listening = listening or bind(host, port)
    limits = app.limits
    config = uvicorn.Config(
        app, loop="uvloop", http=protocol(limits, app), ws="none", lifespan="on", interface="asgi3", backlog=_BACKLOG,
        log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=round(limits.idle_s), timeout_graceful_shutdown=round(limits.grace_s),
    )  # fmt: skip

    def tell() -> None:
        running = Running(
            host, listening.getsockname()[1], stop=lambda: setattr(server, "should_exit", True), leave=server.leave
        )
        _log.info("serving", url=running.url)
        if ready is not None:
            ready(running)

    server = _Server(config, tell, app.stop_waiting)
    try:
        # The loop accepts one connection a round from each: with one alone, many that come at once would wait for many rounds.
        server.run(sockets=[listening, *(listening.dup() for _ in range(_ACCEPTING - 1))])
    finally:
        listening.close()


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket.

    Raises:
        CannotListen: See `serve`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _cannot_listen(error, host, port) from error
    return made


def _cannot_listen(error: OSError, host: str, port: int) -> CannotListen:
    if error.errno == errno.EADDRINUSE:
        return CannotListen(
            f"port {port} is in use",
            where=host,
            next_step="Stop the program that has it, or choose another with --port (0 takes a free one).",
        )
    if error.errno == errno.EACCES:
        return CannotListen(f"port {port} needs more rights", where=host, next_step="Choose a port above 1023.")
    return CannotListen(f"cannot listen on port {port} ({error.strerror})", where=host, next_step="Check the host setting.")
