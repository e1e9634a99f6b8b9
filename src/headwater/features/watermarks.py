"""Watermarks: which events are late.

A stream's watermark is the least, over its sources, of (newest event time - lateness). It never goes back. An event
before it is late: it changes nothing and goes to the `.late` stream. A slow source holds the watermark back until a
control mark calls it idle, so that regions delayed by minutes lose nothing.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Ints
from headwater.core.compiled import kernel
from headwater.core.schema import Schema

UNSEEN = np.int64(-(2**62))
IDLE = np.int64(2**62)


@kernel
def _mark(
    stream: Bytes, source: Ints, time: Ints, skip: Bytes, marks: Ints, watermark: Ints, high: Ints, lateness: Ints, late: Ints,
    applied: Ints,
) -> None:
    """Set skip[i] = 2 where event i is late; late[s, source] and applied[s, source] count."""
    for i in range(stream.size):
        if skip[i]:
            continue
        s, u, t = stream[i], source[i], time[i]
        if t < watermark[s]:
            skip[i] = 2
            late[s, u] += 1
            continue
        high[s] = max(high[s], t)
        applied[s, u] += 1
        before = marks[s, u]
        if before == -(2**62) or before == 2**62 or t > before:
            marks[s, u] = t
            lowest = np.int64(2**62)
            for j in range(marks.shape[1]):
                if marks[s, j] != -(2**62):
                    lowest = min(lowest, marks[s, j])
            watermark[s] = max(watermark[s], lowest - lateness[s])


class Watermarks:
    """The watermark of each stream, and the counts of late events.

    Attributes:
        watermark: int64[streams], ms.
        high: int64[streams], the newest event time that was not late, ms.
        late, applied: int64[streams, sources], events.
        sources: Source names in order of first appearance.
    """

    def __init__(self, schemas: list[Schema]) -> None:
        self.streams = [s.stream for s in schemas]
        self._lateness = np.array([s.lateness_ms for s in schemas], np.int64)
        self.watermark = np.full(len(schemas), UNSEEN)
        self.high = np.full(len(schemas), UNSEEN)
        self.sources: list[str] = []
        self.marks = np.full((len(schemas), 0), UNSEEN)
        self.late = np.zeros((len(schemas), 0), np.int64)
        self.applied = np.zeros((len(schemas), 0), np.int64)

    def codes(self, names: tuple[str, ...]) -> Ints:
        """The codes of source names; new ones are added."""
        for name in names:
            if name not in self.sources:
                self.sources.append(name)
                column = np.full((len(self.streams), 1), UNSEEN)
                self.marks = np.ascontiguousarray(np.hstack([self.marks, column]))
                self.late = np.ascontiguousarray(np.hstack([self.late, np.zeros_like(column)]))
                self.applied = np.ascontiguousarray(np.hstack([self.applied, np.zeros_like(column)]))
        return np.array([self.sources.index(n) for n in names], np.int64)

    def mark(self, stream: Bytes, source: Ints, time: Ints, skip: Bytes) -> None:
        """Advance over a batch; skip uint8[n] becomes 2 where an event is late (rows already skipped are passed over)."""
        _mark(stream, source, time, skip, self.marks, self.watermark, self.high, self._lateness, self.late, self.applied)

    def idle(self, source: str) -> None:
        """A control mark: this source does not hold the watermark back until it speaks again."""
        if source in self.sources:
            column = self.marks[:, self.sources.index(source)]
            column[column != UNSEEN] = IDLE

    def high_mark(self) -> int:
        """The newest event time of any stream, ms; 0 before the first event."""
        newest = int(self.high.max(initial=UNSEEN))
        return 0 if newest == UNSEEN else newest

    def arrays(self) -> dict[str, Ints]:
        """What has to be kept, beside `sources`; names are part of the format."""
        return {
            "marks": self.marks, "late": self.late, "applied": self.applied, "watermark": self.watermark, "high": self.high,
        }  # fmt: skip

    def restore(self, sources: list[str], arrays: dict[str, Ints]) -> None:
        self.sources = list(sources)
        for name in self.arrays():
            setattr(self, name, np.ascontiguousarray(arrays[name]).copy())
