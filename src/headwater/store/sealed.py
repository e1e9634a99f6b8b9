"""Values that show whether they are what was written, and under which key.

A disk may give back other bytes than it was given; a state that has one flipped bit would be served for ever. So each value of
a save ends with a mark and a checksum over its key and itself. Values of saves before there were checksums have no mark, and
are taken as they are until they are written again; so is one whose very mark has lost a bit, for its bytes are whole.
"""

from __future__ import annotations

from typing import Any

from headwater.core.errors import CorruptData
from headwater.log.checksum import xxh64

_MARK = b"\xa5HW1"
_SUM_BYTES = 8
_TAIL_BYTES = len(_MARK) + _SUM_BYTES
_STEP = (
    "Nothing was deleted. Restore the folder from a copy, or move it away: "
    "the next start folds the log anew, which gives the same state as long as the log has all its events."
)


def sealed(key: bytes, value: bytes) -> bytes:
    """A value as it is stored under its key."""
    return b"".join((value, _MARK, xxh64(value, xxh64(key)).to_bytes(_SUM_BYTES, "little")))


def unsealed(key: bytes, stored: Any, where: str) -> Any:
    """What was given to `sealed`, as a view of what is stored.

    Args:
        key: The key under which it was found.
        stored: bytes or a memoryview.
        where: What it is, for the error.

    Raises:
        CorruptData: It is not what was written there.
    """
    view = memoryview(stored)
    if view[-_TAIL_BYTES:-_SUM_BYTES] != _MARK:
        return view
    value = view[:-_TAIL_BYTES]
    expected, got = int.from_bytes(view[-_SUM_BYTES:], "little"), xxh64(value, xxh64(key))
    if expected != got:
        raise CorruptData(
            "a part of the saved state was altered", where=where, expected=f"checksum {expected:016x}", got=f"{got:016x}",
            next_step=_STEP,
        )  # fmt: skip
    return value
