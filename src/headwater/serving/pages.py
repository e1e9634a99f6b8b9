"""What machines and operators ask about the gateway: health, readiness, metrics, status, OpenAPI, an index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from headwater.core.errors import HeadwaterError
from headwater.core.schema import Schema
from headwater.serving import openapi
from headwater.serving.freshness import Follower
from headwater.serving.protocol import Answerer
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import Call
from headwater.serving.routes import Answers, Route
from headwater.telemetry.metrics import Consumers, Freshness, Guarded, Metrics


def _plain(value: Any) -> Any:
    """The numbers of numpy as Python's; anything else by its text, since a status is for reading."""
    return value.item() if hasattr(value, "item") else str(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


class Pages:
    """The operator's pages.

    Args:
        answerer: Tells the models.
        freshness: Tells how far the served snapshot lags.
        metrics: The gateway's.
        streams: What producers may send; None means what models answer on.
        consumers: Tells how far each consumer has got; None: there are none.
        routes: What there is, for the index and the OpenAPI document.
    """

    def __init__(
        self, answerer: Answerer, freshness: Follower, metrics: Metrics, streams: Mapping[str, Schema] | None,
        consumers: Consumers | None, routes: Iterable[Route], guarded: Guarded | None = None,
    ) -> None:  # fmt: skip
        self._answerer, self._freshness, self._metrics, self._streams = answerer, freshness, metrics, streams
        self._consumers, self._routes, self._guarded = consumers, routes, guarded
        self.answers: Answers = {
            "/": self.index,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/metrics": self.metrics_page,
            "/status": self.status,
            "/openapi.json": self.openapi,
        }

    async def index(self, _: Call) -> Reply:
        routes = {route.pattern: f"{route.method}: {route.says}" for route in self._routes}
        return _json({"name": "headwater", "routes": routes, "models": sorted(self._answerer.models())})

    async def healthz(self, _: Call) -> Reply:
        return _json({"status": "ok"})

    async def readyz(self, _: Call) -> Reply:
        now = self._freshness.now()
        if now.seq is None:
            return _json({"ready": False, "reason": "the learner has published nothing yet"}, 503, {"retry-after": "1"})
        return _json({"ready": True, **_lag(now)})

    async def metrics_page(self, call: Call) -> Reply:
        body, content_type = self._metrics.page(call.headers.get(b"accept", b"").decode("latin-1"))
        return Reply(200, body, content_type)

    async def status(self, _: Call) -> Reply:
        now = self._freshness.now()
        models = {name: schema.stream for name, schema in self._answerer.models().items()}
        gateway: dict[str, Any] = {"ready": now.seq is not None, **_lag(now), "models": models}
        if self._guarded is not None:
            gateway["guarded"] = self._guarded()
        said: dict[str, Any] = {"gateway": gateway, "learner": now.learner}
        if self._consumers is not None:
            try:
                said["consumers"] = self._consumers()
            except HeadwaterError as error:  # their file is damaged; the rest is as true as before
                said["consumers"], said["problem"] = [], str(error)
        return _json(said)

    async def openapi(self, _: Call) -> Reply:
        models = self._answerer.models()
        streams = self._streams or {s.stream: s for s in models.values()}
        return _json(openapi.document(models, streams, self._routes))


def _lag(now: Freshness) -> dict[str, Any]:
    return {"seq": now.seq, "age_s": now.age_s, "age_events": now.age_events, "event_time_ms": now.event_time_ms}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, _encode(content), JSON, headers or {})
