"""JSON bodies to windows: a batch whose row i is event i of the piece, and what became of each event.

Plain JSON lines are read by the compiled scanner. Else the good path is one typed decode of the whole piece. If that fails
for an unknown member, the same again with such members ignored (and counted); if that fails too, event by event, so that
only the bad ones are refused.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import msgspec
import numpy as np

from headwater.core.batch import Batch, Ints
from headwater.core.schema import DEAD
from headwater.ingest import cloudevents
from headwater.ingest.columns import assemble
from headwater.ingest.examine import examine, is_deeper
from headwater.ingest.letters import Bad, Letter, letter
from headwater.ingest.limits import Limits
from headwater.ingest.scan import Scanner
from headwater.ingest.shapes import DEFAULT_SOURCE, Row, Shapes
from headwater.ingest.splitting import PIECE_BYTES, count_lines, cut_lines, groups, items, lines

FAILURES = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)  # of a decoder; UnicodeDecodeError is a ValueError

_RUN = 64  # lines
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(slots=True)
class Decoded:
    """Some events of a request, not in columns yet.

    Attributes:
        rows: Row or letter of each event.
        refuse: Makes the dead letter for row i, from its original text.
        arrival_us: When they arrived, microseconds since 1970 UTC.
        ignored: As in `Window`.
        n_bytes: Length of their texts.
    """

    rows: list[Row]
    refuse: Callable[[int, Bad], Letter]
    arrival_us: int
    ignored: Counter[tuple[str, str]]
    n_bytes: int

    @property
    def n(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Window:
    """Some events of a request, ready to be appended.

    Attributes:
        batch: Row `first + i` is event i, or the dead letter in its place.
        letters: The dead letters, by row.
        refuse: Makes the dead letter for event i, from its original text.
        ignored: How many events had a member that the schema does not know, by (stream, member).
        first: Where its rows begin; before and after them lie other requests'.
        n: How many events it has; all rows of the batch unless given.
    """

    batch: Batch
    letters: dict[int, Letter]
    refuse: Callable[[int, Bad], Letter]
    ignored: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: int = 0
    n: int = -1

    def __post_init__(self) -> None:
        self.n = self.batch.n if self.n < 0 else self.n

    @property
    def own(self) -> Batch:
        """The window's rows only."""
        return self.batch if self.n == self.batch.n else self.batch.slice(self.first, self.first + self.n)


@dataclass
class Piece:
    """Texts of events that are decoded together.

    Attributes:
        text: JSON lines, or one JSON array.
        is_array: It is an array.
        known: The texts one by one, where they are known already.
    """

    text: bytes
    is_array: bool = False
    known: list[bytes] | None = None

    @cached_property
    def events(self) -> list[bytes]:
        """The text of each event."""
        if self.known is not None:
            return self.known
        return items(self.text) if self.is_array else lines(self.text)

    def matches(self, n: int) -> bool:
        """Whether `n` decoded events are one for each line: the decoder takes any white space for a line's end."""
        ends = count_lines(self.text) + (not self.text.endswith(b"\n"))
        return self.is_array or n == ends or n == len(self.events)


def pieces(body: bytes, *, is_lines: bool) -> Iterator[Piece]:
    """A body in pieces: JSON lines, a JSON array, or a single event."""
    if is_lines:
        yield from (Piece(text) for text in cut_lines(body))
    elif not body.lstrip().startswith(b"["):
        yield Piece(body, known=[body])
    elif len(body) <= PIECE_BYTES:
        yield Piece(body, is_array=True)
    else:
        for run in groups(items(body)):
            yield Piece(b"[" + b",".join(run) + b"]", is_array=True, known=run)


def batch_of(shapes: Shapes, letters: list[Letter], arrival_us: int) -> Batch:
    """Dead letters as a batch of their own."""
    return assemble(shapes, letters, arrival_us, never)[0]


def never(i: int, bad: Bad) -> Letter:
    """Refuses a row of a batch of letters, in which nothing is checked."""
    raise AssertionError((i, bad.code))


def join(shapes: Shapes, parts: Sequence[Decoded]) -> list[Window]:
    """Windows that lie one after another in one batch: columns cost the same for one event as for fifty."""
    starts = list(accumulate((p.n for p in parts), initial=0))

    def refuse(i: int, bad: Bad) -> Letter:
        part = bisect_right(starts, i) - 1
        return parts[part].refuse(i - starts[part], bad)

    rows = list(chain.from_iterable(p.rows for p in parts))
    arrival: Ints = np.repeat(np.array([p.arrival_us for p in parts], np.int64), np.diff(starts))
    batch, kept = assemble(shapes, rows, arrival, refuse)
    windows = []
    for start, p in zip(starts, parts, strict=False):
        mine = enumerate(kept[start : start + p.n]) if DEAD in batch.frames else ()
        windows.append(Window(batch, {i: row for i, row in mine if type(row) is Letter}, p.refuse, p.ignored, start, p.n))
    return windows


