"""Calls a gateway in this process as an HTTP server would, without a socket: for faults that are all in what is asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from headwater.app import App
from headwater.log.open import open_log
from headwater.runtime.gateway import gateway_of
from headwater.runtime.learner import Learner
from headwater.runtime.settings import Settings
from headwater.serving.gateway import Gateway

_PATIENCE_S = 30.0


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Calls one gateway; close it, which closes the gateway's door."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._loop = asyncio.new_event_loop()

    def __call__(
        self, method: str, path: str, body: bytes = b"", query: str = "", headers: Mapping[bytes, bytes] | None = None
    ) -> Answer:
        given = {b"host": b"localhost", b"content-type": b"application/json", **(headers or {})}
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": list(given.items())}
        return self._loop.run_until_complete(asyncio.wait_for(self._call(scope, body), _PATIENCE_S))

    def json(
        self, method: str, path: str, content: Any, query: str = "", headers: Mapping[bytes, bytes] | None = None
    ) -> Answer:
        """A call whose body is JSON."""
        return self(method, path, json.dumps(content).encode(), query, headers)

    async def _call(self, scope: dict[str, Any], body: bytes) -> Answer:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.gateway(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:]))

    def close(self) -> None:
        self._loop.run_until_complete(self.gateway.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@contextmanager
def called(app: App, settings: Settings) -> Iterator[Caller]:
    """The gateway of an installation, to be called."""
    with gateway_of(app, settings) as gateway, closing(Caller(gateway)) as call:
        yield call


def learn(app: App, settings: Settings) -> None:
    """Fold what is in the log, publish and save, while no gateway has it open."""
    stop = threading.Event()
    stop.set()
    with closing(open_log(settings.log_url)) as log, closing(Learner(app, log, settings)) as learner:
        learner.run(stop)


@contextmanager
def installation(app: App, settings: Settings, first: Callable[[Caller], Any]) -> Iterator[Caller]:
    """A gateway that has taken in what `first` sends, all of it learnt and published."""
    with called(app, settings) as call:
        first(call)
    learn(app, settings)
    with called(app, settings) as call:
        yield call
