"""An infer request of the Open Inference Protocol v2: its JSON, the bytes behind it, and the rows that they make."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headwater.core.batch import Column, Frame
from headwater.core.errors import nearest
from headwater.core.schema import Schema
from headwater.serving.problems import Problem, shorten
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
    data: msgspec.Raw = msgspec.Raw(b"")


class _OutputParameters(msgspec.Struct, frozen=True):
    binary_data: bool = False
    classification: int = 0


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_output: bool = False
    record: bool = False


class InferCall(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: str = ""
    outputs: tuple[_Output, ...] = ()
    parameters: _Parameters = _Parameters()


_decode = msgspec.json.Decoder(InferCall).decode


def parse(body: bytes, header_length: bytes | None) -> tuple[InferCall, memoryview]:
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


def rows_of(schema: Schema, call: InferCall, raw: memoryview, max_rows: int) -> Rows:
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


def wanted(call: InferCall, known: Sequence[str]) -> dict[str, bool]:
    """The outputs that a call asks for, all that there are where it names none -> whether in the binary extension."""
    for output in call.outputs:
        if output.name not in known or output.parameters.classification:
            raise Problem(
                400, "unknown-output", "There is no such output", where="outputs", expected=" or ".join(known), got=output.name
            )
    if not call.outputs:
        return dict.fromkeys(known, call.parameters.binary_data_output)
    return {output.name: output.parameters.binary_data for output in call.outputs}
