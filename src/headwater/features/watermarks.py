"""Watermarks: which events are late.

A stream's watermark is the least, over its sources, of (newest event time - lateness). It never goes back. An event
before it is late: it changes nothing and goes to the `.late` stream. A slow source holds the watermark back until a
control mark calls it idle, so that regions delayed by minutes lose nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Bytes, Ints
from headwater.core.compiled import inline, kernel
from headwater.core.schema import Schema

UNSEEN = np.int64(-(2**62))
IDLE = np.int64(2**62)


@kernel
def _mark(
    stream: Bytes,
    source: Ints,
    time: Ints,
    skip: Bytes,
    marks: Ints,
    watermark: Ints,
    high: Ints,
    lateness: Ints,
    late: Ints,
    applied: Ints,
    behind: Ints,
) -> None:
    """Set skip[i] = 2 where event i is late, and how far it lies behind its stream's newest; late and applied count."""
    for i in range(stream.size):
        if skip[i]:
            continue
        s, u, t = stream[i], source[i], time[i]
        if t < watermark[s]:
            skip[i] = 2
            late[s, u] += 1
            continue
        behind[i] = max(high[s] - t, 0)
        high[s] = max(high[s], t)
        applied[s, u] += 1
        before = marks[s, u]
        if before in (-(2**62), 2**62) or t > before:
            marks[s, u] = t
            if before == 2**62 or before <= watermark[s] + lateness[s]:  # no other source can have been the slowest
                watermark[s] = max(watermark[s], _slowest(marks[s]) - lateness[s])


@inline
def _slowest(marks: Ints) -> int:
    """The least mark of the sources that have spoken; 2^62 where all are idle or silent."""
    lowest = 2**62
    for j in range(marks.size):
        if marks[j] != -(2**62):
            lowest = min(lowest, marks[j])
    return lowest


@kernel
def _in_order(source: Ints, skip: Bytes, seen: Bytes, out: Ints) -> int:
    """Write the source codes that take part into out in order of first appearance; returns how many."""
    n = 0
    for i in range(source.size):
        if not skip[i] and not seen[source[i]]:
            seen[source[i]] = 1
            out[n] = source[i]
            n += 1
    return n


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
        self._code: dict[str, int] = {}
        self.marks = np.full((len(schemas), 0), UNSEEN)
        self.late = np.zeros((len(schemas), 0), np.int64)
        self.applied = np.zeros((len(schemas), 0), np.int64)

    def codes(self, names: tuple[str, ...]) -> Ints:
        """The codes of source names; new ones are added, in this order."""
        new = [name for name in dict.fromkeys(names) if name not in self._code]
        if new:
            self._code.update({name: len(self.sources) + i for i, name in enumerate(new)})
            self.sources = [*self.sources, *new]  # a new list: a checkpoint may still be writing the old one
            shape = (len(self.streams), len(new))
            self.marks = np.ascontiguousarray(np.hstack([self.marks, np.full(shape, UNSEEN)]))
            self.late = np.ascontiguousarray(np.hstack([self.late, np.zeros(shape, np.int64)]))
            self.applied = np.ascontiguousarray(np.hstack([self.applied, np.zeros(shape, np.int64)]))
        return np.array([self._code[name] for name in names], np.int64)

    def codes_of_rows(self, names: tuple[str, ...], source: npt.NDArray[np.uint16], skip: Bytes) -> Ints:
        """The code of each row's source, int64[n]; new sources are added in the order in which rows bring them.

        A batch may list sources that have no row in it, in any order: the state must not depend on that.
        """
        order = np.zeros(len(names), np.int64)
        n = _in_order(source.astype(np.int64), skip, np.zeros(len(names), np.uint8), order)
        codes = np.zeros(len(names), np.int64)
        codes[order[:n]] = self.codes(tuple(names[i] for i in order[:n]))
        return codes[source]

    def mark(self, stream: Bytes, source: Ints, time: Ints, skip: Bytes) -> Ints:
        """Advance over a batch; skip uint8[n] becomes 2 where an event is late (rows already skipped are passed over).

        Returns how far each event lies behind the newest of its stream; int64[n], ms, 0 for the newest itself.
        """
        behind = np.zeros(time.size, np.int64)
        _mark(
            stream, source, time, skip, self.marks, self.watermark, self.high, self._lateness, self.late, self.applied, behind
        )
        return behind

    def idle(self, source: str) -> None:
        """A control mark: this source does not hold the watermark back until it speaks again."""
        if source not in self._code:
            return
        column = self.marks[:, self._code[source]]
        column[column != UNSEEN] = IDLE
        slowest = np.where(self.marks == UNSEEN, IDLE, self.marks).min(axis=1)
        released = np.where(slowest == IDLE, UNSEEN, slowest - self._lateness)  # nobody left: the watermark stays
        self.watermark = np.maximum(self.watermark, released)

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
        self._code = {name: i for i, name in enumerate(sources)}
        for name in self.arrays():
            setattr(self, name, np.ascontiguousarray(arrays[name]).copy())
