"""The questions that wait for their label: a ring of vectors in log order, found by key."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import kernel
from headwater.core.hashing import Hashes
from headwater.evaluation.prequential import HEAD, SIZE, _probe

_START = 256


@kernel
def _reindex(index: Ints, known: Hashes, size: int) -> None:
    """Index ring rows 0 .. size, oldest first, so that the newest question with a key wins."""
    for r in range(size):
        index[_probe(index, known, known[r])] = r + 1


@kernel
def _lookup(index: Ints, known: Hashes, keys: Hashes, out: Ints) -> None:
    for i in range(keys.size):
        out[i] = index[_probe(index, known, keys[i])] - 1


class Pending:
    """Rows as `prequential` lays them out.

    Attributes:
        rows: float64[capacity, width].
        known: uint64[capacity], the join hash of each ring row.
        index: int64[4 * capacity], ring row + 1.
        dirty: uint8[capacity]; bit 0: changed since the last publish, bit 1: since the last checkpoint.
    """

    def __init__(self, width: int, ints: Ints) -> None:
        self.width, self._ints = width, ints
        self.rows: Floats = np.zeros((_START, width))
        self.known = np.zeros(_START, np.uint64)
        self.index = np.zeros(4 * _START, np.int64)
        self.dirty = np.full(_START, 3, np.uint8)  # a first checkpoint holds the whole ring, used or not

    def order(self) -> Ints:
        """Ring rows in use, oldest first."""
        return self.positions(self._ints, self.rows.shape[0])

    @staticmethod
    def positions(ints: Ints, capacity: int) -> Ints:
        """Ring rows in use, oldest first, of a ring of that capacity."""
        rows: Ints = (ints[HEAD] + np.arange(ints[SIZE])) % capacity
        return rows

    def reserve(self, more: int) -> bool:
        """Make room for `more` rows; returns whether rows moved."""
        size, capacity = int(self._ints[SIZE]), self.rows.shape[0]
        if size + more <= capacity:
            return False
        while capacity < size + more:
            capacity *= 2
        self._lay_out(self.known[self.order()], self.rows[self.order()], capacity)
        return True

    def _lay_out(self, known: Hashes, rows: Floats, capacity: int) -> None:
        self.rows, self.known = np.zeros((capacity, self.width)), np.zeros(capacity, np.uint64)
        self.rows[: known.size], self.known[: known.size] = rows, known
        self.index, self.dirty = np.zeros(4 * capacity, np.int64), np.zeros(capacity, np.uint8)
        self.dirty[:] = 3
        _reindex(self.index, self.known, known.size)
        self._ints[HEAD] = 0

    def restore(self, known: Hashes, rows: Floats) -> None:
        """Replace the contents by rows in order, oldest first."""
        capacity = _START
        while capacity < known.size:
            capacity *= 2
        self._lay_out(known, rows.reshape(known.size, self.width), capacity)
        self._ints[SIZE] = known.size

    def find(self, keys: Hashes) -> Ints:
        """The ring row of each key's newest question, or -1."""
        out = np.empty(keys.size, np.int64)
        _lookup(self.index, self.known, keys, out)
        return out

    def canonical(self) -> dict[str, Any]:
        """The rows in use, oldest first: what a hash or a checkpoint is made of."""
        order = self.order()
        return {"known": self.known[order], "rows": self.rows[order]}
