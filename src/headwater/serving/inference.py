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

from headwater.core.batch import Column, Frame
from headwater.core.errors import nearest
from headwater.core.schema import Schema
from headwater.serving.freshness import Follower
from headwater.serving.limits import Limits
from headwater.serving.predicting import VERSION, Answered, Predictor
from headwater.serving.problems import Problem, shorten
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import BodyReader
from headwater.serving.rows import Rows, validation_problem
from headwater.serving.scalars import repeated
from headwater.serving.tensors import DATATYPE, TAKEN, from_bytes, from_json

HEADER_LENGTH = "inference-header-content-length"


class _TensorParameters(msgspec.Struct, frozen=True):
    binary_data_size: int | None = None


class _Input(msgspec.Struct, frozen=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: _TensorParameters = _TensorParameters()
    data: msgspec.Raw = msgspec.Raw(b"")  # noqa: RUF009 - immutable


class _OutputParameters(msgspec.Struct, frozen=True):
    binary_data: bool = False
    classification: int = 0


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_output: bool = False
    record: bool = False


class _Infer(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: str = ""
    outputs: tuple[_Output, ...] = ()
    parameters: _Parameters = _Parameters()


_decode = msgspec.json.Decoder(_Infer).decode
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
        if len(body) <= self._limits.inline_bytes:
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
        call, raw = _parse(body, header_length)
        form = self._predictor.form(name)
        rows = _rows(form.schema, call, raw, self._limits.rows)
        binary = _wants_binary(call)
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


def _parse(body: bytes, header_length: bytes | None) -> tuple[_Infer, memoryview]:
    """The JSON part of a request and the bytes behind it."""
    n = len(body)
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > len(body):
            got = header_length.decode("latin-1")
            raise Problem(
                400,
                "wrong-header",
                "The JSON part's length does not fit the body",
                where=HEADER_LENGTH,
                expected=f"at most {n}",
                got=got,
            )
        n = int(header_length)
    view = memoryview(body)
    try:
        return _decode(view[:n]), view[n:]
    except msgspec.ValidationError as error:
        raise validation_problem(str(error), frozenset({"inputs", "outputs", "id", "parameters"})) from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Problem(400, "malformed-json", "The request is not JSON", where="$", got=str(error)) from None
    except RecursionError:
        raise Problem(400, "too-deep", "The JSON is nested too deeply") from None


def _rows(schema: Schema, call: _Infer, raw: memoryview, max_rows: int) -> Rows:
    specs = {f.name: f for f in schema.fields}
    columns: dict[str, Column] = {}
    n, at = 0, 0
    for tensor in call.inputs:
        spec = specs.get(tensor.name)
        if spec is None or tensor.name in columns:
            kind, title = (
                ("unknown-input", "There is no such input") if spec is None else ("repeated-input", "An input occurs twice")
            )
            raise Problem(400, kind, title, where="inputs", got=tensor.name, next_step=nearest(shorten(tensor.name), specs))
        n = _count(tensor, n, max_rows)
        if tensor.datatype not in TAKEN[spec.kind]:
            raise Problem(
                422,
                "wrong-type",
                "An input has a wrong datatype",
                where=spec.name,
                expected=DATATYPE[spec.kind],
                got=tensor.datatype,
            )
        size = tensor.parameters.binary_data_size
        if size is not None:
            if not 0 <= size <= len(raw) - at:
                raise Problem(
                    400,
                    "wrong-size",
                    "Binary data is missing",
                    where=spec.name,
                    expected=f"{size} bytes",
                    got=f"{len(raw) - at} bytes",
                )
            columns[spec.name] = from_bytes(spec, tensor.datatype, tensor.shape, raw[at : at + size])
            at += size
        elif bytes(tensor.data):
            columns[spec.name] = from_json(spec, tensor.shape, tensor.data)
        else:
            raise Problem(400, "no-data", "An input has no data", where=spec.name, expected="data, or binary_data_size")
    if at != len(raw):
        raise Problem(
            400, "wrong-size", "There are bytes that no input claims", expected=f"{at} bytes", got=f"{len(raw)} bytes"
        )
    return _complete(schema, columns, n)


def _count(tensor: _Input, n: int, max_rows: int) -> int:
    """How many rows a tensor has; the same number as the tensors before it."""
    shape = tensor.shape
    fits = shape and (len(shape) == 1 or shape[1:] == [1]) and 0 < shape[0] <= max_rows and n in (0, shape[0])
    if not fits:
        expected = f"[{n}] or [{n}, 1]" if n else f"[n] or [n, 1], n from 1 to {max_rows}"
        raise Problem(422, "wrong-shape", "An input has a wrong shape", where=tensor.name, expected=expected, got=str(shape))
    return shape[0]


def _complete(schema: Schema, columns: dict[str, Column], n: int) -> Rows:
    if schema.key not in columns:
        raise Problem(
            422, "no-key", "The key is needed", where=f"inputs.{schema.key}", expected=DATATYPE[schema.field(schema.key).kind]
        )
    given = frozenset(columns)
    for spec in schema.fields:
        if spec.name not in columns:
            default = spec.default if len(given) > 1 and not spec.required else None
            columns[spec.name] = repeated(spec, default, n)
    keys = columns[schema.key].to_list()
    return Rows(Frame(n, {f.name: columns[f.name] for f in schema.fields}), given, keys)


def _wants_binary(call: _Infer) -> bool:
    for output in call.outputs:
        if output.name != "score" or output.parameters.classification:
            raise Problem(400, "unknown-output", "There is no such output", where="outputs", expected="score", got=output.name)
    return call.outputs[0].parameters.binary_data if call.outputs else call.parameters.binary_data_output


def _answer(call_id: str, answered: Answered, *, binary: bool) -> Reply:
    score: dict[str, Any] = {"name": "score", "datatype": "FP64", "shape": [len(answered.scores)]}
    raw = b""
    if binary:
        raw = answered.answer.score.astype("<f8").tobytes()
        score["parameters"] = {"binary_data_size": len(raw)}
    else:
        score["data"] = answered.scores
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
