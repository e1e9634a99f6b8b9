"""The Open Inference Protocol v2 over REST, so that clients of Triton, KServe or MLServer can call a model unchanged.

A model has one input tensor for each field of its stream (shape [n] or [n, 1]; a field may be left out) and one output,
`score`, FP64 [n]. Of several classes there are also `label`, BYTES [n], `probabilities`, FP64 [n, k], and `classes`, BYTES [k].
Only the newest snapshot is served: a version is `line@seq`, or a line's name for its newest.
Such calls are not recorded as events unless the request's parameters say `"record": true`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import Any

import msgspec

from headwater.core.schema import Schema
from headwater.serving.freshness import Follower
from headwater.serving.inputs import HEADER_LENGTH, parse, rows_of, wanted
from headwater.serving.limits import Limits
from headwater.serving.predicting import Answered, Predictor
from headwater.serving.problems import Problem
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import Call
from headwater.serving.routes import Answers
from headwater.serving.tensors import DATATYPE, Tensor, to_bytes

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
        known = _outputs(self._predictor.says_classes(name))
        outputs = [{"name": output, "datatype": datatype, "shape": shape} for output, (datatype, shape) in known.items()]
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
        if len(body) <= self._limits.inline_bytes and name not in self._predictor.slow:
            reply, answered = self._infer(*said)
        else:
            reply, answered = await asyncio.to_thread(self._infer, *said)
        self._predictor.keep(answered)
        return reply

    def _named(self, call: Call) -> tuple[str, Schema]:
        name: str = call.named["model"]
        schema = self._predictor.form(name).schema
        asked, live = call.named.get("version"), self._predictor.versions.get(name)
        if asked is not None and live is not None:
            _check_version(asked, live, exact=False)
        return name, schema

    def _infer(self, name: str, body: bytes, header_length: bytes | None, version: str | None) -> tuple[Reply, Answered]:
        call, raw = parse(body, header_length)
        form = self._predictor.form(name)
        rows = rows_of(form.schema, call, raw, self._limits.rows)
        outputs = wanted(call, list(_outputs(self._predictor.says_classes(name))))
        answered = self._predictor.ask(name, form.schema, rows, explain=False, record=call.parameters.record)
        if version is not None:
            _check_version(version, answered.version, exact=True)
        return _answer(call.id, answered, outputs), answered


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


def _outputs(classes: bool) -> dict[str, tuple[str, list[int]]]:
    """A model's output tensors: name -> (datatype, shape)."""
    score = {"score": ("FP64", [-1])}
    if not classes:
        return score
    return {"label": ("BYTES", [-1]), **score, "probabilities": ("FP64", [-1, -1]), "classes": ("BYTES", [-1])}


def _values(answered: Answered) -> dict[str, Tensor]:
    """What an answer holds for each output."""
    said, scores = answered.answer.classes, answered.scores
    if said is None:
        return {"score": scores}
    labels = ["" if label is None else label for label in said.labels()]
    return {"label": labels, "score": scores, "probabilities": said.probabilities, "classes": list(said.names)}


def _answer(call_id: str, answered: Answered, asked: Mapping[str, bool]) -> Reply:
    values, outputs, parts = _values(answered), [], []
    for name, binary in asked.items():
        value = values[name]
        shape = [len(value)] if isinstance(value, list) else list(value.shape)
        told: dict[str, Any] = {"name": name, "datatype": "BYTES" if isinstance(value, list) else "FP64", "shape": shape}
        if binary:
            parts.append(to_bytes(value))
            told["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            told["data"] = value if isinstance(value, list) else value.ravel().tolist()
        outputs.append(told)
    content: dict[str, Any] = {"model_name": answered.model, "model_version": answered.version, "outputs": outputs}
    if answered.answer.degraded:
        content["parameters"] = {"degraded": answered.answer.degraded}
    if call_id:
        content["id"] = call_id
    head = _encode(content)
    headers = answered.headers
    if not parts:
        return Reply(200, head, JSON, headers)
    body = b"".join((head, *parts))
    return Reply(200, body, "application/octet-stream", {**headers, HEADER_LENGTH: str(len(head))})


def _json(content: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(content))