class Decoder:
    """Decodes pieces of JSON against the declared streams."""

    def __init__(self, shapes: Shapes, limits: Limits) -> None:
        self.shapes, self.limits = shapes, limits
        self._scanners = {name: Scanner(shape.schema) for name, shape in shapes.by_stream.items()}

    def scanned(self, piece: Piece, stream: str | None, arrival_us: int) -> Window | None:
        """Plain JSON lines of one stream, read to columns at once; None where the typed decoders must look."""
        if stream is None or piece.is_array or piece.known is not None:
            return None
        batch = self._scanners[stream].batch(piece.text, arrival_us, self.limits.max_event_bytes)

        def refuse(i: int, bad: Bad) -> Letter:
            limit = self.limits.max_event_bytes
            return letter(bad, piece.events[i], source=DEFAULT_SOURCE, stream=stream, max_bytes=limit)

        return None if batch is None else Window(batch, {}, refuse)

    def window(self, piece: Piece, stream: str | None, arrival_us: int, *, cloud: bool = False) -> Window | None:
        """`decoded`, in columns."""
        if not cloud and (window := self.scanned(piece, stream, arrival_us)) is not None:
            return window
        found = self.decoded(piece, stream, arrival_us, cloud=cloud)
        return None if found is None else join(self.shapes, [found])[0]

    def decoded(self, piece: Piece, stream: str | None, arrival_us: int, *, cloud: bool = False) -> Decoded | None:
        """The events of a piece; None if there is none in it. Never raises for what is in the piece."""
        ignored: Counter[tuple[str, str]] = Counter()
        rows = self._typed(piece, stream, ignored, cloud=cloud)
        if rows is None:
            rows = self._sorted_out(piece, stream, ignored, cloud=cloud)
        if not rows:
            return None
        n_bytes = len(piece.text) or sum(map(len, piece.events))
        return Decoded(rows, self._refuser(rows, piece, stream), arrival_us, ignored, n_bytes)

    def _typed(self, piece: Piece, stream: str | None, ignored: Counter[tuple[str, str]], *, cloud: bool) -> list[Row] | None:
        if (
            len(piece.text) > self.limits.max_event_bytes
            and max(map(len, piece.events), default=0) > self.limits.max_event_bytes
        ):
            return None
        for strict in (True, False):
            try:
                rows = self._rows(piece, stream, strict=strict, cloud=cloud)
            except FAILURES:
                continue
            if not piece.matches(len(rows)):
                return None
            if not strict and not self._count_ignored(rows, piece, ignored, cloud=cloud):
                return None
            return rows
        return None

    def _rows(self, piece: Piece, stream: str | None, *, strict: bool, cloud: bool) -> list[Row]:
        if cloud:
            return cloudevents.rows(self.shapes, piece.text, stream, is_array=piece.is_array, strict=strict)
        decoder: Any
        if piece.is_array:
            decoder = self.shapes.list_decoder(stream, strict=strict)
            return decoder.decode(piece.text)  # type: ignore[no-any-return]
        decoder = self.shapes.decoder(stream, strict=strict)
        return [decoder.decode(piece.text)] if piece.known else decoder.decode_lines(piece.text)

    def _count_ignored(self, rows: list[Row], piece: Piece, ignored: Counter[tuple[str, str]], *, cloud: bool) -> bool:
        """Count unknown members; False where an event nests too deep."""
        if any(is_deeper(text, self.limits.max_depth) for text in piece.events):
            return False
        for row, text in zip(rows, piece.events, strict=True):
            self._count_members(row, text, ignored, cloud=cloud)
        return True

    def _count_members(self, row: Row, text: bytes, ignored: Counter[tuple[str, str]], *, cloud: bool) -> None:
        members: Iterable[str]
        try:
            members = cloudevents.data_members(text) if cloud else _members.decode(text)
        except FAILURES:
            return
        name = self.shapes.stream_of[type(row)]
        ignored.update((name, m) for m in self.shapes.by_stream[name].members.symmetric_difference(members) & set(members))

    def _sorted_out(self, piece: Piece, stream: str | None, ignored: Counter[tuple[str, str]], *, cloud: bool) -> list[Row]:
        """A piece with something bad in it: lines by the run first, since most runs are good, then one by one."""
        if piece.is_array or piece.known is not None or len(piece.events) <= _RUN:
            return [self._one(text, stream, ignored, cloud=cloud) for text in piece.events]
        rows: list[Row] = []
        for start in range(0, len(piece.events), _RUN):
            run = Piece(b"\n".join(piece.events[start : start + _RUN]))
            found = self._typed(run, stream, ignored, cloud=cloud)
            rows += self._sorted_out(run, stream, ignored, cloud=cloud) if found is None else found
        return rows

    def _one(self, text: bytes, stream: str | None, ignored: Counter[tuple[str, str]], *, cloud: bool) -> Row:
        """One event: typed if it decodes, else by the patient reader."""
        single = Piece(text, known=[text])
        rows = None if is_deeper(text, self.limits.max_depth) else self._typed(single, stream, ignored, cloud=cloud)
        if rows is not None:
            return rows[0]
        row = examine(self.shapes, self.limits, text, stream, cloud=cloud)
        if type(row) is not Letter:
            self._count_members(row, text, ignored, cloud=cloud)
        return row

    def _refuser(self, rows: list[Row], piece: Piece, stream: str | None) -> Callable[[int, Bad], Letter]:
        def refuse(i: int, bad: Bad) -> Letter:
            row = rows[i]
            raw = piece.events[i] if len(piece.events) == len(rows) else msgspec.json.encode(row)
            name = stream or self.shapes.stream_of[type(row)]
            return letter(bad, raw, source=row.source, stream=name, max_bytes=self.limits.max_event_bytes)

        return refuse
