"""The gateway: one ASGI app for events, predictions and what machines ask about them.

The hot paths are dispatched here by their prefix, without a framework; everything else goes to Starlette's router. This
is also the outermost layer: whatever goes wrong below becomes a problem document here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import Protocol

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from headwater.core.batch import Batch
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import Retryable, nearest
from headwater.core.schema import Schema
from headwater.following.streams import Streams
from headwater.log.protocol import Receipt
from headwater.serving.arrow import CONTENT_TYPE as ARROW
from headwater.serving.bodies import BodyReader, Disconnected
from headwater.serving.decisions import Decision, DecisionLog, Store
from headwater.serving.following import Following
from headwater.serving.freshness import Follower
from headwater.serving.guard import Guard
from headwater.serving.inference import Inference
from headwater.serving.limits import Limits
from headwater.serving.pages import Pages
from headwater.serving.predicting import Answered, Predictor, Told
from headwater.serving.problems import Problem, of_http, shorten, unavailable, unexpected, wrong_method
from headwater.serving.protocol import Answerer
from headwater.serving.recording import Recorder
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import Headers, content_type
from headwater.serving.wire import Pairs
from headwater.telemetry.metrics import Consumers, Guarded, Metrics

ROUTES = ("events", "predict", "streams", "page")

MIXED = "*"  # in place of a stream: a request whose events each name their own


class _Verdicts(msgspec.Struct):
    """The totals in the door's reply."""

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0


_decode_verdicts = msgspec.json.Decoder(_Verdicts).decode
_log = structlog.stdlib.get_logger("headwater.serving")


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
        token: Where given, every path but /healthz needs `Authorization: Bearer <token>`.
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
    token: str | None = None
    log_end: Callable[[], int] | None = None
    event_time: Callable[[], int] | None = None
    clock: Clock = field(default_factory=SystemClock)
    decisions: Store | None = None
    following: Streams | None = None
    bells: Path | None = None
    consumers: Consumers | None = None
    guarded: Guarded | None = None


