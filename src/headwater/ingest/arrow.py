"""Arrow IPC streams to windows, column to column: no Python object per event unless one of its window is refused.

Columns have the names of plain events: `id`, perhaps `source`, `time`, and the schema's fields. They are cast to the
schema where that loses nothing. If a value does not fit, the window's rows are read one by one, as JSON would be, so that
only the bad ones are refused.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.batch import DTYPES, Batch, Column, Frame, Ints, Text
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.ingest.columns import Unfit, build, check, source_codes
from headwater.ingest.decode import Decoder, Piece, Window, batch_of, never
from headwater.ingest.ipc import batches
from headwater.ingest.letters import Bad, Letter, letter
from headwater.ingest.shapes import DEFAULT_SOURCE, ENVELOPE, Shape, is_required
from headwater.ingest.splitting import PIECE_EVENTS

TARGETS = {Kind.FLOAT: pa.float64(), Kind.INT: pa.int64(), Kind.BOOL: pa.bool_(), Kind.STR: pa.string()}
_UNFIT = (Unfit, pa.ArrowException, ValueError, TypeError, OverflowError, KeyError)
_UTC_MS = pa.timestamp("ms", "UTC")


def windows(decoder: Decoder, body: bytes, stream: str | None, arrival_us: int) -> Iterator[Window]:
    """An IPC stream in windows; what cannot be read of it becomes one dead letter with the code `not_arrow`."""
    try:
        for batch in batches(body):
            for start in range(0, batch.num_rows, PIECE_EVENTS):
                yield _window(decoder, batch.slice(start, PIECE_EVENTS), stream, arrival_us)
    except Bad as bad:
        refused = letter(bad, body, source=None, stream=stream, max_bytes=decoder.limits.max_event_bytes)
        yield Window(batch_of(decoder.shapes, [refused], arrival_us), {0: refused}, never)


def table_windows(decoder: Decoder, rows: pa.RecordBatch, stream: str, arrival_us: int) -> Iterator[tuple[int, Window]]:
    """Rows of one stream that are in memory already: (first row, window)."""
    for start in range(0, rows.num_rows, PIECE_EVENTS):
        yield start, _window(decoder, rows.slice(start, PIECE_EVENTS), stream, arrival_us)


def _window(decoder: Decoder, rows: pa.RecordBatch, stream: str | None, arrival_us: int) -> Window:
    if stream is not None:
        try:
            return _typed(decoder, rows, decoder.shapes.by_stream[stream], arrival_us)
        except _UNFIT:
            pass
    found = decoder.window(Piece(b"", known=_texts(decoder, rows, stream)), stream, arrival_us)
    assert found is not None  # a window has rows
    return found


def _typed(decoder: Decoder, rows: pa.RecordBatch, shape: Shape, arrival_us: int) -> Window:
    """All rows at once.

    Raises:
        One of `_UNFIT`: At least one of them does not fit.
    """
    name = shape.schema.stream
    if "stream" in rows.schema.names and pc.unique(rows.column("stream")).to_pylist() != [name]:
        raise Unfit({})
    batch = typed_batch(shape.schema, rows, arrival_us)
    n, names, source = batch.n, batch.sources, batch.source
    if bad := check(shape.schema, batch.frames[name], batch.time, batch.ids, arrival_us, np.arange(n)):
        raise Unfit(bad)

    def refuse(i: int, bad: Bad) -> Letter:
        raw = _texts(decoder, rows.slice(i, 1), name)[0]
        return letter(bad, raw, source=names[source[i]], stream=name, max_bytes=decoder.limits.max_event_bytes)

    ignored = Counter({(name, c): n for c in rows.schema.names if c not in shape.members})
    return Window(batch, {}, refuse, ignored)


def typed_batch(schema: Schema, rows: pa.RecordBatch, arrival_us: int) -> Batch:
    """All rows at once, not yet checked.

    Raises:
        One of `_UNFIT`: A column does not fit.
    """
    n = rows.num_rows
    ids, time, (names, source) = _ids(rows), _times(rows, arrival_us), _sources(rows)
    frame = Frame(n, {f.name: _field(rows, f) for f in schema.fields})
    arrival = np.full(n, arrival_us, np.int64)
    return Batch(n, (schema.stream,), np.zeros(n, np.uint8), time, arrival, names, source, ids, {schema.stream: frame})


def _ids(rows: pa.RecordBatch) -> Text:
    held = rows.column("id")
    if not (pa.types.is_integer(held.type) or _is_text(held.type)):
        raise TypeError(held.type)
    return _owned(held.cast(pa.string()))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _owned(held: pa.Array) -> Text:
    """The array's strings; bytes under a null are not ours to keep."""
    return Text.of_arrow(held.fill_null("") if held.null_count else held)


