"""Events in columns: what travels between the door, the log and the loop.

A `Batch` holds rows of several streams in their one recorded order. The envelope (stream, time, arrival, id, source) is
kept for all rows; each stream's own fields are kept in a `Frame`, in that stream's order of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.compiled import kernel
from headwater.core.schema import FieldSpec, Kind, Schema

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DTYPES: dict[Kind, type[Any]] = {Kind.FLOAT: np.float64, Kind.INT: np.int64, Kind.BOOL: np.uint8}


@kernel
def _gather(offsets: Offsets, data: Bytes, rows: Ints, out_offsets: Offsets, out: Bytes) -> None:
    at = 0
    for i in range(rows.size):
        start, stop = offsets[rows[i]], offsets[rows[i] + 1]
        for j in range(start, stop):
            out[at] = data[j]
            at += 1
        out_offsets[i + 1] = at


@dataclass(slots=True, eq=False)  # not frozen: thousands are made a second
class Text:
    """A column of UTF-8 strings: `offsets` int32[n+1] into `data` uint8[]."""

    offsets: Offsets
    data: Bytes

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Text:
        """Build from Python strings; None becomes the empty string (its null is marked in the column)."""
        # Not pyarrow.array(list): it imports pandas, where that is installed, and costs seconds.
        texts = [v or "" for v in values] if None in values else values
        data = "".join(texts).encode()  # type: ignore[arg-type]
        lengths = np.fromiter(map(len, texts), np.int32, len(texts))  # type: ignore[arg-type]
        offsets = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        if offsets[-1] != len(data):  # not ASCII: bytes and characters differ
            lengths[:] = [len(v.encode()) for v in texts]  # type: ignore[union-attr]
            np.cumsum(lengths, out=offsets[1:])
        return cls(offsets, np.frombuffer(data, np.uint8))

    @classmethod
    def of_arrow(cls, array: pa.Array) -> Text:
        """Build from an Arrow string array without copying its bytes where it is not sliced."""
        n = len(array)
        _, offsets_buffer, data_buffer = array.buffers()
        if n == 0 or offsets_buffer is None:
            return cls(np.zeros(1, np.int32), np.zeros(0, np.uint8))
        offsets = np.frombuffer(offsets_buffer, np.int32)[array.offset : array.offset + n + 1]
        data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
        data = data[offsets[0] : offsets[-1]]
        return cls(offsets - offsets[0], data)

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, row: int) -> str:
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()

    def take(self, rows: Ints) -> Text:
        lengths = self.offsets[1:][rows] - self.offsets[:-1][rows]
        out_offsets, out = np.zeros(rows.size + 1, np.int32), np.empty(int(lengths.sum()), np.uint8)
        _gather(self.offsets, self.data, rows, out_offsets, out)
        return Text(out_offsets, out)

    def to_arrow(self) -> pa.Array:
        return pa.StringArray.from_buffers(len(self), pa.py_buffer(self.offsets), pa.py_buffer(self.data))

    def to_list(self) -> list[str]:
        values: list[str] = self.to_arrow().to_pylist()
        return values


def concat_text(parts: Sequence[Text]) -> Text:
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([p.offsets[1:] - p.offsets[:-1] for p in parts])
    offsets = np.zeros(lengths.size + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return Text(offsets, np.concatenate([p.data[p.offsets[0] : p.offsets[-1]] for p in parts]))


Values = Floats | Ints | Bytes | Text


@dataclass(slots=True, eq=False)  # not frozen: thousands are made a second
class Column:
    """One field of a stream. `valid` is None where no value is null; a null float is also NaN."""

    values: Values
    valid: Bools | None = None

    def take(self, rows: Ints) -> Column:
        values = self.values.take(rows)
        return Column(values, None if self.valid is None else self.valid[rows])

    def to_list(self) -> list[Any]:
        values = self.values.to_list() if isinstance(self.values, Text) else self.values.tolist()
        if self.valid is None:
            return values
        return [v if ok else None for v, ok in zip(values, self.valid.tolist(), strict=True)]


def column(spec: FieldSpec, values: Sequence[Any]) -> Column:
    """Build a column from Python values of the right type (None where null)."""
    nulls = spec.nullable and None in values
    valid = np.fromiter((v is not None for v in values), np.bool_, len(values)) if nulls else None
    if spec.kind is Kind.STR:
        return Column(Text.of(values), valid)
    if nulls:
        missing = float("nan") if spec.kind is Kind.FLOAT else 0
        values = [missing if v is None else v for v in values]
    return Column(np.array(values, DTYPES[spec.kind]), valid)


def concat_columns(parts: Sequence[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    values = [p.values for p in parts]
    joined: Values
    joined = concat_text(values) if isinstance(values[0], Text) else np.concatenate(values)  # type: ignore[arg-type]
    if all(p.valid is None for p in parts):
        return Column(joined)
    return Column(joined, np.concatenate([np.ones(len(p.values), np.bool_) if p.valid is None else p.valid for p in parts]))


@dataclass(slots=True, eq=False)  # not frozen: thousands are made a second
class Frame:
    """The rows of one stream, in columns by field name."""

    n: int
    columns: dict[str, Column]

    def take(self, rows: Ints) -> Frame:
        return Frame(int(rows.size), {name: c.take(rows) for name, c in self.columns.items()})


def frame(schema: Schema, rows: Sequence[Any]) -> Frame:
    """Build a frame from objects that have the schema's fields as attributes."""
    return Frame(len(rows), {f.name: column(f, [getattr(r, f.name) for r in rows]) for f in schema.fields})


