"""Three 64-bit hashes of each row: two for who sent it, one for what it says.

Two independent hashes of (source, id) make 128 bits of identity: among 10^12 rows the chance of a single mix-up is 10^-15. The
payload is the stream, the event time and every column; the arrival is not part of it, since a resent row arrives later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from headwater.core.batch import Batch, Column, Frame, Ints, Text
from headwater.core.errors import Fatal
from headwater.core.hashing import Hashes, combine, hash_column, hash_text

_SEEDS = (0x5DEECE66D, 0xB5297A4D3F84D5A3)


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """Hashes of n rows.

    Attributes:
        left: First half of the identity, uint64[n].
        right: Second half, uint64[n].
        payload: What the rows say, uint64[n].
    """

    left: Hashes
    right: Hashes
    payload: Hashes


def fingerprints(batch: Batch) -> Fingerprints:
    """Hash a batch's rows; equal rows hash equally in whatever batch they travel.

    Raises:
        Fatal: The batch's frames do not hold its rows.
    """
    left, right = (_identity(batch, seed) for seed in _SEEDS)
    return Fingerprints(left, right, _payload(batch))


def _identity(batch: Batch, seed: int) -> Hashes:
    # Source and id are hashed apart, each with its length, so that ("ab", "c") is not ("a", "bc").
    return combine([_source_hashes(batch.sources, seed)[batch.source], hash_text(batch.ids, seed)])


@lru_cache(maxsize=64)  # a gateway's batches name the same few sources
def _source_hashes(sources: tuple[str, ...], seed: int) -> Hashes:
    return hash_text(Text.of(sources), seed)


def _payload(batch: Batch) -> Hashes:
    out = np.empty(batch.n, np.uint64)
    n_hashed = 0
    for stream, rows in batch.frames.items():
        at = batch.rows_of(stream)
        if at.size != rows.n:
            raise _torn(stream, at.size, rows.n)
        out[at] = _frame_hashes(stream, rows, batch.time[at])
        n_hashed += rows.n
    if n_hashed != batch.n:
        raise _torn("batch", batch.n, n_hashed)
    return out


def _torn(where: str, n_rows: int, n_held: int) -> Fatal:
    return Fatal("a batch's frames do not hold its rows", where=where, expected=f"{n_rows} rows", got=str(n_held))


def _frame_hashes(stream: str, rows: Frame, time: Ints) -> Hashes:
    names = sorted(rows.columns)
    shape = np.full(rows.n, _shape_hash(stream, *names), np.uint64)
    return combine([shape, hash_column(Column(time)), *(hash_column(rows.columns[name]) for name in names)])


@lru_cache(maxsize=1024)
def _shape_hash(*names: str) -> np.uint64:
    """One hash for a stream and its columns' names."""
    return np.uint64(combine([h[None] for h in hash_text(Text.of(names), _SEEDS[0])])[0])
