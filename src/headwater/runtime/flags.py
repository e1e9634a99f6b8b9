"""Flags of changed rows: one byte a row, one bit for each who wants to know."""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Ints
from headwater.core.compiled import kernel
from headwater.core.hashing import Hashes

PUBLISHED, UNSAVED = 1, 2
_NONE = np.zeros(0, np.int64)


@kernel
def _flagged(words: Hashes, flags: Bytes, bit: int, out: Ints) -> int:
    """Count the flags that have a bit, or, with an `out` of that size, take it from them and write their places.

    `words` are the same flags, eight at a time.
    """
    n, any_of = 0, np.uint64(0x0101010101010101) * np.uint64(bit)
    rest = np.uint8(255 - bit)
    for w in range(words.size + 1):
        if w < words.size and not words[w] & any_of:
            continue
        for i in range(8 * w, min(8 * w + 8, flags.size)):
            if flags[i] & bit:
                if out.size:
                    out[n] = i
                    flags[i] &= rest
                n += 1
    return n


def taken(flags: Bytes, bit: int) -> Ints:
    """Ascending places of the flags that have a bit, which is taken from them.

    It looks twice, so as not to fault in pages for flags that have not: what that costs on the hot path is more.
    """
    words = flags[: flags.size // 8 * 8].view(np.uint64)
    out = np.empty(_flagged(words, flags, bit, _NONE), np.int64)
    if out.size:
        _flagged(words, flags, bit, out)
    return out
