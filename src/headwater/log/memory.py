"""The event log in memory, for tests, notebooks and replays: the same answers as on disk, and gone with the process."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator

from headwater.core.batch import Batch
from headwater.core.clock import Clock, SystemClock
from headwater.core.codec import decode
from headwater.core.crashpoints import crashpoint
from headwater.log.admission import Candidate, admit, candidates, receipt
from headwater.log.chunks import HEADER_BYTES, Header, pieces
from headwater.log.counts import added, tally
from headwater.log.dedupe import DEDUPE_FOR_MS, DedupeIndex
from headwater.log.protocol import Chunk, Counts, Receipt
from headwater.log.state import State


class MemoryLog:
    """An `EventLog` in this process. Threads may share one.

    Args:
        dedupe_for_ms: How long an id is known, in arrival time. Rows that retention drops are forgotten with it.
        clock: Bounds the high marks.
    """

    def __init__(self, *, dedupe_for_ms: int = DEDUPE_FOR_MS, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._dedupe_for_us = dedupe_for_ms * 1000
        self._appending = threading.Lock()
        self._index = DedupeIndex()
        self._state = State()
        self._chunks: list[tuple[int, Header, bytes]] = []  # first seq, header, encoded batch
        self._counts: dict[str, Counts] = {}

    def append(self, batch: Batch) -> Receipt:
        """See `EventLog.append`."""
        parts = candidates(batch)
        crashpoint("log.encoded")
        with self._appending:
            answer = self._append(parts)
            self._index.keep(answer.end)
        crashpoint("log.committed")
        return answer

    def _append(self, parts: list[Candidate]) -> Receipt:
        self._index.undo()
        state, done, chunks, counts = self._state, [], [], dict(self._counts)
        for part in parts:
            admission = admit(part, self._index, state.floor, state.end)
            for source, more in tally(part.batch, admission.verdict).items():
                counts[source] = added(counts.get(source, Counts()), more)
            if admission.batch.n:
                header = state.header(admission.batch, self._clock)
                chunks.append((state.end, header, admission.payload))
                n_bytes = HEADER_BYTES + len(admission.payload)
                state = state.appended(header, 0, n_bytes, self._dedupe_for_us)
            done.append(admission)
        crashpoint("log.put")
        self._chunks += chunks
        self._state, self._counts = state, counts
        return receipt(done, state.end)

    def read(self, seq: int, max_events: int = 65_536) -> Iterator[Chunk]:
        """See `EventLog.read`. A place that the log does not have is refused at once."""
        end = self._state.end
        self._state.require(seq)
        return self._read(seq, end, max_events)

    def _read(self, seq: int, end: int, max_events: int) -> Iterator[Chunk]:
        while seq < end:
            with self._appending:
                self._state.require(seq)
                base, _, payload = self._chunks[bisect_right(self._chunks, seq, key=lambda stored: stored[0]) - 1]
            batch = decode(payload)
            yield from pieces(base, batch, seq, max_events)
            seq = base + batch.n

    def bounds(self) -> tuple[int, int]:
        """See `EventLog.bounds`."""
        state = self._state
        return state.first, state.end

    def counts(self) -> dict[str, Counts]:
        """See `EventLog.counts`."""
        return dict(sorted(self._counts.items()))

    @property
    def n_forgotten(self) -> int:
        """Rows whose ids are no longer known: expired, or dropped by retention."""
        return self._state.floor

    def retain(self, *, max_age_ms: int | None = None, max_bytes: int | None = None, keep_from: int | None = None) -> int:
        """See `EventLog.retain`."""
        with self._appending:
            while self._chunks and self._state.may_drop(self._chunks[0][1], max_age_ms, max_bytes, keep_from):
                _, header, payload = self._chunks.pop(0)
                self._state = self._state.dropped(header, HEADER_BYTES + len(payload))
            return self._state.first

    def close(self) -> None:
        """See `EventLog.close`; the events are gone with the object, not before."""
