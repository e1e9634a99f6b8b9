"""One stream of the log: its rows lie between those of others, under the log's own seq."""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Batch, Ints, concat
from headwater.core.errors import EventsDropped
from headwater.core.schema import Schema
from headwater.following.page import Page, weights, without_rows
from headwater.log.protocol import Chunk, EventLog

_PIECE_EVENTS = 8192
_LOOK_EVENTS = 1 << 18  # rows of all streams that one read looks through: a rare stream must not make it endless


class LogStream:
    """A `Followed` stream of events. Reads hold no transaction of the log open once they return.

    Args:
        log: The log.
        schema: The stream's.
    """

    def __init__(self, log: EventLog, schema: Schema) -> None:
        self._log, self._schema = log, schema

    def bounds(self) -> tuple[int, int]:
        """See `Followed.bounds`; the log's own."""
        return self._log.bounds()

    def read(self, start: int, limit: int, max_bytes: int) -> Page:
        """See `Followed.read`. Cost: decoding what lies between, at most 262,144 rows of all streams and a chunk."""
        found = _Gathered(self._schema, start, limit, max_bytes)
        end = self._log.bounds()[1]
        try:
            for chunk in self._log.read(start, _PIECE_EVENTS):
                found.add(chunk)
                if found.is_full or found.next - start >= _LOOK_EVENTS:
                    break
        except EventsDropped:
            if not found.parts:  # else retention overtook us: what was read is given, and the next read is told
                raise
        return found.page(max(end, found.next))


class _Gathered:
    """What one read has found so far."""

    def __init__(self, schema: Schema, start: int, limit: int, max_bytes: int) -> None:
        self.next, self.parts, self.is_full = start, list[Batch](), False
        self._schema, self._stream, self._room, self._bytes = schema, schema.stream, limit, max_bytes
        self._seqs: list[Ints] = []

    def add(self, chunk: Chunk) -> None:
        places = chunk.batch.rows_of(self._stream)
        rows = chunk.batch.take(places[: self._room])
        fit = rows.n
        if rows.n:
            sizes = np.cumsum(weights(rows, self._stream))
            fit = int(np.searchsorted(sizes, self._bytes, "right"))
            fit = max(fit, 0 if self.parts else 1)
        if fit:
            self.parts.append(rows if fit == rows.n else rows.slice(0, fit))
            self._seqs.append(chunk.seq + places[:fit])
            self._room -= fit
            self._bytes -= int(sizes[fit - 1])
        self.is_full = fit < places.size or self._room == 0
        self.next = chunk.seq + (int(places[fit]) if fit < places.size else chunk.batch.n)

    def page(self, end: int) -> Page:
        if not self.parts:
            return without_rows(self._schema, self.next, end)
        return Page(self._stream, np.concatenate(self._seqs), concat(self.parts), self.next, end)
