"""A batch as bytes and back, without copying on the way back.

Layout: `u32` header length, header (MessagePack), then every array at an 8-byte boundary. The header lists streams,
sources and columns; arrays follow in the header's order, so that a reader needs one pass and no search.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np

from headwater.core.batch import DTYPES, Batch, Column, Frame, Text, Values
from headwater.core.errors import CorruptData
from headwater.core.schema import Kind

_KINDS = {np.dtype(np.float64): "float", np.dtype(np.int64): "int", np.dtype(np.uint8): "bool"}


class _FrameHeader(msgspec.Struct, array_like=True):
    stream: str
    n: int
    columns: list[tuple[str, str, bool]]  # name, kind, has a validity array


class _Header(msgspec.Struct, array_like=True):
    n: int
    names: list[str]
    sources: list[str]
    frames: list[_FrameHeader]
    sizes: list[int]  # bytes of each array, in order


_decode_header = msgspec.msgpack.Decoder(_Header).decode
_encode_header = msgspec.msgpack.Encoder().encode


def encode(batch: Batch) -> bytes:
    """The batch as bytes."""
    arrays: list[np.ndarray[Any, Any]] = [
        batch.stream,
        batch.time,
        batch.arrival,
        batch.source,
        batch.ids.offsets,
        batch.ids.data,
    ]
    frames = []
    for name, rows in batch.frames.items():
        columns = []
        for field, col in rows.columns.items():
            columns.append((field, _kind(col.values), col.valid is not None))
            arrays.extend((col.values.offsets, col.values.data) if isinstance(col.values, Text) else (col.values,))
            if col.valid is not None:
                arrays.append(col.valid.view(np.uint8))
        frames.append(_FrameHeader(name, rows.n, columns))
    header = _encode_header(_Header(batch.n, list(batch.names), list(batch.sources), frames, [a.nbytes for a in arrays]))
    head = struct.pack("<I", len(header)) + header
    parts = [head, b"\0" * (-len(head) % 8)]
    for array in arrays:
        parts.append(array.tobytes())
        parts.append(b"\0" * (-array.nbytes % 8))
    return b"".join(parts)


def _kind(values: Values) -> str:
    return "str" if isinstance(values, Text) else _KINDS[values.dtype]


class _Arrays:
    """Hands out the arrays of an encoded batch in order."""

    def __init__(self, data: memoryview, sizes: list[int], at: int) -> None:
        self._data, self._sizes, self._at, self._next = data, sizes, at, 0

    def take(self, dtype: type[Any]) -> Any:
        size = self._sizes[self._next]
        array = np.frombuffer(self._data, dtype, size // np.dtype(dtype).itemsize, self._at)
        self._next += 1
        self._at += size + -size % 8
        return array

    def text(self) -> Text:
        return Text(self.take(np.int32), self.take(np.uint8))


def decode(data: bytes | memoryview) -> Batch:
    """The batch that `encode` made; its arrays are read-only views of `data`.

    Raises:
        CorruptData: The bytes are not an encoded batch.
    """
    view = memoryview(data)
    try:
        (length,) = struct.unpack_from("<I", view)
        header = _decode_header(view[4 : 4 + length])
        return _batch(header, _Arrays(view, header.sizes, 4 + length + -(4 + length) % 8))
    except (struct.error, msgspec.MsgspecError, ValueError, IndexError) as error:
        raise CorruptData(f"an event batch cannot be decoded ({error})", next_step="Run `headwater doctor`.") from error


def _batch(header: _Header, arrays: _Arrays) -> Batch:
    stream, time, arrival = arrays.take(np.uint8), arrays.take(np.int64), arrays.take(np.int64)
    source, ids = arrays.take(np.uint16), arrays.text()
    frames = {}
    for f in header.frames:
        columns = {}
        for name, kind, has_valid in f.columns:
            values = arrays.text() if kind == "str" else arrays.take(DTYPES[Kind(kind)])
            columns[name] = Column(values, arrays.take(np.uint8).view(np.bool_) if has_valid else None)
        frames[f.stream] = Frame(f.n, columns)
    return Batch(header.n, tuple(header.names), stream, time, arrival, tuple(header.sources), source, ids, frames)
