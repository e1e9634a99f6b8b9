"""Words of texts as hashes: how a text becomes a fixed number of categories.

A word is a run of ASCII letters and digits (in lower case) or of characters beyond ASCII; a Chinese, Japanese or Korean
character is a word of its own, since such texts have no spaces. A word that comes twice counts once.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Offsets, Text
from headwater.core.compiled import inline, kernel
from headwater.core.hashing import Hashes, mix

NO_WORD = np.uint64(0)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0x100000001B3)


@inline
def _letter(byte: int) -> int:
    """The byte in lower case if it belongs to a word, else 0."""
    if 65 <= byte <= 90:  # noqa: PLR2004 - A to Z
        return byte + 32
    is_word = 97 <= byte <= 122 or 48 <= byte <= 57 or byte >= 128  # noqa: PLR2004 - a to z, 0 to 9, beyond ASCII
    return byte if is_word else 0


@inline
def _stands_alone(byte: int) -> bool:
    """Whether it starts a character of three bytes that is a word: U+3000 to U+9FFF, Hangul, and their like."""
    return bool(0xE3 <= byte <= 0xED)  # noqa: PLR2004


@kernel
def _hash_words(offsets: Offsets, data: Bytes, out: Hashes) -> None:
    limit = out.shape[1]
    for i in range(offsets.size - 1):
        n, j, stop = 0, offsets[i], offsets[i + 1]
        while j < stop and n < limit:
            if _letter(data[j]) == 0:
                j += 1
                continue
            h = _SEED
            start = j
            while j < stop and _letter(data[j]) != 0 and not (j > start and _stands_alone(data[j])):
                h = (h ^ np.uint64(_letter(data[j]))) * _PRIME
                j += 1
                if _stands_alone(data[start]) and j - start == 3:  # noqa: PLR2004
                    break
            h = mix(h + np.uint64(j - start))
            is_new = h != NO_WORD
            for k in range(n):
                is_new = is_new and out[i, k] != h
            if is_new:
                out[i, n] = h
                n += 1


def hash_words(text: Text, limit: int) -> Hashes:
    """The first `limit` different words of each text; uint64[n, limit], `NO_WORD` where a text has fewer.

    >>> from headwater.core.batch import Text
    >>> a, b = hash_words(Text.of(["The cat. the CAT", "a cat"]), 3)
    >>> int((a != NO_WORD).sum()), bool(a[1] == b[1])
    (2, True)
    """
    out = np.zeros((len(text), limit), np.uint64)
    _hash_words(text.offsets, text.data, out)
    return out