@dataclass(slots=True, eq=False)  # not frozen: thousands are made a second
class Batch:
    """Rows of several streams in one order.

    Attributes:
        n: Number of rows.
        names: Stream names; `stream[i]` is an index into them.
        stream: uint8[n].
        time: Event time, int64[n], ms since 1970 UTC.
        arrival: When the gateway received the row, int64[n], microseconds since 1970 UTC. Measures lag; decides nothing.
        sources: Source names; `source[i]` is an index into them.
        source: uint16[n].
        ids: The producer's id of each row; (source, id) is what duplicates are known by.
        frames: A frame for each stream that occurs.
    """

    n: int
    names: tuple[str, ...]
    stream: Bytes
    time: Ints
    arrival: Ints
    sources: tuple[str, ...]
    source: npt.NDArray[np.uint16]
    ids: Text
    frames: dict[str, Frame] = field(default_factory=dict)

    def rows_of(self, stream: str) -> Ints:
        """The positions of a stream's rows, ascending; they correspond to its frame's rows."""
        if stream not in self.names:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.stream == self.names.index(stream))

    def take(self, rows: Ints) -> Batch:
        """The given rows (ascending positions), in order."""
        frames = {}
        for code, name in enumerate(self.names):
            local = np.cumsum(self.stream == code) - 1
            mine = rows[self.stream[rows] == code]
            if mine.size:
                frames[name] = self.frames[name].take(local[mine])
        return Batch(
            int(rows.size), self.names, self.stream[rows], self.time[rows], self.arrival[rows],
            self.sources, self.source[rows], self.ids.take(rows), frames,
        )  # fmt: skip

    def slice(self, start: int, stop: int) -> Batch:
        return self.take(np.arange(start, stop, dtype=np.int64))


def single(schema: Schema, rows: Frame, time: Ints, ids: Text, *, source: str = "", arrival: Ints | None = None) -> Batch:
    """A batch of one stream from one source."""
    n = rows.n
    return Batch(
        n, (schema.stream,), np.zeros(n, np.uint8), time, time * 1000 if arrival is None else arrival,
        (source,), np.zeros(n, np.uint16), ids, {schema.stream: rows},
    )  # fmt: skip


def concat(parts: Sequence[Batch]) -> Batch:
    """The rows of several batches, one after another."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(dict.fromkeys(name for p in parts for name in p.names))
    sources = tuple(dict.fromkeys(s for p in parts for s in p.sources))
    code = {source: i for i, source in enumerate(sources)}
    frames: dict[str, Frame] = {}
    for name in names:
        pieces = [p.frames[name] for p in parts if name in p.frames]
        if pieces:
            columns = {c: concat_columns([piece.columns[c] for piece in pieces]) for c in pieces[0].columns}
            frames[name] = Frame(sum(piece.n for piece in pieces), columns)
    return Batch(
        sum(p.n for p in parts),
        names,
        np.concatenate([np.array([names.index(s) for s in p.names], np.uint8)[p.stream] for p in parts]),
        np.concatenate([p.time for p in parts]),
        np.concatenate([p.arrival for p in parts]),
        sources,
        np.concatenate([np.array([code[s] for s in p.sources], np.uint16)[p.source] for p in parts]),
        concat_text([p.ids for p in parts]),
        frames,
    )
