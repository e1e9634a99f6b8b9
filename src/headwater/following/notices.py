"""Notices: what the system has to say of itself, kept in order for whoever follows it.

New versions, plans and incidents are effects of a fold or of a person's command. Each has an id that follows from its cause
(`late@60112`), so that what is said again after a crash is said once. Every stream of notices counts its own seq from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import msgspec
import numpy as np

from headwater.core.batch import Column, Frame, Text, single
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, EventsDropped, Fatal, WrongState
from headwater.core.schema import CONTROL, DEAD, FieldSpec, Kind, Schema
from headwater.following.page import Page, weights, without_rows
from headwater.store.database import Database
from headwater.store.sums import SummedTable, add_sums, row_sum

FILE_NAME = "notices.sqlite"
VERSIONS, PLANS, INCIDENTS, FEATURES = "_versions", "_plans", "_incidents", "_features"
SAYS = {
    VERSIONS: "versions as they are registered",
    PLANS: "plans as they are made",
    INCIDENTS: "incidents as they are noted",
    FEATURES: "features of each question, where learner.tell_features is set",
}
"""The streams that are listed before anything was said on them; another room may append to one of its own."""

_COLUMNS = "stream, seq, id, time_ms, data"
_IMMUTABLE = (
    "CREATE TRIGGER notices_are_immutable BEFORE UPDATE ON notices BEGIN SELECT RAISE(ABORT, 'a notice is immutable'); END"
)
_SCHEMA = (
    """
