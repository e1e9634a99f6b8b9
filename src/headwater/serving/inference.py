"""The Open Inference Protocol v2 over REST, so that clients of Triton, KServe or MLServer can call a model unchanged.

A model has one input tensor for each field of its stream (shape [n] or [n, 1]; a field may be left out) and one output,
`score`, FP64 [n]. Only the newest snapshot is served: a version is `line@seq`, or a line's name for its newest.
Such calls are not recorded as events unless the request's parameters say `"record": true`.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version as installed
from typing import Any

import msgspec

from headwater.core.schema import Schema
from headwater.serving.freshness import Follower
from headwater.serving.inputs import HEADER_LENGTH, parse, rows_of, wants_binary
from headwater.serving.limits import Limits
from headwater.serving.predicting import VERSION, Answered, Predictor
from headwater.serving.problems import Problem
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import Call
from headwater.serving.routes import Answers
from headwater.serving.tensors import DATATYPE

_encode = msgspec.json.Encoder().encode


class Inference:
    """The protocol's routes; `answers` has what answers each."""

    def __init__(self, predictor: Predictor, freshness: Follower, limits: Limits) -> None:
        self._predictor, self._freshness, self._limits = predictor, freshness, limits
        model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        self.answers: Answers = {
            "/v2": self.server,
            "/v2/health/live": self.live,
            "/v2/health/ready": self.ready,
            model: self.model,
            f"{model}/ready": self.model_ready,
            f"{model}/infer": self.infer,
            version: self.model,
            f"{version}/ready": self.model_ready,
            f"{version}/infer": self.infer,
        }

    async def server(self, _: Call) -> Reply:
        return _json({"name": "headwater", "version": installed("headwater"), "extensions": ["binary_tensor_data"]})

    async def live(self, _: Call) -> Reply:
        return _json({"live": True})

    async def ready(self, _: Call) -> Reply:
        ready = self._freshness.now().seq is not None
        return _json({"ready": ready}, 200 if ready else 503)

    async def model(self, call: Call) -> Reply:
        name, schema = self._named(call)
        inputs = [{"name": f.name, "datatype": DATATYPE[f.kind], "shape": [-1]} for f in schema.fields]
        outputs = [{"name": "score", "datatype": "FP64", "shape": [-1]}]
        version = self._predictor.versions.get(name)
        versions = [] if version is None else [version]
        return _json({"name": name, "versions": versions, "platform": "headwater", "inputs": inputs, "outputs": outputs})

    async def model_ready(self, call: Call) -> Reply:
        name, _ = self._named(call)
        ready = self._freshness.now().seq is not None
        return _json({"name": name, "ready": ready}, 200 if ready else 503)

    async def infer(self, call: Call) -> Reply:
        name, _ = self._named(call)
        body = call.body
        said = (name, body, call.headers.get(HEADER_LENGTH.encode()), call.named.get("version"))
        if len(body) <= self._limits.inline_bytes:
            reply, answered = self._infer(*said)
        else:
            reply, answered = await asyncio.to_thread(self._infer, *said)
        self._predictor.keep(answered)
        return reply

    def _named(self, call: Call) -> tuple[str, Schema]:
        name: str = call.named["model"]
        schema = self._predictor.form(name).schema
        wanted, live = call.named.get("version"), self._predictor.versions.get(name)
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
    content = {"model_name": answered.model, "model_version": answered.version, "outputs": [score]}
    if call_id:
        content["id"] = call_id
    head = _encode(content)
    headers = {VERSION: answered.version}
    if not binary:
        return Reply(200, head, JSON, headers)
    return Reply(200, head + raw, "application/octet-stream", {**headers, HEADER_LENGTH: str(len(head))})


def _json(content: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(content))
