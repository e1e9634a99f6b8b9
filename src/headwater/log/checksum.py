"""A 64-bit checksum at memory speed: XXH64.

zlib's crc32 checks 1-3 GB/s, which would make verifying a chunk the dearest part of reading it; XXH64 runs at several times
that from plain integer arithmetic, and any xxhash tool can check the same bytes. It finds accidents, not forgers: versions
are signed elsewhere.

Source: Yann Collet, xxHash specification 0.1.1, section "XXH64".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Bytes
from headwater.core.compiled import inline, kernel

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_ZERO = np.uint64(0)


@inline
def _rotated(x: np.uint64, left: int) -> np.uint64:
    return (x << np.uint64(left)) | (x >> np.uint64(64 - left))


@inline
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotated(lane + word * _P2, 31) * _P1


@inline
def _merged(h: np.uint64, lane: np.uint64) -> np.uint64:
    return (h ^ _round(_ZERO, lane)) * _P1 + _P4


@inline
def _stripes(words: npt.NDArray[np.uint64], seed: np.uint64) -> np.uint64:
    """The body: four lanes over 32 bytes at a time."""
    a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
    for i in range(0, words.size - words.size % 4, 4):
        a = _round(a, words[i])
        b = _round(b, words[i + 1])
        c = _round(c, words[i + 2])
        d = _round(d, words[i + 3])
    h = _rotated(a, 1) + _rotated(b, 7) + _rotated(c, 12) + _rotated(d, 18)
    return _merged(_merged(_merged(_merged(h, a), b), c), d)


@kernel
def _xxh64(words: npt.NDArray[np.uint64], tail: Bytes, seed: np.uint64) -> np.uint64:
    """Hash whole little-endian words, then the 0-7 bytes after them."""
    h = _stripes(words, seed) if words.size >= 4 else seed + _P5  # noqa: PLR2004 - a stripe is four words
    h += np.uint64(8 * words.size + tail.size)
    for i in range(words.size - words.size % 4, words.size):
        h = _rotated(h ^ _round(_ZERO, words[i]), 27) * _P1 + _P4
    at = 0
    if tail.size >= 4:  # noqa: PLR2004 - half a word
        half = np.uint64(tail[0]) | np.uint64(tail[1]) << np.uint64(8)
        half |= np.uint64(tail[2]) << np.uint64(16) | np.uint64(tail[3]) << np.uint64(24)
        h = _rotated(h ^ (half * _P1), 23) * _P2 + _P3
        at = 4
    for i in range(at, tail.size):
        h = _rotated(h ^ (np.uint64(tail[i]) * _P5), 11) * _P1
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


def xxh64(data: bytes | memoryview, seed: int = 0) -> int:
    """The XXH64 of some bytes.

    >>> hex(xxh64(b"abc"))
    '0x44bc2cf5ad770999'
    """
    size = len(data)
    whole = size >> 3
    words = np.frombuffer(data, np.uint64, whole) if whole else _NO_WORDS
    tail = np.frombuffer(data, np.uint8, size & 7, whole << 3) if size & 7 else _NO_BYTES
    return int(_xxh64(words, tail, np.uint64(seed)))


# Read-only like the views of stored bytes, so that one compiled kernel serves them all.
_NO_WORDS = np.frombuffer(b"\0" * 8, np.uint64)[:0]
_NO_BYTES = np.frombuffer(b"\0", np.uint8)[:0]
