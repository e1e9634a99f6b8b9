"""How far each consumer has got, and what it would not take: one SQLite file, written by the worker, read by anybody."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headwater.core.errors import WrongState
from headwater.store.database import Database
from headwater.store.sums import SummedTable, add_sums, row_sum

FILE_NAME = "consumers.sqlite"
_CONSUMER = "name, stream, kind, next, delivered, retries, missed, attempt, retry_us, error, is_active"
_PARKED = "consumer, seq, parked_us, error, event, is_wanted"
_SCHEMA = (
    """
CREATE TABLE consumers (
    name TEXT PRIMARY KEY,
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    next INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    retry_us INTEGER NOT NULL,
    error TEXT NOT NULL,
    is_active INTEGER NOT NULL,
    sum INTEGER NOT NULL
) STRICT""",
    """
CREATE TABLE parked (
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    parked_us INTEGER NOT NULL,
    error TEXT NOT NULL,
    event TEXT NOT NULL,
    is_wanted INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (consumer, seq)
) STRICT""",
)
_UPGRADES = ((*add_sums("consumers", _CONSUMER), *add_sums("parked", _PARKED)),)
_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one consumer stands.

    Attributes:
        name, stream, kind: Who it is: what it follows, as a handler or a webhook.
        next: Its cursor: every event of its stream before this seq was delivered or parked.
        delivered: Events that it took.
        retries: Deliveries that were tried again, ever.
        parked: Events that it would not take: they were put aside and passed over, and still lie there.
        missed: Places in the stream that retention dropped before they were looked at.
        attempt: Failures of the delivery that is next; 0 where all goes well.
        retry_us: When that is tried again, microseconds since 1970 UTC.
        error: Why it failed last.
    """

    name: str
    stream: str
    kind: str
    next: int
    delivered: int = 0
    retries: int = 0
    parked: int = 0
    missed: int = 0
    attempt: int = 0
    retry_us: int = 0
    error: str = ""


class Parked(NamedTuple):
    """An event that a consumer would never take.

    Attributes:
        consumer, seq: Whose, and its place in the stream.
        parked_us: When it was put aside, microseconds since 1970 UTC.
        error: What was said of it.
        event: The whole event, as the JSON of a CloudEvent: the log may drop it, this does not.
    """

    consumer: str
    seq: int
    parked_us: int
    error: str
    event: str


