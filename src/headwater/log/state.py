"""What an event log knows of itself besides its chunks: both ends, the chain's ends, the high marks."""

from __future__ import annotations

import msgspec
import numpy as np

from headwater.core.batch import Batch
from headwater.core.clock import Clock
from headwater.core.errors import EventsDropped, WrongState
from headwater.log.chunks import Header
from headwater.log.dedupe import BEGINNING, Horizon


class State(msgspec.Struct, frozen=True, array_like=True):
    """Changes with each append and each retention, in their transactions.

    Attributes:
        first: First retained seq.
        end: Next seq.
        before: Checksum of the chunk before `first`; 0 at the log's beginning.
        last: Checksum of the last chunk.
        n_bytes: Bytes of the retained chunks.
        time_high_ms: Event-time high mark of the events; system streams do not move it.
        horizon: How far back ids are known.
    """

    first: int = 0
    end: int = 0
    before: int = 0
    last: int = 0
    n_bytes: int = 0
    time_high_ms: int = BEGINNING
    horizon: Horizon = Horizon()

    @property
    def floor(self) -> int:
        """Ids of rows before this seq are forgotten: they expired, or their rows were dropped."""
        return max(self.horizon.floor, self.first)

    def header(self, batch: Batch, clock: Clock) -> Header:
        """The header of the chunk that `batch` would be if it were stored next.

        High marks go no further than this machine's clock: one row from a clock that is years ahead must not make the log
        forget every id, or drop every chunk.
        """
        now_us = clock.now_us()
        events = np.array([not name.startswith("_") for name in batch.names])[batch.stream]
        newest_ms = int(batch.time[events].max()) if events.any() else BEGINNING
        return Header(
            batch.n,
            self.last,
            int(batch.time.min()),
            int(batch.time.max()),
            max(self.time_high_ms, min(newest_ms, now_us // 1000)),
            max(self.horizon.high_us, min(int(batch.arrival.max()), now_us)),
        )

    def appended(self, header: Header, checksum: int, n_bytes: int, dedupe_for_us: int) -> State:
        """The state once a chunk with this header lies at the end."""
        return State(
            self.first,
            self.end + header.n,
            self.before,
            checksum,
            self.n_bytes + n_bytes,
            header.time_high_ms,
            self.horizon.advanced(self.end, header.arrival_high_us, dedupe_for_us),
        )

    def dropped(self, header: Header, n_bytes: int) -> State:
        """The state once the first chunk is gone."""
        return State(
            self.first + header.n,
            self.end,
            header.checksum,
            self.last,
            self.n_bytes - n_bytes,
            self.time_high_ms,
            self.horizon,
        )

    def may_drop(self, header: Header, max_age_ms: int | None, max_bytes: int | None, keep_from: int | None) -> bool:
        """Whether the first chunk is beyond the age or the size, and nobody needs it."""
        if keep_from is not None and self.first + header.n > keep_from:
            return False
        is_old = max_age_ms is not None and self.time_high_ms - header.time_high_ms > max_age_ms
        return is_old or (max_bytes is not None and self.n_bytes > max_bytes)

    def require(self, seq: int) -> None:
        """Refuse to read from a place that the log does not have.

        Raises:
            EventsDropped: `seq` is before the first retained row.
            WrongState: `seq` is beyond the end: whoever asks has seen another log.
        """
        if seq < self.first:
            raise EventsDropped(seq, self.first)
        if seq > self.end:
            raise WrongState(
                "the reader is ahead of the log", where=f"log, seq {seq}", expected=f"at most {self.end}, the log's end",
                next_step="Was the log replaced or restored from an older copy? Point both at the same one.",
            )  # fmt: skip
