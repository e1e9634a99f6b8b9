"""The Open Inference Protocol v2 over REST, so that clients of Triton, KServe or MLServer can call a model unchanged.

A model has one input tensor for each field of its stream (shape [n] or [n, 1]; a field may be left out) and one output,
`score`, FP64 [n]. Only the newest snapshot is served: a version is `line@seq`, or a line's name for its newest.
Such calls are not recorded as events unless the request's parameters say `"record": true`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version as installed
from typing import Any

import msgspec
from starlette.requests import Request

from headwater.core.schema import Schema
from headwater.serving.bodies import BodyReader
from headwater.serving.freshness import Follower
from headwater.serving.inputs import HEADER_LENGTH, parse, rows_of, wants_binary
from headwater.serving.limits import Limits
from headwater.serving.predicting import Answered, Predictor
from headwater.serving.problems import Problem
from headwater.serving.replies import JSON, Reply
from headwater.serving.tensors import DATATYPE

_encode = msgspec.json.Encoder().encode
Page = Callable[[Request], Awaitable[Reply]]


class Inference:
    """The protocol's routes: path -> (method, page)."""

    def __init__(self, predictor: Predictor, freshness: Follower, reader: BodyReader, limits: Limits) -> None:
        self._predictor, self._freshness, self._reader, self._limits = predictor, freshness, reader, limits
        model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        self.routes: dict[str, tuple[str, Page]] = {
            "/v2": ("GET", self.server),
            "/v2/health/live": ("GET", self.live),
            "/v2/health/ready": ("GET", self.ready),
            model: ("GET", self.model),
            f"{model}/ready": ("GET", self.model_ready),
            f"{model}/infer": ("POST", self.infer),
            version: ("GET", self.model),
            f"{version}/ready": ("GET", self.model_ready),
            f"{version}/infer": ("POST", self.infer),
        }
        self.says = {path: f"{method}: Open Inference Protocol v2" for path, (method, _) in self.routes.items()}

    async def server(self, _: Request) -> Reply:
        return _json({"name": "headwater", "version": installed("headwater"), "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Reply:
        return _json({"live": True})

    async def ready(self, _: Request) -> Reply:
        ready = self._freshness.now().seq is not None
        return _json({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Reply:
        name, schema = self._named(request)
        inputs = [{"name": f.name, "datatype": DATATYPE[f.kind], "shape": [-1]} for f in schema.fields]
        outputs = [{"name": "score", "datatype": "FP64", "shape": [-1]}]
        version = self._predictor.versions.get(name)
        versions = [] if version is None else [version]
        return _json({"name": name, "versions": versions, "platform": "headwater", "inputs": inputs, "outputs": outputs})

    async def model_ready(self, request: Request) -> Reply:
        name, _ = self._named(request)
        ready = self._freshness.now().seq is not None
        return _json({"name": name, "ready": ready}, 200 if ready else 503)

    async def infer(self, request: Request) -> Reply:
        name, _ = self._named(request)
        headers = dict(request.scope["headers"])
        body = await self._reader.read(headers, request.receive)
        said = (name, body, headers.get(HEADER_LENGTH.encode()), request.path_params.get("version"))
        if len(body) <= self._limits.inline_bytes and name not in self._predictor.slow:
            reply, answered = self._infer(*said)
        else:
            reply, answered = await asyncio.to_thread(self._infer, *said)
        self._predictor.keep(answered)
        return reply

    def _named(self, request: Request) -> tuple[str, Schema]:
        name: str = request.path_params["model"]
        schema = self._predictor.form(name).schema
        wanted, live = request.path_params.get("version"), self._predictor.versions.get(name)
        if wanted is not None and live is not None:
            _check_version(wanted, live, exact=False)
        return name, schema

    def _infer(self, name: str, body: bytes, header_length: bytes | None, wanted: str | None) -> tuple[Reply, Answered]:
        call, raw = parse(body, header_length)
        form = self._predictor.form(name)
        rows = rows_of(form.schema, call, raw, self._limits.rows)
        binary = wants_binary(call)
        answered = self._predictor.ask(name, form.schema, rows, explain=False, record=call.parameters.record)
        if wanted is not None:
            _check_version(wanted, answered.version, exact=True)
        return _answer(call.id, answered, binary=binary), answered


def _check_version(wanted: str, live: str, *, exact: bool) -> None:
    line = live.partition("@")[0]
    if wanted in {line, live} or (not exact and wanted.startswith(f"{line}@")):
        return
    raise Problem(
        404,
        "unknown-version",
        "This version is not served",
        where="path",
        expected=f"{live}, or {line} for its newest",
        got=wanted,
    )


def _answer(call_id: str, answered: Answered, *, binary: bool) -> Reply:
    score: dict[str, Any] = {"name": "score", "datatype": "FP64", "shape": [answered.scores.size]}
    raw = b""
    if binary:
        raw = answered.scores.astype("<f8").tobytes()
        score["parameters"] = {"binary_data_size": len(raw)}
    else:
        score["data"] = answered.scores.tolist()
    content: dict[str, Any] = {"model_name": answered.model, "model_version": answered.version, "outputs": [score]}
    if answered.answer.degraded:
        content["parameters"] = {"degraded": answered.answer.degraded}
    if call_id:
        content["id"] = call_id
    head = _encode(content)
    headers = answered.headers
    if not binary:
        return Reply(200, head, JSON, headers)
    return Reply(200, head + raw, "application/octet-stream", {**headers, HEADER_LENGTH: str(len(head))})


def _json(content: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(content))
