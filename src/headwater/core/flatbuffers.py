"""The one look into Arrow's message metadata that pyarrow does not offer: whether a record batch's body is compressed.

Compressed bodies of strangers are refused, since a few bytes of them can ask for gigabytes.
"""

from __future__ import annotations

import struct

_MESSAGE_HEADER, _BATCH_COMPRESSION = 2, 3  # slots of Arrow's Message.fbs


def is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's flatbuffer has its `compression` member.

    Raises:
        struct.error: The metadata break off.
    """
    (message,) = struct.unpack_from("<I", metadata)
    slot = _slot(metadata, message, _MESSAGE_HEADER)
    if slot == 0:
        return False
    at = message + slot
    return _slot(metadata, at + struct.unpack_from("<I", metadata, at)[0], _BATCH_COMPRESSION) != 0


def _slot(data: bytes, table: int, index: int) -> int:
    """A flatbuffer table's member as an offset from the table; 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * index
    offset: int = struct.unpack_from("<H", data, vtable + at)[0] if at < size else 0
    return offset
