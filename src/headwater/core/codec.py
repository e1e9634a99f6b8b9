"""A batch as bytes and back, without copying on the way back.

Layout: `u32` header length, header (MessagePack), then every array at an 8-byte boundary. The header lists streams,
sources and columns; arrays follow in the header's order, so that a reader needs one pass and no search.
"""

from __future__ import annotations

import struct
from functools import lru_cache
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


class _Outline(msgspec.Struct, array_like=True):
    """A `_Header` of which only what differs from batch to batch is read."""

    n: int
    names: msgspec.Raw
    sources: msgspec.Raw
    frames: msgspec.Raw
    sizes: list[int]


class _Shape:
    """What batches of the same streams, sources and columns share.

    Attributes:
        names: Stream names.
        sources: Source names.
        frames: Stream, rows, and for each column its name, whether it is text, and whether it has a validity array.
        dtypes: Of each array, in order.
    """

    __slots__ = ("dtypes", "frames", "names", "sources")

    def __init__(self, names: list[str], sources: list[str], frames: list[_FrameHeader]) -> None:
        self.names, self.sources = tuple(names), tuple(sources)
        self.frames = [(f.stream, f.n, [(name, kind == "str", has) for name, kind, has in f.columns]) for f in frames]
        self.dtypes = [*_ENVELOPE, *(dtype for f in frames for c in f.columns for dtype in _dtypes_of(c[1], has_valid=c[2]))]


_ENVELOPE = tuple(np.dtype(d) for d in (np.uint8, np.int64, np.int64, np.uint16, np.int32, np.uint8))
_TEXT = (np.dtype(np.int32), np.dtype(np.uint8))
_VALID = (np.dtype(np.bool_),)


def _dtypes_of(kind: str, *, has_valid: bool) -> tuple[np.dtype[Any], ...]:
    values = _TEXT if kind == "str" else (np.dtype(DTYPES[Kind(kind)]),)
    return values + _VALID if has_valid else values


_decode_outline = msgspec.msgpack.Decoder(_Outline).decode
_decode_names = msgspec.msgpack.Decoder(list[str]).decode
_decode_frames = msgspec.msgpack.Decoder(list[_FrameHeader]).decode


@lru_cache(maxsize=256)  # a log's chunks differ in their sizes, seldom in their columns
def _shape(names: bytes, sources: bytes, frames: bytes) -> _Shape:
    return _Shape(_decode_names(names), _decode_names(sources), _decode_frames(frames))


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


def decode(data: bytes | memoryview) -> Batch:
    """The batch that `encode` made; its arrays are read-only views of `data`.

    Raises:
        CorruptData: The bytes are not an encoded batch.
    """
    view = memoryview(data)
    try:
        (length,) = struct.unpack_from("<I", view)
        outline = _decode_outline(view[4 : 4 + length])
        shape = _shape(bytes(outline.names), bytes(outline.sources), bytes(outline.frames))
        return _batch(outline.n, shape, _arrays(view, shape.dtypes, outline.sizes, 4 + length + -(4 + length) % 8))
    except (struct.error, msgspec.MsgspecError, ValueError, IndexError) as error:
        raise CorruptData(f"an event batch cannot be decoded ({error})", next_step="Run `headwater doctor`.") from error


def _arrays(data: memoryview, dtypes: list[np.dtype[Any]], sizes: list[int], at: int) -> list[Any]:
    """Views of the arrays, which lie one after another from `at` on, each at an 8-byte boundary."""
    arrays = []
    for dtype, size in zip(dtypes, sizes, strict=True):
        arrays.append(np.frombuffer(data, dtype, size // dtype.itemsize, at))
        at += size + -size % 8
    return arrays


def _batch(n: int, shape: _Shape, arrays: list[Any]) -> Batch:
    stream, time, arrival, source, offsets, ids, *rest = arrays
    if not stream.size == time.size == arrival.size == source.size == offsets.size - 1 == n:
        raise ValueError(f"it says that it has {n} rows, and its arrays have others")
    following = iter(rest).__next__
    frames = {}
    for name, n_rows, columns in shape.frames:
        held = {}
        for field, is_text, has_valid in columns:
            values = Text(following(), following()) if is_text else following()
            held[field] = Column(values, following() if has_valid else None)
        frames[name] = Frame(n_rows, held)
    return Batch(n, shape.names, stream, time, arrival, shape.sources, source, Text(offsets, ids), frames)
