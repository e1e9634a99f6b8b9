"""Tensors of the Open Inference Protocol v2, in JSON or in its binary extension, as values of a stream's fields."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np

from headwater.core.batch import Column, Floats, Text, column
from headwater.core.schema import FieldSpec, Kind
from headwater.serving.problems import Problem

DATATYPE = {Kind.STR: "BYTES", Kind.FLOAT: "FP64", Kind.INT: "INT64", Kind.BOOL: "BOOL"}
DTYPE: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?", "FP32": "<f4", "FP64": "<f8", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
        "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4",
    }.items()
}  # fmt: skip
_INTS = {name for name in DTYPE if "INT" in name}
Tensor = list[str] | Floats  # of an output
TAKEN = {Kind.STR: {"BYTES"}, Kind.FLOAT: {"FP64", "FP32"} | _INTS, Kind.INT: _INTS, Kind.BOOL: {"BOOL"}}
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_PYTHON: dict[Kind, Any] = {Kind.STR: str, Kind.FLOAT: float, Kind.INT: _INT64, Kind.BOOL: bool}
_DECODE: dict[tuple[Kind, bool], Any] = {
    (kind, nested): msgspec.json.Decoder(list[list[python]] if nested else list[python]).decode  # type: ignore[valid-type]
    for kind, python in _PYTHON.items()
    for nested in (False, True)
}


def from_json(spec: FieldSpec, shape: Sequence[int], data: msgspec.Raw) -> Column:
    """A column from the `data` member: flat, or nested as [n, 1]."""
    nested = bytes(data).lstrip()[1:].lstrip()[:1] == b"["
    try:
        values: list[Any] = _DECODE[spec.kind, nested](data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Problem(
            422,
            "wrong-type",
            "A tensor has a value of a wrong type",
            where=spec.name,
            expected=DATATYPE[spec.kind],
            got=str(error),
        ) from None
    flat = [v for row in values for v in row] if nested else values
    _check_count(spec, shape, len(flat))
    return column(spec, flat)


def from_bytes(spec: FieldSpec, datatype: str, shape: Sequence[int], raw: memoryview) -> Column:
    """A column from the binary extension: little-endian numbers; strings each behind its u32 length."""
    if spec.kind is Kind.STR:
        values = _strings(spec, raw)
        _check_count(spec, shape, len(values))
        return Column(Text.of(values))
    dtype = DTYPE[datatype]
    if len(raw) != prod(shape) * dtype.itemsize:
        raise _wrong_size(spec, f"{prod(shape) * dtype.itemsize} bytes", f"{len(raw)} bytes")
    numbers = np.frombuffer(raw, dtype)
    if spec.kind is Kind.FLOAT and not np.isfinite(numbers).all():
        raise Problem(422, "wrong-value", "A tensor has a value that is not finite", where=spec.name)
    target = {Kind.FLOAT: np.float64, Kind.INT: np.int64, Kind.BOOL: np.uint8}[spec.kind]
    return Column(numbers.astype(np.bool_).astype(target) if spec.kind is Kind.BOOL else numbers.astype(target))


def _strings(spec: FieldSpec, raw: memoryview) -> list[str]:
    values, at = [], 0
    while at < len(raw):
        stop = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if at + 4 > len(raw) or stop > len(raw):
            raise _wrong_size(spec, "whole strings, each behind its u32 length", f"{len(raw)} bytes")
        try:
            values.append(str(raw[at + 4 : stop], "utf-8"))
        except UnicodeError:
            raise Problem(422, "wrong-value", "A string is not UTF-8", where=spec.name, got=f"element {len(values)}") from None
        at = stop
    return values


def _check_count(spec: FieldSpec, shape: Sequence[int], n: int) -> None:
    if n != prod(shape):
        raise _wrong_size(spec, f"{prod(shape)} values", f"{n} values")


def _wrong_size(spec: FieldSpec, expected: str, got: str) -> Problem:
    return Problem(422, "wrong-size", "A tensor's data does not fit its shape", where=spec.name, expected=expected, got=got)


def to_bytes(values: Tensor) -> bytes:
    """An output in the binary extension: little-endian float64, or strings each behind its u32 length."""
    if isinstance(values, np.ndarray):
        return values.astype("<f8").tobytes()
    texts = [text.encode() for text in values]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))
