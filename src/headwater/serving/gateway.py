"""The gateway: one ASGI app for events, predictions and what machines ask about them.

Everything is dispatched by the one table of routes, without a framework. This is also the outermost layer: who may not come
in is refused here, and whatever goes wrong below becomes a problem document here.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from time import perf_counter

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from headwater.core.errors import Retryable, is_out_of_memory, nearest
from headwater.core.threads import started
from headwater.serving.admission import Lane, Rounds
from headwater.serving.arrow import CONTENT_TYPE as ARROW
from headwater.serving.bodies import BodyReader, Disconnected
from headwater.serving.decisions import Decision, DecisionLog
from headwater.serving.following import Following
from headwater.serving.freshness import Follower
from headwater.serving.guard import Guard
from headwater.serving.inference import Inference
from headwater.serving.options import Door, Options
from headwater.serving.pages import Pages
from headwater.serving.predicting import Answered, Predictor, Told
from headwater.serving.problems import Problem, no_memory, shorten, unavailable, unexpected, unknown_path, wrong_method
from headwater.serving.protocol import Answerer
from headwater.serving.recording import Recorder
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import Call, content_type
from headwater.serving.routes import EVENTS, PREDICT_ROUTE, PREDICTIONS, TABLE, Answers, Bound, Found, Routes, allowed
from headwater.serving.scopes import EVERYTHING
from headwater.serving.wire import Pairs
from headwater.telemetry.metrics import Metrics

PARTS = ("events", "predict", "streams", "page")
_THREADS = 6  # for what must not hold up the event loop

MIXED = "*"  # in place of a stream: a request whose events each name their own


class _Verdicts(msgspec.Struct):
    """The totals in the door's reply."""

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0


_decode_verdicts = msgspec.json.Decoder(_Verdicts).decode
_log = structlog.stdlib.get_logger("headwater.serving")