class Cursors:
    """The cursors of all consumers; each changes in one durable transaction.

    Args:
        folder: Where the file is; None keeps it in memory.
        read_only: Write nothing.

    Raises:
        WrongState, CorruptData: See `Database`.
    """

    def __init__(self, folder: Path | None, *, read_only: bool = False) -> None:
        path = None if folder is None else folder / FILE_NAME
        self._db = Database(path, _SCHEMA, _UPGRADES, functions={"row_sum": row_sum}, read_only=read_only)
        try:
            self._db.check()  # a few rows: a file as small as that is read in a moment
        except BaseException:
            self._db.close()
            raise
        self._consumers = SummedTable(self._db, "consumers", _CONSUMER, "name")
        self._parked = SummedTable(self._db, "parked", _PARKED, "consumer, seq")

    def claim(self, name: str, stream: str, kind: str, start: int) -> Progress:
        """A consumer's progress; one that was never here begins at `start`.

        Raises:
            WrongState: A consumer of this name followed another stream.
        """
        with self._db.writing():
            self._consumers.add((name, stream, kind, start, 0, 0, 0, 0, 0, "", 1))
            self._consumers.change("kind = ?, is_active = 1", (kind,), "WHERE name = ?", (name,))
        found = self.of(name)
        if found.stream != stream:
            raise WrongState(
                "this consumer followed another stream before", where=name, expected=found.stream, got=stream,
                next_step="Give the new one another name: a cursor is kept under the name.",
            )  # fmt: skip
        return found

    def retire_others(self, names: Collection[str]) -> None:
        """Mark all but these as no longer declared; their cursors stay, should they come back."""
        with self._db.writing():
            marks = ", ".join("?" * len(names))
            self._consumers.change("is_active = 0", (), f"WHERE name NOT IN ({marks})", tuple(names))

    def of(self, name: str) -> Progress:
        (row,) = self._consumers.rows("WHERE name = ?", (name,))
        return self._progress(row)

    def all(self) -> list[Progress]:
        """The declared consumers, by name."""
        rows = self._consumers.rows("ORDER BY name")  # compared before any is left out
        return [self._progress(row) for row in rows if row[-1]]

    def _progress(self, row: tuple[Any, ...]) -> Progress:
        name, stream, kind, following, delivered, retries, *rest, _ = row
        ((n_parked,),) = self._db.rows("SELECT COUNT(*) FROM parked WHERE consumer = ?", (name,))
        return Progress(name, stream, kind, following, delivered, retries, n_parked, *rest)

    def move(self, name: str, following: int, n_delivered: int) -> None:
        """Everything before `following` is done, `n_delivered` events more than before."""
        self._set(name, "next = ?, delivered = delivered + ?, attempt = 0, retry_us = 0, error = ''", following, n_delivered)

    def skip(self, name: str, following: int, n_missed: int, error: str) -> None:
        """Retention was faster: go on at `following`."""
        self._set(name, "next = ?, missed = missed + ?, error = ?", following, n_missed, error[:_ERROR_CHARS])

    def fail(self, name: str, attempt: int, retry_us: int, error: str) -> None:
        """The delivery at the cursor failed `attempt` times, and is tried again at `retry_us`."""
        said = error[:_ERROR_CHARS]
        self._set(name, "attempt = ?, retries = retries + 1, retry_us = ?, error = ?", attempt, retry_us, said)

    def park(self, parked: Parked, following: int) -> None:
        """Put one event aside and go on after it, in one transaction."""
        said = parked.error[:_ERROR_CHARS]
        with self._db.writing():
            self._parked.add((*parked[:3], said, parked.event, 0))
            self._change(parked.consumer, "next = ?, attempt = 0, retry_us = 0, error = ?", following, said)

    def parked(self, consumer: str | None = None) -> list[Parked]:
        """What was put aside, by consumer and seq."""
        where, values = ("", ()) if consumer is None else ("WHERE consumer = ?", (consumer,))
        return [Parked(*row[:-1]) for row in self._parked.rows(f"{where} ORDER BY consumer, seq", values)]

    def want(self, consumer: str, seqs: Collection[int] | None = None) -> int:
        """Ask that parked events be handed over once more: these, or all of a consumer's; how many there are."""
        where = "WHERE consumer = ?"
        if seqs is not None:
            where += f" AND seq IN ({', '.join(map(str, map(int, seqs)))})"
        with self._db.writing():
            return self._parked.change("is_wanted = 1", (), where, (consumer,))

    def wanted(self, consumer: str) -> list[int]:
        """Places of the parked events that are to be handed over once more."""
        return [row[1] for row in self._parked.rows("WHERE consumer = ? AND is_wanted ORDER BY seq", (consumer,))]

    def settle(self, consumer: str, seq: int, error: str | None) -> None:
        """A wanted event was taken after all, or (with an error) stays parked."""
        with self._db.writing() as db:
            if error is None:
                db.execute("DELETE FROM parked WHERE consumer = ? AND seq = ?", (consumer, seq))
                self._change(consumer, "delivered = delivered + 1")
            else:
                where = "WHERE consumer = ? AND seq = ?"
                self._parked.change("is_wanted = 0, error = ?", (error[:_ERROR_CHARS],), where, (consumer, seq))

    def _set(self, name: str, what: str, *values: object) -> None:
        with self._db.writing():
            self._change(name, what, *values)

    def _change(self, name: str, what: str, *values: object) -> None:
        self._consumers.change(what, values, "WHERE name = ?", (name,))

    def close(self) -> None:
        self._db.close()
