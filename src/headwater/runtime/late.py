"""The late events: stored in the log, but too late for its watermarks, so that no model has learnt them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Ints
from headwater.log.protocol import EventLog

_NEVER = np.int64(-(2**62))


@dataclass(frozen=True, slots=True)
class LateEvent:
    """One late event.

    Attributes:
        seq: Its place in the log.
        stream, source, id: Which event it is.
        time_ms: Its event time, ms since 1970 UTC.
        behind_ms: How far the newest event of its stream, of those before it in the log, was ahead of it.
    """

    seq: int
    stream: str
    source: str
    id: str
    time_ms: int
    behind_ms: int


def late_events(log: EventLog, seqs: Sequence[int]) -> Iterator[LateEvent]:
    """The events at these places, in order; those that retention has dropped are left out.

    Cost: one pass over the retained log up to the last of them.
    """
    wanted: Ints = np.array(sorted(seqs), np.int64)
    high: dict[str, np.int64] = {}
    first = log.bounds()[0]
    if not wanted.size or wanted[-1] < first:
        return
    for chunk in log.read(first):
        batch, end = chunk.batch, chunk.seq + chunk.batch.n
        mine = wanted[(wanted >= chunk.seq) & (wanted < end)] - chunk.seq
        before = np.empty(batch.n, np.int64)  # the stream's newest event time, up to each row
        for code, name in enumerate(batch.names):
            rows = np.flatnonzero(batch.stream == code)
            if rows.size:
                before[rows] = np.maximum(np.maximum.accumulate(batch.time[rows]), high.get(name, _NEVER))
                high[name] = before[rows[-1]]
        for row in mine.tolist():
            stream, source = batch.names[batch.stream[row]], batch.sources[batch.source[row]]
            time_ms = int(batch.time[row])
            yield LateEvent(chunk.seq + row, stream, source, batch.ids[row], time_ms, int(before[row]) - time_ms)
        if end > wanted[-1]:
            return