class Gateway:
    """The ASGI app. Run it with `server.serve`, or under any ASGI server that speaks the lifespan protocol."""

    def __init__(
        self, door: Door, answerer: Answerer, options: Options | None = None, *, metrics: Metrics | None = None
    ) -> None:
        self._door = door
        self._options = options = options or Options()
        self.limits = limits = options.limits
        self.metrics = metrics or Metrics()
        self._guard, self._reader = Guard(limits, options.token), BodyReader(limits)
        self._recorder = Recorder(door, self.metrics, pending_rows=limits.pending_rows, linger_s=limits.linger_s)
        self._decisions = None if options.decisions is None else DecisionLog(options.decisions, self.metrics)
        self._predictor = Predictor(answerer, self._recorder, self.metrics, limits, options.clock, options.event_time)
        freshness = Follower(answerer, options.clock, self._log_end)
        self.metrics.follow(freshness.now)
        inference = Inference(self._predictor, freshness, self._reader, limits)
        self._pages = Pages(answerer, freshness, self.metrics, inference, options.streams, options.consumers, options.guarded)
        if options.guarded is not None:
            self._predictor.slow = frozenset(options.guarded())
            self.metrics.follow_guarded(options.guarded)
        self._following = None if options.following is None else Following(options.following, options.bells, limits)
        if options.consumers is not None:
            self.metrics.follow_consumers(options.consumers)
        self._seconds = {r: self.metrics.request_seconds.labels(r) for r in ROUTES}
        self._ok = {r: self.metrics.requests.labels(r, "200") for r in ROUTES}

    @property
    def is_protected(self) -> bool:
        """Whether callers need a token; a gateway without one may only listen on a loopback address."""
        return self._options.token is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        route, started = "page", perf_counter()
        try:
            headers = self._guard.admit(scope)
            if path.startswith("/predict/"):
                route = "predict"
                body = await self._post(scope, headers, receive)
                started = perf_counter()
                reply = await self._predict(path[9:], scope, headers, body)
            elif path == "/events" or path.startswith("/events/"):
                route = "events"
                body = await self._post(scope, headers, receive)
                started = perf_counter()
                reply = await self._submit(path[8:] or None, headers, body)
            elif self._following is not None and (path == "/streams" or path.startswith("/streams/")):
                route = "streams"
                reply = await self._following(scope, headers, receive)
            else:
                reply = await self._pages(scope, receive)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - the outermost layer: nothing passes it
            reply = self._refusal(error, path)
        self._measure(route, started, reply)
        await reply.send(send)

    @property
    def slow(self) -> frozenset[bytes]:
        """Paths of models that must not be asked on the event loop's thread."""
        return frozenset(f"/predict/{model}".encode() for model in self._predictor.slow)

    def at_once(self, path: str, query: bytes, pairs: Pairs, body: bytes) -> Reply:
        """The reply to a short call whose body is there: what `_answer` does for it, without awaiting anything."""
        started = perf_counter()
        try:
            headers = self._guard.admit({"headers": pairs, "path": path})
            reply, answered = self._predictor.predict(path[9:], body, content_type(headers), query)
            self._keep(answered, path[9:])
        except Exception as error:  # noqa: BLE001 - as there
            reply = self._refusal(error, path)
        self._measure("predict", started, reply)
        return reply

    def _measure(self, route: str, started: float, reply: Reply) -> None:
        self._seconds[route].observe(perf_counter() - started)
        is_ok = reply.status == HTTPStatus.OK
        (self._ok[route] if is_ok else self.metrics.requests.labels(route, str(int(reply.status)))).inc()

    def stop_waiting(self) -> None:
        """Answer whoever waits for an event: the server stops."""
        if self._following is not None:
            self._following.stop_waiting()

    def _log_end(self) -> int | None:
        return self._recorder.end if self._options.log_end is None else self._options.log_end()

    async def _post(self, scope: Scope, headers: Headers, receive: Receive) -> bytes:
        if scope["method"] != "POST":
            raise wrong_method(scope["path"], "POST")
        return await self._reader.read(headers, receive)

    async def _predict(self, model: str, scope: Scope, headers: Headers, body: bytes) -> Reply:
        call, kind = self._predictor.predict, content_type(headers)
        is_short = len(body) <= (self.limits.inline_arrow_bytes if kind == ARROW else self.limits.inline_bytes)
        if is_short and model not in self._predictor.slow:
            reply, answered = call(model, body, kind, scope["query_string"])
        else:
            reply, answered = await asyncio.to_thread(call, model, body, kind, scope["query_string"])
        self._keep(answered, model)
        return reply

    def _keep(self, answered: Answered | Told, model: str) -> None:
        self._predictor.keep(answered)
        if self._decisions is not None:
            now_us = self._options.clock.now_us()
            self._decisions.add(Decision(now_us, model, answered.version, answered.keys, answered.scores))

    async def _submit(self, stream: str | None, headers: Headers, body: bytes) -> Reply:
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        said = await self._door.submit(body, given.get("content-type", "application/json"), given, stream)
        if said.status == HTTPStatus.OK:
            self._count_events(stream or MIXED, said.body)
        more = {name.lower(): value for name, value in said.headers.items()}
        return Reply(said.status, said.body, more.pop("content-type", JSON), more)

    def _count_events(self, stream: str, body: bytes) -> None:
        verdicts = _decode_verdicts(body)
        for verdict in ("accepted", "duplicate", "quarantined"):
            n = getattr(verdicts, verdict)
            if n:
                self.metrics.events.labels(stream, verdict).inc(n)

    def _refusal(self, error: Exception, path: str) -> Reply:
        """Any exception as a response."""
        if isinstance(error, Retryable):
            error = unavailable(error)
        elif isinstance(error, HTTPException):
            error = of_http(error, path, nearest(shorten(path), self._pages.paths))
        elif not isinstance(error, Problem):
            self.metrics.errors.inc()
            error = unexpected(error, shorten(path))
        return error.reply(inference=path.startswith("/v2"))

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: when the server has answered its last request, record what is pending, then close the door."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._predictor.warm()
                await send({"type": "lifespan.startup.complete"})
                continue
            try:
                await self.close()
            except Exception as error:  # noqa: BLE001 - told to the server, which goes on stopping
                _log.error("the door did not close", exc_info=error)
                await send({"type": "lifespan.shutdown.failed", "message": "the door did not close"})
            else:
                await send({"type": "lifespan.shutdown.complete"})
            return

    async def close(self) -> None:
        """Append what is pending and close the door."""
        await self._recorder.close()
        if self._decisions is not None:
            await self._decisions.close()
        closing = self._door.close()
        if closing is not None:
            await closing
