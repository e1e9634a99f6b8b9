"""Rows of large arrays, saved as what changed: each save appends its rows, and now and then they are merged into blocks.

A save of some rows of a million must not write the pages of them all. So it appends a *delta*: places and rows, in pieces
that lie one after another. An array is its *base*, cut into blocks, with its deltas laid over it in order. When the deltas
outgrow the base they are merged into it, a slice at a time, each slice a transaction: since a delta may be laid over a base
that holds it already, a kill in between leaves the same array, and the merge begins again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lmdb
import msgspec
import numpy as np

from headwater.core.batch import Ints
from headwater.core.errors import CorruptData
from headwater.store.sealed import sealed, unsealed

BLOCK_BYTES = 32_768
_PIECE_BYTES, _SLICE_BYTES = 1 << 18, 1 << 25
_SMALL_BYTES, _MOST_DELTAS = 1 << 22, 256

Array = np.ndarray[Any, Any]


class Written(msgspec.Struct, array_like=True):
    """One delta on disk.

    Attributes:
        number: Counts an array's deltas for ever.
        n: Its rows.
        rows_per_piece: How they are cut.
    """

    number: int
    n: int
    rows_per_piece: int

    def key(self, name: str, piece: int) -> bytes:
        return name.encode() + b"\1" + self.number.to_bytes(8, "big") + piece.to_bytes(4, "big")

    @property
    def n_pieces(self) -> int:
        return -(-self.n // self.rows_per_piece)


class Layers(msgspec.Struct, array_like=True):
    """What an array is made of.

    Attributes:
        dtype: Of its elements.
        shape: Its shape after the newest delta.
        base_rows: How many rows of it are in the base; never more than the array has, so that an array that shrinks and
            grows again has its new rows from deltas.
        deltas: The deltas over it, oldest first.
        next_number: Of the next delta.
    """

    dtype: str
    shape: tuple[int, ...]
    base_rows: int = 0
    deltas: list[Written] = []
    next_number: int = 0

    @property
    def row_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def rows_per_block(self) -> int:
        return rows_in(BLOCK_BYTES, self.row_bytes)

    @property
    def should_merge(self) -> bool:
        """Whether merging is worth it: it rewrites the base, so it waits until about as much was appended."""
        size = sum(delta.n for delta in self.deltas) * (self.row_bytes + 8)
        return size > max(_SMALL_BYTES, self.base_rows * self.row_bytes) or len(self.deltas) > _MOST_DELTAS


def rows_in(n_bytes: int, row_bytes: int) -> int:
    return max(1, n_bytes // max(1, row_bytes))


def block_key(name: str, block: int) -> bytes:
    return name.encode() + b"\0" + block.to_bytes(6, "big")


def append(txn: lmdb.Transaction, db: Any, layers: Layers, name: str, at: Ints, rows: Array) -> None:
    """Put the rows at ascending places `at` over an array of the shape in `layers`, which tells of them afterwards."""
    layers.base_rows = min(layers.base_rows, layers.shape[0])
    if at.size == 0:
        return
    delta = Written(layers.next_number, at.size, rows_in(_PIECE_BYTES, layers.row_bytes + 8))
    for piece in range(delta.n_pieces):
        part = slice(piece * delta.rows_per_piece, (piece + 1) * delta.rows_per_piece)
        key = delta.key(name, piece)
        txn.put(key, sealed(key, at[part].tobytes() + rows[part].tobytes()), db=db)
    layers.deltas.append(delta)
    layers.next_number += 1


def load(txn: lmdb.Transaction, db: Any, layers: Layers, name: str) -> Array:
    """The array, whole.

    Raises:
        CorruptData: A part is missing, has the wrong size, or was altered.
    """
    out = np.zeros(layers.shape, np.dtype(layers.dtype))
    _lay(txn, db, layers, name, out, 0)
    return out


def _lay(txn: lmdb.Transaction, db: Any, layers: Layers, name: str, out: Array, first: int) -> None:
    """Fill `out`, which is the array's rows from `first` on, which begins a block: base, then deltas."""
    per, last = layers.rows_per_block, min(first + out.shape[0], layers.base_rows)
    for start in range(first, last, per):
        part = out[start - first : min(start + per, last) - first]
        value = _got(txn, db, block_key(name, start // per), f"{name}[{start // per}]", part.nbytes)
        part[...] = np.frombuffer(value, out.dtype, part.size).reshape(part.shape)
    for delta in layers.deltas:
        for piece in range(delta.n_pieces):
            n = min(delta.rows_per_piece, delta.n - piece * delta.rows_per_piece)
            what = f"{name}, delta {delta.number}[{piece}]"
            value = _got(txn, db, delta.key(name, piece), what, n * (8 + layers.row_bytes))
            at = np.frombuffer(value, np.int64, n)
            inside = slice(*np.searchsorted(at, (first, first + out.shape[0])).tolist())
            if inside.start < inside.stop:
                rows = np.frombuffer(value[8 * n : n * (8 + layers.row_bytes)], out.dtype).reshape(n, *layers.shape[1:])
                out[at[inside] - first] = rows[inside]


def _got(txn: lmdb.Transaction, db: Any, key: bytes, where: str, expected: int) -> Any:
    stored = txn.get(key, db=db)
    value = None if stored is None else unsealed(key, stored, where)
    if value is None or len(value) < expected:
        raise CorruptData(
            "a part of the state is missing", where=where, expected=f"{expected} bytes",
            got="nothing" if value is None else f"{len(value)} bytes", next_step="Run `headwater doctor`.",
        )  # fmt: skip
    return value


def slices(layers: Layers) -> Iterator[slice]:
    """The rows of an array in the parts in which it is merged: whole blocks."""
    step = rows_in(_SLICE_BYTES, layers.row_bytes * layers.rows_per_block) * layers.rows_per_block
    for start in range(0, layers.shape[0], step):
        yield slice(start, min(start + step, layers.shape[0]))


def merge(txn: lmdb.Transaction, db: Any, layers: Layers, name: str, rows: slice) -> None:
    """Write the base's blocks of some rows anew, with all deltas of `layers` in them."""
    out = np.zeros((rows.stop - rows.start, *layers.shape[1:]), np.dtype(layers.dtype))
    _lay(txn, db, layers, name, out, rows.start)
    per = layers.rows_per_block
    for start in range(0, out.shape[0], per):
        key = block_key(name, (rows.start + start) // per)
        txn.put(key, sealed(key, out[start : start + per].tobytes()), db=db)


def merged(txn: lmdb.Transaction, db: Any, now: Layers, old: Layers, name: str) -> None:
    """Every slice of `old` is merged: drop its deltas from the disk and from `now`, which may have newer ones."""
    for delta in old.deltas:
        for piece in range(delta.n_pieces):
            txn.delete(delta.key(name, piece), db=db)
    now.deltas = now.deltas[len(old.deltas) :]
    now.base_rows = min(old.shape[0], now.shape[0])
