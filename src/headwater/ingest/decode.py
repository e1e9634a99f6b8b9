"""JSON bodies to windows: a batch whose row i is event i of the piece, and what became of each event.

The good path is one typed decode of the whole piece. If that fails for an unknown member, the same again with such
members ignored (and counted); if that fails too, event by event, so that only the bad ones are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from headwater.core.batch import Batch
from headwater.core.schema import DEAD
from headwater.ingest import cloudevents
from headwater.ingest.columns import assemble
from headwater.ingest.examine import examine, is_deeper
from headwater.ingest.letters import Bad, Letter, letter
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Row, Shapes
from headwater.ingest.splitting import PIECE_BYTES, count_lines, cut_lines, groups, items, lines

FAILURES = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)  # of a decoder; UnicodeDecodeError is a ValueError

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(slots=True)
class Window:
    """Some events of a request, ready to be appended.

    Attributes:
        batch: Row i is event i, or the dead letter in its place.
        letters: The dead letters, by row.
        refuse: Makes the dead letter for row i, from its original text.
        ignored: How many events had a member that the schema does not know, by (stream, member).
    """

    batch: Batch
    letters: dict[int, Letter]
    refuse: Callable[[int, Bad], Letter]
    ignored: Counter[tuple[str, str]] = field(default_factory=Counter)


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


class Decoder:
    """Decodes pieces of JSON against the declared streams."""

    def __init__(self, shapes: Shapes, limits: Limits) -> None:
        self.shapes, self.limits = shapes, limits

    def window(self, piece: Piece, stream: str | None, arrival_us: int, *, cloud: bool = False) -> Window | None:
        """The piece as a window; None if there is no event in it. Never raises for what is in the piece."""
        ignored: Counter[tuple[str, str]] = Counter()
        rows = self._typed(piece, stream, ignored, cloud=cloud)
        if rows is None:
            rows = [self._one(text, stream, ignored, cloud=cloud) for text in piece.events]
        return self.assembled(rows, piece, stream, arrival_us, ignored) if rows else None

    def assembled(
        self, rows: list[Row], piece: Piece, stream: str | None, arrival_us: int, ignored: Counter[tuple[str, str]]
    ) -> Window:
        batch, kept = assemble(self.shapes, rows, arrival_us, refuse := self._refuser(rows, piece, stream))
        letters = {i: row for i, row in enumerate(kept) if type(row) is Letter} if DEAD in batch.frames else {}
        return Window(batch, letters, refuse, ignored)

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
        events = piece.events
        for row, text in zip(rows, events, strict=True):
            if is_deeper(text, self.limits.max_depth):
                return False
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
