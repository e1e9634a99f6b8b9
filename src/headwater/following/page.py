"""Some rows of one stream, and where to read on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Batch, Column, Frame, Ints, Text, frame, single
from headwater.core.schema import Schema

_ENVELOPE_BYTES = 64  # of a row's numbers: seq, time, arrival, and what holds them
_NO_ROWS: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Rows of one stream in their order.

    Attributes:
        stream: Its name.
        seq: Each row's place, int64[n], ascending.
        rows: The rows in columns, all of that stream.
        next: The place to read on from: every row before it has been given.
        end: The end when this was read; `next` is there once nothing is left.
        is_notices: The only field is `data`, the text of a JSON object.
    """

    stream: str
    seq: Ints
    rows: Batch
    next: int
    end: int
    is_notices: bool = False

    @property
    def n(self) -> int:
        return self.rows.n

    def part(self, start: int, stop: int) -> Page:
        """Rows `start` to `stop`; its `next` leads to the row after them. Nothing is copied."""
        if (start, stop) == (0, self.n):
            return self
        following = int(self.seq[stop]) if stop < self.n else self.next
        rows = _view(self.rows, self.stream, start, stop)
        return Page(self.stream, self.seq[start:stop], rows, following, self.end, self.is_notices)


def _view(rows: Batch, stream: str, start: int, stop: int) -> Batch:
    """Rows of a batch of one stream. `Batch.slice` takes any rows, and looks at all of them for each one taken."""

    def text(whole: Text) -> Text:
        return Text(whole.offsets[start : stop + 1], whole.data)

    def column(whole: Column) -> Column:
        values = text(whole.values) if isinstance(whole.values, Text) else whole.values[start:stop]
        return Column(values, None if whole.valid is None else whole.valid[start:stop])

    frame = Frame(stop - start, {name: column(held) for name, held in rows.frames[stream].columns.items()})
    return Batch(
        stop - start, rows.names, rows.stream[start:stop], rows.time[start:stop], rows.arrival[start:stop], rows.sources,
        rows.source[start:stop], text(rows.ids), {stream: frame},
    )  # fmt: skip


def without_rows(schema: Schema, following: int, end: int) -> Page:
    """A page that only leads on; it has the stream's columns all the same."""
    rows = single(schema, frame(schema, []), _NO_ROWS, Text.of([]))
    return Page(schema.stream, _NO_ROWS, rows, following, end)


def weights(rows: Batch, stream: str) -> Ints:
    """About how many bytes each row takes, int64[n]; `rows` are all of that stream."""
    out = np.full(rows.n, _ENVELOPE_BYTES, np.int64) + np.diff(rows.ids.offsets)
    for column in rows.frames[stream].columns.values():
        out += np.diff(column.values.offsets) if isinstance(column.values, Text) else column.values.itemsize
    return out
