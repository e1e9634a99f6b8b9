"""64-bit hashes of columns: how keys, categories and ids become numbers.

Not cryptographic. Equal values of one kind hash equally on every machine; -0.0 equals 0.0, and a null has a value of its
own. Two entities among a million share a hash with a probability of 3e-8 (decision 0004); ids use two independent hashes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Bytes, Column, Floats, Offsets, Text
from headwater.core.compiled import inline, kernel

Hashes = npt.NDArray[np.uint64]

NULL = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)


@inline
def mix(x: np.uint64) -> np.uint64:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))


@inline
def _hash_bytes(data: Bytes, start: int, stop: int, seed: np.uint64) -> np.uint64:
    h = mix(seed + np.uint64(stop - start) + _STEP)
    word = np.uint64(0)
    shift = np.uint64(0)
    for j in range(start, stop):
        word |= np.uint64(data[j]) << shift
        shift += np.uint64(8)
        if shift == np.uint64(64):
            h = mix((h ^ word) + _STEP)
            word = np.uint64(0)
            shift = np.uint64(0)
    return mix((h ^ word) + _STEP)


@kernel
def _hash_text(offsets: Offsets, data: Bytes, seed: np.uint64, out: Hashes) -> None:
    for i in range(offsets.size - 1):
        out[i] = _hash_bytes(data, offsets[i], offsets[i + 1], seed)


@kernel
def _hash_one(data: Bytes) -> np.uint64:
    return _hash_bytes(data, 0, data.size, np.uint64(0))


@kernel
def _combine(left: Hashes, right: Hashes, out: Hashes) -> None:
    for i in range(left.size):
        out[i] = mix(left[i] * np.uint64(3) + _STEP + right[i])


@kernel
def _hash_words(words: Hashes, seed: np.uint64, out: Hashes) -> None:
    for i in range(words.size):
        out[i] = mix(mix(words[i] + seed) + _STEP)


def hash_floats(values: Floats, seed: int = 0) -> Hashes:
    """Hash float64[n]; every NaN hashes like a null."""
    words = (values + 0.0).view(np.uint64)
    out = np.empty(values.size, np.uint64)
    _hash_words(words, np.uint64(seed), out)
    missing = np.isnan(values)
    if missing.any():
        out[missing] = NULL
    return out


def hash_text(text: Text, seed: int = 0) -> Hashes:
    """Hash each string; uint64[n]."""
    out = np.empty(len(text), np.uint64)
    _hash_text(text.offsets, text.data, np.uint64(seed), out)
    return out


def hash_string(value: str) -> int:
    """Hash one string as `hash_text` does, without a column for it."""
    return int(_hash_one(np.frombuffer(value.encode(), np.uint8)))


def hash_column(column: Column, seed: int = 0) -> Hashes:
    """Hash each value of a column; uint64[n]."""
    values: Any = column.values
    if isinstance(values, Text):
        out = hash_text(values, seed)
    elif values.dtype == np.float64:
        out = hash_floats(values, seed)
    else:
        out = np.empty(values.size, np.uint64)
        _hash_words(np.ascontiguousarray(values.astype(np.int64)).view(np.uint64), np.uint64(seed), out)
    if column.valid is not None:
        out = np.where(column.valid, out, NULL)
    return out


def combine(hashes: list[Hashes]) -> Hashes:
    """One hash for a tuple of values, sensitive to their order."""
    out = hashes[0]
    for more in hashes[1:]:
        joined = np.empty(out.size, np.uint64)
        _combine(out, more, joined)
        out = joined
    return out