CREATE TABLE notices (
    stream TEXT NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    data TEXT NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (stream, seq),
    UNIQUE (stream, id)
) STRICT""",
    _IMMUTABLE,
)
_UPGRADES = (("DROP TRIGGER notices_are_immutable", *add_sums("notices", _COLUMNS), _IMMUTABLE),)
_encode = msgspec.json.Encoder(order="sorted").encode


class Ends(TypedDict):
    """Where streams of notices end.

    Attributes:
        file: Of which file; see `Database.id`.
        ends: Stream -> the next seq.
    """

    file: int
    ends: dict[str, int]


class Said(NamedTuple):
    """One notice to append.

    Attributes:
        id: Follows from its cause: the same thing said twice has the same id.
        time_ms: When it happened, ms since 1970 UTC; event time where it follows from events.
        data: Its facts: an object that JSON can hold.
    """

    id: str
    time_ms: int
    data: Mapping[str, Any]


class Notices:
    """All streams of notices, in one file. Any process may append and read.

    Args:
        folder: Where the file is, made if need be; None keeps it in memory.
        read_only: Write nothing; the file must be there.

    Raises:
        WrongState, CorruptData: See `Database`.
    """

    def __init__(self, folder: Path | None, *, read_only: bool = False) -> None:
        path = None if folder is None else folder / FILE_NAME
        self._db = Database(path, _SCHEMA, _UPGRADES, functions={"row_sum": row_sum}, read_only=read_only)
        self._table = SummedTable(self._db, "notices", _COLUMNS, "stream, id")

    def check(self, known: Ends | None = None) -> None:
        """Whether every notice can be found by its place and its id. Cost: that of reading the whole file.

        Args:
            known: What `ends` gave before: nothing of that may be missing. Another file, which was made where this one was
                moved away, knows nothing of it.

        Raises:
            CorruptData: One cannot: it would not be told, or be said once more.
        """
        self._db.check()
        if known is None or known["file"] != self._db.id:
            return
        now = self.ends()["ends"]
        for stream, end in known["ends"].items():
            if now.get(stream, 0) < end:
                raise CorruptData(
                    "notices are missing that the saved state knows of", where=f"{self._db.where}, {stream}",
                    expected=f"at least {end}", got=str(now.get(stream, 0)),
                    next_step="Was an older copy restored, or one without its -wal file? Restore a newer one; or move the file"
                    " away: new notices then begin at 0.",
                )  # fmt: skip

    def ends(self) -> Ends:
        """Where each stream ends, and of which file that is true."""
        return {"file": self._db.id, "ends": {stream: self.stream(stream).bounds()[1] for stream in self._named()}}

    def append(self, stream: str, id: str, time_ms: int, data: Mapping[str, Any]) -> bool:  # noqa: A002 - the field's name
        """Say one thing; durable on return. False: it was said before, and the first one stands.

        Raises:
            DiskFull: There is no room.
            Fatal: The stream is not one of notices.
        """
        return self.append_all(stream, [Said(id, time_ms, data)]) == 1

    def append_all(self, stream: str, said: Iterable[Said]) -> int:
        """Say several things in one transaction; how many were new. See `append`."""
        if not stream.startswith("_") or stream in {CONTROL, DEAD}:
            raise Fatal("notices have streams of their own", where=stream, expected="a name like _plans")
        n = 0
        with self._db.writing() as db:
            (end,) = db.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM notices WHERE stream = ?", (stream,)).fetchone()
            for one in said:
                row = (stream, end + n, one.id, one.time_ms, _encode(dict(one.data)).decode())
                n += self._table.add(row)
            crashpoint("notices.put")
        return n

    def trim(self, stream: str, keep: int) -> None:
        """Drop all but the newest `keep` notices of a stream; a follower that wants older ones is told. Ids go with them."""
        query = "DELETE FROM notices WHERE stream = ? AND seq <= (SELECT MAX(seq) FROM notices WHERE stream = ?) - ?"
        with self._db.writing() as db:
            db.execute(query, (stream, stream, max(1, keep)))

    def names(self) -> list[str]:
        """The streams that have notices, and those that will."""
        return sorted({*SAYS, *self._named()})

    def _named(self) -> Iterator[str]:
        """The streams that have notices: one step in the index each, where DISTINCT would walk through all of it."""
        query, name = "SELECT MIN(stream) FROM notices WHERE stream > ?", ""
        while (name := self._db.rows(query, (name,))[0][0]) is not None:
            yield name

    def stream(self, name: str) -> NoticeStream:
        """One of them, to follow."""
        return NoticeStream(self._db, self._table, name)

    def close(self) -> None:
        self._db.close()


class NoticeStream:
    """A `Followed` stream of notices."""

    def __init__(self, db: Database, table: SummedTable, name: str) -> None:
        self._db, self._table, self._name = db, table, name
        self._schema = Schema(name, (FieldSpec("data", Kind.STR),), key="data")

    def bounds(self) -> tuple[int, int]:
        """See `Followed.bounds`."""
        of = "FROM notices WHERE stream = ?1"  # each alone is one step in the index; both at once would read all of it
        query = f"SELECT (SELECT COALESCE(MIN(seq), 0) {of}), (SELECT COALESCE(MAX(seq) + 1, 0) {of})"
        ((first, end),) = self._db.rows(query, (self._name,))
        return first, end

    def read(self, start: int, limit: int, max_bytes: int) -> Page:
        """See `Followed.read`."""
        first, end = self.bounds()
        if start < first:
            raise EventsDropped(start, first)
        if start > end:
            raise WrongState(
                "the reader is ahead of the stream", where=f"{self._name}, seq {start}", expected=f"at most {end}, its end",
                next_step="Was the state directory replaced? Start again from its beginning.",
            )  # fmt: skip
        found = self._rows(start, min(limit, end - start))
        if not found:
            return without_rows(self._schema, start, end)
        _, seq, ids, times, data = zip(*found, strict=True)
        columns = Frame(len(found), {"data": Column(Text.of(data))})
        rows = single(self._schema, columns, np.array(times, np.int64), Text.of(ids), source=f"headwater/{self._name}")
        page = Page(self._name, np.array(seq, np.int64), rows, seq[-1] + 1, max(end, seq[-1] + 1), is_notices=True)
        fit = max(1, int(np.searchsorted(np.cumsum(weights(rows, self._name)), max_bytes, "right")))
        return page if fit >= page.n else page.part(0, fit)

    def _rows(self, start: int, n: int) -> list[tuple[Any, ...]]:
        """The notices of `n` places, which follow each other without a gap; those before the first that is damaged or gone.

        Raises:
            CorruptData: That is the one at `start`.
            EventsDropped: Retention was faster.
        """
        found = list[tuple[Any, ...]]()
        rows = self._table.each("WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?", (self._name, start, n))
        try:
            for seq, row in zip_longest(range(start, start + n), rows):
                if row is None or row[1] != seq:
                    raise self._gone(seq, "none" if row is None else f"seq {row[1]}")
                found.append(row)
        except CorruptData:
            if start < (first := self.bounds()[0]):
                raise EventsDropped(start, first) from None
            if not found:
                raise
        return found

    def _gone(self, seq: int, got: str) -> CorruptData:
        return CorruptData(
            "a notice is missing", where=f"{self._db.where}, {self._name} {seq}", expected=f"seq {seq}", got=got,
            next_step="Nothing was deleted. Restore the file from a copy, or move it away.",
        )  # fmt: skip