def _sources(rows: pa.RecordBatch) -> tuple[tuple[str, ...], npt.NDArray[np.uint16]]:
    if "source" not in rows.schema.names:
        return (DEFAULT_SOURCE,), np.zeros(rows.num_rows, np.uint16)
    held = rows.column("source")
    if not _is_text(held.type) or held.null_count or "" in (found := held.to_pylist()):
        raise TypeError("source")
    return source_codes(found)


def _times(rows: pa.RecordBatch, arrival_us: int) -> Ints:
    """int64[n] ms; a time without a zone is not one moment, and does not fit."""
    if "time" not in rows.schema.names:
        return np.full(rows.num_rows, arrival_us // 1000, np.int64)
    held = rows.column("time")
    if pa.types.is_timestamp(held.type) and held.type.tz is not None:
        held = pc.floor_temporal(held, unit="millisecond").cast(_UTC_MS)
    elif not (pa.types.is_integer(held.type) or pa.types.is_null(held.type)):
        raise TypeError(held.type)
    times: Ints = held.cast(pa.int64()).fill_null(arrival_us // 1000).to_numpy(zero_copy_only=False)
    return times


def _field(rows: pa.RecordBatch, spec: FieldSpec) -> Column:
    if spec.name not in rows.schema.names:
        if is_required(spec):
            raise KeyError(spec.name)
        return build(spec, [None if spec.required else spec.default] * rows.num_rows)
    held = rows.column(spec.name)
    if not _fits(held.type, spec.kind) or (held.null_count and not spec.nullable):
        raise TypeError(held.type)
    valid = held.is_valid().to_numpy(zero_copy_only=False) if held.null_count else None
    held = held.cast(TARGETS[spec.kind])
    if spec.kind is Kind.STR:
        return Column(_owned(held), valid)
    if spec.kind is not Kind.FLOAT and held.null_count:
        held = held.fill_null(0 if spec.kind is Kind.INT else False)
    return Column(held.to_numpy(zero_copy_only=False).astype(DTYPES[spec.kind], copy=False), valid)


def _fits(kind: pa.DataType, to: Kind) -> bool:
    """Whether a column of this Arrow type may become the field; a cast that loses a value fails by itself."""
    types = pa.types
    if types.is_null(kind):
        return True
    if to is Kind.FLOAT:
        return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind))
    if to is Kind.INT:
        return bool(types.is_integer(kind))
    return bool(types.is_boolean(kind)) if to is Kind.BOOL else _is_text(kind)


def _texts(decoder: Decoder, rows: pa.RecordBatch, stream: str | None) -> list[bytes]:
    """Each row as the plain JSON event that it would have been; NaN is written as such, to be refused as such.

    A null of the envelope is an absent member; so is every null where rows of several streams share the columns.
    """
    shapes = decoder.shapes.by_stream
    wanted = shapes[stream].members if stream in shapes else frozenset[str]().union(*(s.members for s in shapes.values()))
    columns = {name: _plain(held, name) for name, held in zip(rows.schema.names, rows.columns, strict=True) if name in wanted}
    texts = []
    for i in range(rows.num_rows):
        event = {name: values[i] for name, values in columns.items()}
        texts.append(_dumps({k: v for k, v in event.items() if v is not None or (k not in ENVELOPE and stream is not None)}))
    return texts


def _dumps(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def _plain(held: pa.Array, name: str) -> list[Any]:
    """Values that JSON has; one that it has not becomes an object that names its type, which no field takes."""
    if pa.types.is_timestamp(held.type):
        held = held.cast(pa.timestamp("us", held.type.tz), safe=False)
    return [_scalar(value, is_time=name == "time") for value in held.to_pylist()]


def _scalar(value: Any, *, is_time: bool) -> Any:
    if isinstance(value, dt.datetime) and is_time:
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value if isinstance(value, str | int | float | None) else {"arrow": type(value).__name__}
