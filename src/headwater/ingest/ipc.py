"""Reads Arrow IPC streams from strangers: only forms that cannot grow when they are read.

Compressed bodies and dictionaries are refused, since a few bytes of them can ask for gigabytes; so is a batch that claims
more rows than the stream has bytes. Offsets are checked before they are followed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

from headwater.core.flatbuffers import is_compressed
from headwater.ingest.letters import Bad

_ERRORS = (pa.ArrowException, struct.error, EOFError, OSError, ValueError, TypeError)


def batches(body: bytes) -> Iterator[pa.RecordBatch]:
    """The record batches of a whole stream, checked.

    Raises:
        Bad: The bytes are not such a stream, or break off; batches before the fault have been given.
    """
    reader = _guarded(body)
    while True:
        try:
            batch = reader.read_next_batch()
            if batch.num_rows > len(body):
                raise Bad("not_arrow", f"expected fewer rows than bytes, got {batch.num_rows} rows")
            batch.validate(full=True)
        except StopIteration:
            return
        except _ERRORS:
            raise _broken() from None
        yield batch


def _broken() -> Bad:
    return Bad("not_arrow", "expected a whole Arrow IPC stream, got other bytes or one that breaks off")


def _guarded(body: bytes) -> pa.RecordBatchReader:
    try:
        for message in pa.ipc.MessageReader.open_stream(body):
            if message.type not in {"schema", "record batch"}:
                raise Bad("not_arrow", f"expected plain columns, got {message.type}; write categories as strings")
            if message.type == "record batch" and is_compressed(message.metadata.to_pybytes()):
                raise Bad("not_arrow", "expected an uncompressed body; write it with compression=None")
        reader = pa.ipc.open_stream(body)
        _ = reader.schema.names  # they may not be UTF-8
    except _ERRORS:
        raise _broken() from None
    return reader
