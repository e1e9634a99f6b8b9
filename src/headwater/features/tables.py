"""Tables of entities: a 64-bit key finds a dense slot, a slot is a row of float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.compiled import kernel
from headwater.core.hashing import Hashes

_START = 64
_SPARE = 2  # index places for each slot: a search looks at 1.5 of them where all slots are taken
Index = npt.NDArray[np.int32]


@kernel
def _find(keys: Hashes, index: Index, known: Hashes, out: Ints, stride: int, at: int) -> None:
    """Look keys up; out[i, at] = slot or -1. `index` holds slot + 1, open addressing, power-of-two size."""
    mask = np.uint64(index.size - 1)
    for i in range(keys.size):
        h = keys[i] & mask
        slot = -1
        while index[h] != 0:
            if known[index[h] - 1] == keys[i]:
                slot = index[h] - 1
                break
            h = (h + np.uint64(1)) & mask
        out[i * stride + at] = slot


@kernel
def _insert(keys: Hashes, wanted: Bytes, index: Index, known: Hashes, n: int) -> int:
    """Give a slot to each wanted key that has none; returns the new number of slots. There must be room."""
    mask = np.uint64(index.size - 1)
    for i in range(keys.size):
        if not wanted[i]:
            continue
        h = keys[i] & mask
        while index[h] != 0 and known[index[h] - 1] != keys[i]:
            h = (h + np.uint64(1)) & mask
        if index[h] == 0:
            known[n] = keys[i]
            n += 1
            index[h] = n
    return n


def _grown(array: Any, capacity: int, n: int) -> Any:
    """A longer array with the same first n rows. The rest is not written to, and so takes no memory until it is used."""
    longer = np.zeros((capacity, *array.shape[1:]), array.dtype)
    longer[:n] = array[:n]
    return longer


class Table:
    """Entities' rows, grown by doubling.

    Attributes:
        keys: uint64[capacity]; the first `n` are in use.
        rows: float64[capacity, width].
        dirty: uint8[capacity]; bit 0: changed since the last publish, bit 1: since the last checkpoint.
    """

    def __init__(self, width: int) -> None:
        self.width, self.n = width, 0
        self.keys = np.zeros(_START, np.uint64)
        self.rows: Floats = np.zeros((_START, width))
        self.dirty = np.zeros(_START, np.uint8)
        self._index = np.zeros(_SPARE * _START, np.int32)

    def reserve(self, more: int) -> None:
        """Make room for `more` new entities."""
        need = self.n + more
        capacity = self.keys.size
        if need <= capacity:
            return
        while capacity < need:
            capacity *= 2
        self.keys, self.rows, self.dirty = (_grown(a, capacity, self.n) for a in (self.keys, self.rows, self.dirty))
        self._reindex()

    def _reindex(self) -> None:
        self._index = np.zeros(_SPARE * self.keys.size, np.int32)
        keys = self.keys[: self.n].copy()
        _insert(keys, np.ones(self.n, np.uint8), self._index, self.keys, 0)

    def find(self, keys: Hashes, out: Ints, column: int) -> None:
        """Write each key's slot, or -1, into a column of out int64[n, columns]."""
        _find(keys, self._index, self.keys, out.reshape(-1), out.shape[1], column)

    def insert(self, keys: Hashes, wanted: Bytes) -> None:
        """Give the wanted keys slots, in order of first appearance. A new row is dirty even before its first update."""
        self.reserve(int(wanted.sum()))
        before = self.n
        self.n = _insert(keys, wanted, self._index, self.keys, before)
        self.dirty[before : self.n] = 3

    def restore(self, keys: Hashes, rows: Floats) -> None:
        """Replace the contents; slots are the positions given."""
        self.n = 0
        self.reserve(keys.size)
        self.n = keys.size
        self.keys[: self.n], self.rows[: self.n] = keys, rows
        self._reindex()
