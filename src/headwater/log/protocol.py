"""What the loop and the door may ask of an event log, whichever engine holds it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Batch, Ints


class Verdict(enum.IntEnum):
    """What became of one appended row."""

    ACCEPTED = 0
    DUPLICATE = 1  # same source, id and payload as an earlier row: stored once
    CONFLICT = 2  # same source and id, another payload: the first one stands


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """The answer to an append: by the time it is returned, accepted rows are on disk.

    Attributes:
        verdict: `Verdict` of each row, uint8[n].
        seq: Each accepted row's place in the log, or the place of the earlier row with its id; int64[n].
        end: The log's end right after the append.
    """

    verdict: npt.NDArray[np.uint8]
    seq: Ints
    end: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What arrived from one source, counted in the transactions that stored it."""

    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0  # dead letters: rows of the `_dead` stream


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows that lie together in the log: `batch` row i has the sequence number `seq + i`."""

    seq: int
    batch: Batch


class EventLog(Protocol):
    """An append-only, durable, deduplicated sequence of events, in one global order.

    Every accepted row gets the next `seq`. Any number of processes may append and read.
    """

    def append(self, batch: Batch) -> Receipt:
        """Store the rows that are new, in order, durably; group commit is the caller's (one batch, one commit).

        Raises:
            DiskFull: Nothing of the batch was stored.
            CorruptData: The log's end cannot be trusted; nothing was stored.
        """

    def read(self, seq: int, max_events: int = 65_536) -> Iterator[Chunk]:
        """Chunks from `seq` to the end as it is now, each of 1 to `max_events` rows; the first may start inside a stored one.

        Raises:
            EventsDropped: `seq` is before the first retained row, or retention overtook the reader.
            WrongState: `seq` is beyond the end: the reader has seen another log.
            CorruptData: A stored chunk is missing, moved or changed; the message names it.
        """

    def bounds(self) -> tuple[int, int]:
        """(first retained seq, next seq)."""

    def counts(self) -> dict[str, Counts]:
        """Totals by source since the log was made; retention does not lower them."""

    def retain(self, *, max_age_ms: int | None = None, max_bytes: int | None = None, keep_from: int | None = None) -> int:
        """Drop whole chunks from the start that are older or beyond the size; returns the new first seq.

        A chunk's age is how far the event-time high mark has risen since it was appended; `max_bytes` is of all retained
        chunks. Nothing at or after `keep_from` is dropped. Ids of dropped rows are forgotten with them.
        """

    def close(self) -> None:
        """Release files; appends that returned are already durable. Closing twice is allowed."""
