"""What machines and operators ask about the gateway: health, readiness, metrics, status, OpenAPI, an index.

Handlers return a `Reply` and send nothing themselves, so that the gateway can still turn any failure into a problem.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from headwater.core.schema import Schema
from headwater.serving import openapi
from headwater.serving.freshness import Follower
from headwater.serving.inference import Inference
from headwater.serving.protocol import Answerer
from headwater.serving.replies import JSON, Reply
from headwater.telemetry.metrics import Consumers, Freshness, Guarded, Metrics

Page = Callable[[Request], Awaitable[Reply]]

HOT = {
    "/events": "POST: events, each naming its stream",
    "/events/{stream}": "POST: events of one stream",
    "/predict/{model}": "POST: scores for rows",
}
FOLLOWED = {
    "/streams": "GET: the streams that can be followed",
    "/streams/{name}": "GET: events of a stream from a seq on; waits for the next one if asked to",
}


def _plain(value: Any) -> Any:
    """The numbers of numpy as Python's; anything else by its text, since a status is for reading."""
    return value.item() if hasattr(value, "item") else str(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


class _Endpoint:
    """Adapts a page to Starlette: the reply goes back to the gateway by the scope."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del send
        scope["headwater.reply"] = await self._page(Request(scope, receive))


async def _send_nothing(message: Any) -> None:
    raise AssertionError(message)


class Pages:
    """Every route but the hot ones."""

    def __init__(
        self,
        answerer: Answerer,
        freshness: Follower,
        metrics: Metrics,
        inference: Inference,
        streams: Mapping[str, Schema] | None,
        consumers: Consumers | None = None,
        guarded: Guarded | None = None,
    ) -> None:
        self._answerer, self._freshness, self._metrics, self._streams = answerer, freshness, metrics, streams
        self._consumers, self._guarded = consumers, guarded
        own = {
            "/": (self.index, "GET: this list"),
            "/healthz": (self.healthz, "GET: the process lives"),
            "/readyz": (self.readyz, "GET: something is published; how old it is"),
            "/metrics": (self.metrics_page, "GET: Prometheus metrics"),
            "/status": (self.status, "GET: what the learner and the gateway say of themselves"),
            "/openapi.json": (self.openapi, "GET: this API as OpenAPI 3.1"),
        }
        routes = [Route(path, _Endpoint(page), methods=["GET"]) for path, (page, _) in own.items()]
        routes += [Route(path, _Endpoint(page), methods=[method]) for path, (method, page) in inference.routes.items()]
        self._router = Router(routes, redirect_slashes=False)
        self.paths = {**HOT, **FOLLOWED, **{path: says for path, (_, says) in own.items()}, **inference.says}

    async def __call__(self, scope: Scope, receive: Receive) -> Reply:
        """The page at the scope's path.

        Raises:
            HTTPException: 404 or 405.
        """
        scope["app"] = self  # so that the router raises instead of answering in plain text
        await self._router(scope, receive, _send_nothing)
        reply: Reply = scope["headwater.reply"]
        return reply

    async def index(self, _: Request) -> Reply:
        return _json({"name": "headwater", "routes": self.paths, "models": sorted(self._answerer.models())})

    async def healthz(self, _: Request) -> Reply:
        return _json({"status": "ok"})

    async def readyz(self, _: Request) -> Reply:
        now = self._freshness.now()
        if now.seq is None:
            return _json({"ready": False, "reason": "the learner has published nothing yet"}, 503, {"retry-after": "1"})
        return _json({"ready": True, **_lag(now)})

    async def metrics_page(self, request: Request) -> Reply:
        body, content_type = self._metrics.page(request.headers.get("accept", ""))
        return Reply(200, body, content_type)

    async def status(self, _: Request) -> Reply:
        now = self._freshness.now()
        models = {name: schema.stream for name, schema in self._answerer.models().items()}
        gateway: dict[str, Any] = {"ready": now.seq is not None, **_lag(now), "models": models}
        if self._guarded is not None:
            gateway["guarded"] = self._guarded()
        said: dict[str, Any] = {"gateway": gateway, "learner": now.learner}
        return _json(said if self._consumers is None else {**said, "consumers": self._consumers()})

    async def openapi(self, _: Request) -> Reply:
        models = self._answerer.models()
        return _json(openapi.document(models, self._streams or {s.stream: s for s in models.values()}))


def _lag(now: Freshness) -> dict[str, Any]:
    return {"seq": now.seq, "age_s": now.age_s, "age_events": now.age_events, "event_time_ms": now.event_time_ms}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, _encode(content), JSON, headers or {})
