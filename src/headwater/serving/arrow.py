"""A question and its answer as Arrow IPC streams: one column per field, no Python object per row.

The bytes come from a stranger, so a column's type must be one that cannot grow when it is converted: compressed bodies,
dictionaries, views and run-ends are refused, since a few bytes of them can ask for gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.batch import DTYPES, Column, Frame, Ints, Text
from headwater.core.errors import nearest
from headwater.core.flatbuffers import is_compressed
from headwater.core.schema import FieldSpec, Kind
from headwater.serving.classes import Classes
from headwater.serving.problems import Problem
from headwater.serving.protocol import Answer
from headwater.serving.rows import RowForm, Rows
from headwater.serving.scalars import repeated

CONTENT_TYPE = "application/vnd.apache.arrow.stream"

_TARGET = {Kind.FLOAT: pa.float64(), Kind.INT: pa.int64(), Kind.BOOL: pa.bool_(), Kind.STR: pa.string()}
_FITS = {
    Kind.FLOAT: lambda t: pa.types.is_floating(t) or pa.types.is_integer(t),
    Kind.INT: pa.types.is_integer,
    Kind.BOOL: pa.types.is_boolean,
    Kind.STR: lambda t: pa.types.is_string(t) or pa.types.is_large_string(t),
}


def decode(form: RowForm, body: bytes, max_rows: int) -> Rows:
    """The rows of an Arrow IPC stream; columns `id` and `time` may stand beside the stream's fields.

    Raises:
        Problem: 400 for a malformed stream, 413 for too many rows, 422 for a column that does not fit.
    """
    try:
        table = _table(body, max_rows)
        return _rows(form, table)
    except (pa.ArrowException, struct.error, EOFError, OSError, UnicodeError) as error:
        raise Problem(
            400, "malformed-arrow", "The body is not a whole Arrow IPC stream", where="$", got=type(error).__name__
        ) from None


def _table(body: bytes, max_rows: int) -> pa.Table:
    _refuse_growth(body)
    batches, n = [], 0
    with pa.ipc.open_stream(body) as reader:
        for batch in reader:
            n += batch.num_rows
            if n > max_rows:
                raise Problem(413, "wrong-number-of-rows", "There are too many rows or none", expected=f"at most {max_rows}")
            batch.validate(full=True)
            batches.append(batch)
    if n == 0:
        raise Problem(422, "wrong-number-of-rows", "There are too many rows or none", expected="at least one", got="0")
    return pa.Table.from_batches(batches).combine_chunks()


def _refuse_growth(body: bytes) -> None:
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type not in {"schema", "record batch"}:
            raise Problem(
                422, "unsupported-arrow", "Dictionary columns are not taken", expected="plain columns", got=message.type
            )
        if message.type == "record batch" and is_compressed(message.metadata.to_pybytes()):
            raise Problem(422, "unsupported-arrow", "Compressed Arrow bodies are not taken", expected="compression=None")


def _rows(form: RowForm, table: pa.Table) -> Rows:
    given: dict[str, pa.Array] = {}
    fields = {f.name for f in form.schema.fields}
    for name, chunks in zip(table.column_names, table.columns, strict=True):
        if name not in fields | {"id", "time"}:
            raise Problem(422, "unknown-field", "There is no such field", got=name, next_step=nearest(name, fields))
        if name in given:
            raise Problem(422, "repeated-field", "A column occurs twice", where=name)
        given[name] = chunks.combine_chunks() if chunks.num_chunks != 1 else chunks.chunk(0)
    key = form.schema.key
    if key not in given or given[key].null_count:
        raise Problem(422, "no-key", "The key is needed in every row", where=key, expected=form.schema.field(key).kind.value)
    n = table.num_rows
    ids, time = given.pop("id", None), given.pop("time", None)
    default = len(given) > 1  # a call with the key alone asks for stored rows
    columns = {
        s.name: _column(s, given[s.name])
        if s.name in given
        else repeated(s, s.default if default and not s.required else None, n)
        for s in form.specs
    }
    rows = Frame(n, columns)
    return Rows(rows, frozenset(given), columns[key], None if time is None else _time(time), None if ids is None else _ids(ids))


def _column(spec: FieldSpec, array: pa.Array) -> Column:
    if not _FITS[spec.kind](array.type):
        raise _wrong_type(spec.name, str(_TARGET[spec.kind]), array)
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    plain = _cast(spec.name, array, _TARGET[spec.kind])
    if valid is not None:
        plain = plain.fill_null({Kind.FLOAT: float("nan"), Kind.STR: "", Kind.BOOL: False, Kind.INT: 0}[spec.kind])
    if spec.kind is Kind.STR:
        return Column(Text.of_arrow(plain), valid)
    return Column(plain.to_numpy(zero_copy_only=False).astype(DTYPES[spec.kind], copy=False), valid)


def _cast(name: str, array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    try:
        return pc.cast(array, target)
    except pa.ArrowInvalid:
        raise Problem(422, "wrong-value", "A value cannot be taken", where=name, expected=str(target)) from None


def _wrong_type(name: str, expected: str, array: pa.Array) -> Problem:
    return Problem(422, "wrong-type", "A column has a wrong type", where=name, expected=expected, got=str(array.type))


def _time(array: pa.Array) -> Ints:
    if array.null_count:
        raise Problem(422, "some-times", "Some rows have a time and some have none", where="time", expected="all or none")
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = pc.cast(array, pa.timestamp("ms", array.type.tz), safe=False)
    elif not pa.types.is_integer(array.type):
        raise _wrong_type("time", "int64 milliseconds since 1970 UTC, or a timestamp with a time zone", array)
    values: Ints = _cast("time", array, pa.int64()).to_numpy(zero_copy_only=False)
    return values


def _ids(array: pa.Array) -> list[str | None]:
    if not (_FITS[Kind.STR](array.type) or pa.types.is_integer(array.type)):
        raise _wrong_type("id", "string or int64", array)
    return [None if i is None or i == "" else str(i) for i in array.to_pylist()]


def encode(model: str, version: str, key: str, keys: Column, answer: Answer, why: Mapping[int, str]) -> bytes:
    """An answer as a stream of columns.

    They are the key, `score`, `stored`; with reasons `shares`; of a model with a guard `guarded`; and where rows were not
    recorded `why`.

    Of several classes, `label` is the one that is said and `probabilities` a map from each class to its probability.

    The schema's metadata names the model and the version.
    """
    values = keys.values
    columns = {
        key: values.to_arrow() if isinstance(values, Text) else pa.array(keys.to_list()),
        **_classes(answer.classes),
        "score": pa.array(answer.score, pa.float64()),
        "stored": pa.array(answer.stored, pa.bool_()),
    }
    if answer.shares is not None:
        columns["shares"] = pa.array([list(s.items()) for s in answer.shares], pa.map_(pa.string(), pa.float64()))
    if answer.guarded is not None:
        columns["guarded"] = pa.array([list(s.items()) for s in answer.guarded], pa.map_(pa.string(), pa.string()))
    if why:
        columns["why"] = pa.array([why.get(row) for row in range(len(answer.score))], pa.string())
    table = pa.table(columns).replace_schema_metadata({"headwater-model": model, "headwater-version": version})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _classes(said: Classes | None) -> dict[str, pa.Array]:
    """The columns of an answer about several classes; the map is made from whole columns, not row by row."""
    if said is None:
        return {}
    n, k = said.probabilities.shape
    names = Text.of(said.names).to_arrow()
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * np.int32(k))
    each = pa.array(said.probabilities.ravel(), pa.float64())
    return {
        "label": names.take(pa.array(said.said)) if k else pa.nulls(n, pa.string()),
        "probabilities": pa.MapArray.from_arrays(offsets, names.take(pa.array(np.tile(np.arange(k), n))), each),
    }
