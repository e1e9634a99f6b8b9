"""A chunk as it lies on disk, and the chain that holds chunks together.

One append makes one chunk (or one for every 65,536 rows): a header of 64 bytes, then the encoded batch. Its checksum covers
its key, its header with the *previous* chunk's checksum in it, and the batch; so a chunk that was changed, moved, exchanged or
lost is found by whoever reads it, and named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from headwater.core.batch import Batch
from headwater.core.errors import CorruptData
from headwater.log.checksum import xxh64
from headwater.log.protocol import Chunk

MAX_ROWS = 65_536
MAGIC = b"HWLC"
FORMAT = 1

_KEY = struct.Struct(">Q")  # big-endian: byte order is number order
_HEADER = struct.Struct("<4sHHIIQqqqq")  # magic, format, reserved, rows, reserved, previous, times
_CHECKSUM = struct.Struct("<Q")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size
_ADVICE = "Nothing was deleted. Restore the log from a copy, or run `headwater doctor`."


class Header(NamedTuple):
    """What is known of a chunk without decoding it.

    Attributes:
        n: Rows.
        previous: Checksum of the chunk before.
        time_min_ms: Smallest event time in it.
        time_max_ms: Largest event time in it.
        time_high_ms: The log's event-time high mark after it; never falls from chunk to chunk.
        arrival_high_us: The log's arrival high mark after it; never falls.
        checksum: Of this chunk.
    """

    n: int
    previous: int
    time_min_ms: int
    time_max_ms: int
    time_high_ms: int
    arrival_high_us: int
    checksum: int = 0


def key_of(seq: int) -> bytes:
    return _KEY.pack(seq)


def seq_of(key: bytes | memoryview) -> int:
    seq: int = _KEY.unpack(key)[0]
    return seq


def seal(seq: int, header: Header, payload: bytes) -> tuple[bytes, int]:
    """The bytes to store for the chunk that begins at `seq`, and its checksum."""
    head = _HEADER.pack(MAGIC, FORMAT, 0, header.n, 0, *header[1:-1])
    checksum = xxh64(payload, xxh64(_KEY.pack(seq) + head))
    return b"".join((head, _CHECKSUM.pack(checksum), payload)), checksum


def peek(seq: int, value: bytes | memoryview) -> Header:
    """Read a chunk's header without verifying the rest.

    Raises:
        CorruptData: These are not a chunk's bytes, or are of another format.
    """
    if len(value) < HEADER_BYTES:
        raise _corrupt(seq, "is cut short", f"at least {HEADER_BYTES} bytes", str(len(value)))
    magic, version, _, n, _, previous, time_min, time_max, time_high, arrival_high = _HEADER.unpack_from(value)
    if magic != MAGIC or version != FORMAT:
        raise _corrupt(seq, "has no valid header", f"{MAGIC!r} of format {FORMAT}", f"{magic!r} of format {version}")
    (checksum,) = _CHECKSUM.unpack_from(value, _HEADER.size)
    return Header(n, previous, time_min, time_max, time_high, arrival_high, checksum)


def unseal(seq: int, value: bytes | memoryview, previous: int) -> tuple[Header, memoryview]:
    """Verify a chunk; its header and its encoded batch (a view of `value`).

    Args:
        seq: The key under which it was found.
        value: The stored bytes.
        previous: The checksum of the chunk before it.

    Raises:
        CorruptData: It was changed, moved, or does not follow the chunk before it.
    """
    header, view = peek(seq, value), memoryview(value)
    payload = view[HEADER_BYTES:]
    checksum = xxh64(payload, xxh64(_KEY.pack(seq) + bytes(view[: _HEADER.size])))
    if checksum != header.checksum:
        raise _corrupt(seq, "was changed or moved", f"checksum {header.checksum:016x}", f"{checksum:016x}")
    if previous != header.previous:
        raise _corrupt(seq, "does not follow the chunk before it", f"{previous:016x} before it", f"{header.previous:016x}")
    return header, payload


def missing(seq: int, found: str) -> CorruptData:
    """The error for a chunk that should begin at `seq` and is not there."""
    return _corrupt(seq, "is missing", f"a chunk at {seq}", found)


def _corrupt(seq: int, what: str, expected: str, got: str) -> CorruptData:
    return CorruptData(f"the chunk {what}", where=f"log, seq {seq}", expected=expected, got=got, next_step=_ADVICE)


def pieces(base: int, batch: Batch, seq: int, max_events: int) -> Iterator[Chunk]:
    """The rows from `seq` on of the stored chunk that begins at `base`, at most `max_events` at a time."""
    start = max(seq - base, 0)
    if start == 0 and batch.n <= max_events:
        yield Chunk(base, batch)
        return
    for at in range(start, batch.n, max_events):
        yield Chunk(base + at, batch.slice(at, min(at + max_events, batch.n)))