class Gateway:
    """The ASGI app. Run it with `server.serve`, or under any ASGI server that speaks the lifespan protocol.

    Attributes:
        limits: Bounds on requests.
        slow: Paths of models that must not be asked on the event loop's thread.
        routes: What there is; another room may add to it before anything is served.
    """

    def __init__(
        self, door: Door, answerer: Answerer, options: Options | None = None, *, metrics: Metrics | None = None
    ) -> None:
        self._door = door
        self._options = options = options or Options()
        self.limits = limits = options.limits
        self.metrics = metrics or Metrics()
        self._access = options.access
        self._guard, self._reader, self._rounds = Guard(limits, self._access), BodyReader(limits), Rounds()
        self._lanes = {EVENTS: Lane(limits.events), PREDICTIONS: Lane(limits.predictions)}
        self._recorder = Recorder(door, self.metrics, pending_rows=limits.pending_rows, linger_s=limits.linger_s)
        self._decisions = None if options.decisions is None else DecisionLog(options.decisions, self.metrics)
        self._predictor = Predictor(answerer, self._recorder, self.metrics, limits, options.clock, options.event_time)
        freshness = Follower(answerer, options.clock, self._log_end)
        self.metrics.follow(freshness.now)
        self._following = None if options.following is None else Following(options.following, options.bells, limits)
        self.routes = Routes()
        if options.guarded is not None:
            self._predictor.slow = frozenset(options.guarded())
            self.metrics.follow_guarded(options.guarded)
        self.slow = frozenset(f"/predict/{model}".encode() for model in self._predictor.slow)
        pages = Pages(answerer, freshness, self.metrics, options.streams, options.consumers, self.routes, options.guarded)
        self._bind({**self._answers(), **pages.answers, **Inference(self._predictor, freshness, limits).answers})
        if options.consumers is not None:
            self.metrics.follow_consumers(options.consumers)
        self._seconds = {part: self.metrics.request_seconds.labels(part) for part in PARTS}
        self._ok = {part: self.metrics.requests.labels(part, "200") for part in PARTS}

    def _answers(self) -> Answers:
        """What is answered here."""
        own: Answers = {"/events": self._submit, "/events/{stream}": self._submit, "/predict/{model}": self._predict}
        if self._following is None:
            return own
        follow = self._following.follow
        return {**own, "/streams": self._following.index, "/streams/_dead": follow, "/streams/{name}": follow}

    def _bind(self, answers: Answers) -> None:
        for route in TABLE:
            if route.pattern in answers:
                self.routes.add(route, answers[route.pattern])

    @property
    def is_protected(self) -> bool:
        """Whether every caller needs a key; a gateway that asks for none may only listen on a loopback address."""
        return self._access.is_guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        part, started, call = PARTS[-1], perf_counter(), None
        try:
            bound, call = self._enter(scope, receive, started)
            part = bound.route.part
            reply = await (self._in_lane(bound, call) if bound.route.lane else bound.answer(call))
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - the outermost layer: nothing passes it
            reply = self._refusal(error, path)
        self._measure(part, started if call is None else call.started, reply)
        await reply.send(send)

    def _enter(self, scope: Scope, receive: Receive, started: float) -> tuple[Bound, Call]:
        """What answers a request, once it may come in.

        Raises:
            Problem: 404, 405, and what the guard raises. Who shows no key where one is needed does not hear what there is.
        """
        path: str = scope["path"]
        found = self.routes.find(path)
        bound = None if found is None else _by_method(found, scope["method"])
        headers = self._guard.admit(scope, EVERYTHING if bound is None else bound.route.scopes)
        if found is None:
            raise unknown_path(path, nearest(shorten(path), {route.pattern for route in self.routes}))
        if bound is None:
            raise wrong_method(path, allowed(found[0]))
        return bound, Call(scope, headers, receive, found[1], started)

    async def _in_lane(self, bound: Bound, call: Call) -> Reply:
        """Answer a request of a lane of data, if the lane lets it in."""
        lane = self._lanes[bound.route.lane]
        lane.look(call.started)
        with lane.inside() as inside:
            call.body = await self._reader.read(call.headers, call.receive, inside.grow)
            call.started = perf_counter()
            inside.begin(call.started)
            await self._rounds.turn()
            return await bound.answer(call)

    def at_once(self, path: str, query: bytes, pairs: Pairs, body: bytes) -> Reply:
        """The reply to a short call whose body is there: what `_answer` does for it, without awaiting anything."""
        started = perf_counter()
        try:
            headers = self._guard.admit({"headers": pairs}, PREDICT_ROUTE.scopes)
            self._lanes[PREDICTIONS].look(started)
            model = path[9:]
            reply, answered = self._predictor.predict(model, body, content_type(headers), query)
            self._keep(answered, model)
        except Exception as error:  # noqa: BLE001 - as there
            reply = self._refusal(error, path)
        self._measure("predict", started, reply)
        return reply

    def is_late(self) -> bool:
        """Whether a short call should wait for its turn with the others; then it is none."""
        return self._rounds.is_late(perf_counter())

    async def crowded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers in place of this app when there are too many connections already; the operator's requests never come here."""
        del scope, receive
        again = {"retry-after": "1", "connection": "close"}
        problem = Problem(503, "crowded", "There are too many connections", next_step="Try again after 1 s.", headers=again)
        await problem.reply().send(send)

    def is_operators(self, path: str) -> bool:
        """Whether a path belongs to the operator's lane."""
        found = self.routes.find(path)
        return found is not None and all(not bound.route.lane for bound in found[0].values())

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

    async def _predict(self, asked: Call) -> Reply:
        model, body, kind = asked.named["model"], asked.body, content_type(asked.headers)
        call = self._predictor.predict
        is_short = len(body) <= (self.limits.inline_arrow_bytes if kind == ARROW else self.limits.inline_bytes)
        if is_short and model not in self._predictor.slow:
            reply, answered = call(model, body, kind, asked.query)
        else:
            reply, answered = await asyncio.to_thread(call, model, body, kind, asked.query)
        self._keep(answered, model)
        return reply

    def _keep(self, answered: Answered | Told, model: str) -> None:
        self._predictor.keep(answered)
        if self._decisions is not None:
            now_us = self._options.clock.now_us()
            keys = self._predictor.form(model).told_keys(answered.keys)
            labels = None if isinstance(answered, Told) else answered.labels
            self._decisions.add(Decision(now_us, model, answered.version, keys, answered.scores, labels))

    async def _submit(self, call: Call) -> Reply:
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
        stream = call.named.get("stream")
        said = await self._door.submit(call.body, given.get("content-type", "application/json"), given, stream)
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
        if isinstance(error, Problem):
            return error.reply(inference=path.startswith("/v2"))
        if isinstance(error, Retryable):
            error = unavailable(error)
        elif is_out_of_memory(error):
            error = no_memory(error)
        else:
            self.metrics.errors.inc()
            error = unexpected(error, shorten(path))
        return error.reply(inference=path.startswith("/v2"))

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: when the server has answered its last request, record what is pending, then close the door."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._predictor.warm()
                asyncio.get_running_loop().set_default_executor(started(_THREADS, "work"))
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


def _by_method(found: Found, method: str) -> Bound | None:
    """What answers a method; HEAD is GET whose body the server leaves out."""
    return found[0].get("GET" if method == "HEAD" else method)
