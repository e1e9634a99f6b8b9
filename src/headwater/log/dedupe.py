"""Which ids are already in the log: a hash index that is a fold over it.

Nothing of this is stored. Every process that appends folds the chunks it has not seen, those of others included, before it
looks an id up; it does so inside the write transaction, so that all agree. Ids are forgotten after `dedupe_for` of arrival
time, by a rule that reads the log alone (`Horizon`): live, reopened or in another process, the verdicts are the same.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec
import numpy as np
import numpy.typing as npt

from headwater.core.batch import Ints
from headwater.core.compiled import kernel
from headwater.core.hashing import Hashes
from headwater.log.fingerprints import Fingerprints
from headwater.log.protocol import Verdict

DEDUPE_FOR_MS = 7 * 86_400_000
BEGINNING = -(2**63)
_GENERATIONS = 16  # an id is remembered for `dedupe_for` and at most a sixteenth longer
_FEWEST_SLOTS = 4096
_MAX_FILL, _NEW_FILL = 0.6, 0.4
_ONE, _EMPTY = np.uint64(1), np.uint64(0)
_ALL_FORGOTTEN = np.uint64(2**64 - 1)
_ACCEPTED, _DUPLICATE, _CONFLICT = int(Verdict.ACCEPTED), int(Verdict.DUPLICATE), int(Verdict.CONFLICT)

Slots = npt.NDArray[np.uint64]  # [n, 4]: identity (two words), payload, seq + 1; all zero where empty


class Horizon(msgspec.Struct, frozen=True, array_like=True):
    """How far back ids are known, as a fold over the arrival times of the log's chunks.

    Attributes:
        high_us: The arrival high mark, microseconds since 1970 UTC.
        floor: Ids of rows before this seq are forgotten.
        marks: (high mark before seq, seq), one or two for each sixteenth of the time ids are kept.
    """

    high_us: int = BEGINNING
    floor: int = 0
    marks: tuple[tuple[int, int], ...] = ()

    def advanced(self, seq: int, arrival_us: int, dedupe_for_us: int) -> Horizon:
        """The horizon after a chunk at `seq` whose newest row arrived at `arrival_us`."""
        high, marks, floor = max(self.high_us, arrival_us), self.marks, self.floor
        if self.high_us > BEGINNING and (not marks or high - marks[-1][0] > dedupe_for_us // _GENERATIONS):
            marks = (*marks, (self.high_us, seq))
        n_old = bisect_right(marks, high - dedupe_for_us, key=lambda mark: mark[0])
        if n_old:
            floor = max(floor, marks[n_old - 1][1])
        return Horizon(high, floor, marks[n_old:])


@kernel
def _admit(
    slots: Slots, left: Hashes, right: Hashes, payload: Hashes, floor: np.uint64, mark: np.uint64,
    verdict: npt.NDArray[np.uint8], seq: Ints,
) -> int:  # fmt: skip
    """Look up and enter n rows in order; `floor` and `mark` are seq + 1. Returns how many empty slots were taken."""
    mask = np.uint64(slots.shape[0] - 1)
    n_taken = 0
    for i in range(left.size):
        at = left[i] & mask
        while slots[at, 3] != _EMPTY and not (slots[at, 0] == left[i] and slots[at, 1] == right[i]):
            at = (at + _ONE) & mask
        found = slots[at, 3]
        if found != _EMPTY and found >= floor:
            verdict[i] = _DUPLICATE if slots[at, 2] == payload[i] else _CONFLICT
            seq[i] = np.int64(found - _ONE)
            continue
        n_taken += found == _EMPTY
        slots[at, 0], slots[at, 1], slots[at, 2], slots[at, 3] = left[i], right[i], payload[i], mark
        verdict[i] = _ACCEPTED
        seq[i] = np.int64(mark - _ONE)
        mark += _ONE
    return n_taken


@kernel
def _rehash(old: Slots, floor: np.uint64, end: np.uint64, new: Slots) -> int:
    """Move the entries with floor <= seq + 1 < end; returns how many."""
    mask = np.uint64(new.shape[0] - 1)
    n_moved = 0
    for i in range(old.shape[0]):
        mark = old[i, 3]
        if mark == _EMPTY or mark < floor or mark >= end:
            continue
        at = old[i, 0] & mask
        while new[at, 3] != _EMPTY:
            at = (at + _ONE) & mask
        for k in range(4):  # a slice would be compiled for seconds: numba spells out its error of shapes
            new[at, k] = old[i, k]
        n_moved += 1
    return n_moved


class DedupeIndex:
    """Identity of a row -> its payload hash and seq; open addressing, 32 bytes a slot, 53-80 bytes an id.

    `end` is the seq up to which the log has been folded. `admit` only stages rows: they count once `keep` is called, and are
    taken back by the next `undo` otherwise. Not safe for concurrent use: the log that owns it holds a lock.
    """

    def __init__(self, end: int = 0) -> None:
        self.end = end
        self._slots: Slots = _slots(0)
        self._n_taken = 0
        self._is_staged = False

    def __len__(self) -> int:
        """Slots taken, by forgotten ids too until the next rehash."""
        return self._n_taken

    def fold(self, seq: int, prints: Fingerprints, floor: int) -> None:
        """Enter the rows of a stored chunk: they are in the log, whatever was known before."""
        self._enter(prints, floor, seq, everything=True)
        self.end = seq + prints.left.size

    def admit(self, prints: Fingerprints, floor: int, seq: int) -> tuple[npt.NDArray[np.uint8], Ints]:
        """Decide on rows that are to be stored from `seq` on; (verdicts uint8[n], seqs int64[n]) as in `Receipt`."""
        self._is_staged = True
        return self._enter(prints, floor, seq, everything=False)

    def keep(self, end: int) -> None:
        """The rows admitted since the last call are committed; the log now ends at `end`."""
        self.end, self._is_staged = end, False

    def undo(self) -> None:
        """Take back rows that were admitted and not committed; free when there are none."""
        if self._is_staged:
            self._resize(0, 0, self.end)
            self._is_staged = False

    def reserve(self, n_more: int, floor: int) -> None:
        """Make room for `n_more` rows now: moving ten million ids takes most of a second, better spent outside any lock."""
        if self._n_taken + n_more > _MAX_FILL * len(self._slots):
            self._resize(n_more, floor, self.end)

    def _enter(self, prints: Fingerprints, floor: int, seq: int, *, everything: bool) -> tuple[npt.NDArray[np.uint8], Ints]:
        n = prints.left.size
        if self._n_taken + n > _MAX_FILL * len(self._slots):
            self._resize(n, floor, seq)
        verdict, seqs = np.empty(n, np.uint8), np.empty(n, np.int64)
        known_from = _ALL_FORGOTTEN if everything else np.uint64(floor + 1)
        self._n_taken += _admit(
            self._slots, prints.left, prints.right, prints.payload, known_from, np.uint64(seq + 1), verdict, seqs
        )
        return verdict, seqs

    def _resize(self, n_more: int, floor: int, end: int) -> None:
        """Move what is known from `floor` up to `end` to a table with room for `n_more`."""
        last = np.uint64(end + 1)
        marks = self._slots[:, 3]
        n_known = int(np.count_nonzero((marks > np.uint64(floor)) & (marks < last)))
        new = _slots(n_known + n_more)
        self._n_taken = _rehash(self._slots, np.uint64(floor + 1), last, new)
        self._slots = new


def _slots(n_ids: int) -> Slots:
    n = max(_FEWEST_SLOTS, 1 << int(np.ceil(n_ids / _NEW_FILL)).bit_length())
    return np.zeros((n, 4), np.uint64)
