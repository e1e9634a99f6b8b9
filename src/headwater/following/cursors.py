"""How far each consumer has got, and what it would not take: one SQLite file, written by the worker, read by anybody."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headwater.core.errors import WrongState
from headwater.following.database import Database

FILE_NAME = "consumers.sqlite"
_FORMAT = 1
_SCHEMA = (
    """
CREATE TABLE consumers (
    name TEXT PRIMARY KEY,
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    next INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    missed INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    retry_us INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    is_active INTEGER NOT NULL DEFAULT 1
) STRICT""",
    """
CREATE TABLE parked (
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    parked_us INTEGER NOT NULL,
    error TEXT NOT NULL,
    event TEXT NOT NULL,
    is_wanted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer, seq)
) STRICT""",
)
_N_PARKED = "(SELECT COUNT(*) FROM parked WHERE consumer = name)"
_PROGRESS = f"name, stream, kind, next, delivered, retries, {_N_PARKED}, missed, attempt, retry_us, error"
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
        self._db = Database(None if folder is None else folder / FILE_NAME, _SCHEMA, _FORMAT, read_only=read_only)

    def claim(self, name: str, stream: str, kind: str, start: int) -> Progress:
        """A consumer's progress; one that was never here begins at `start`.

        Raises:
            WrongState: A consumer of this name followed another stream.
        """
        with self._db.writing() as db:
            row = (name, stream, kind, start)
            db.execute(
                "INSERT INTO consumers (name, stream, kind, next) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING", row
            )
            db.execute("UPDATE consumers SET kind = ?, is_active = 1 WHERE name = ?", (kind, name))
        found = self.of(name)
        if found.stream != stream:
            raise WrongState(
                "this consumer followed another stream before", where=name, expected=found.stream, got=stream,
                next_step="Give the new one another name: a cursor is kept under the name.",
            )  # fmt: skip
        return found

    def retire_others(self, names: Collection[str]) -> None:
        """Mark all but these as no longer declared; their cursors stay, should they come back."""
        with self._db.writing() as db:
            marks = ", ".join("?" * len(names))
            db.execute(f"UPDATE consumers SET is_active = 0 WHERE name NOT IN ({marks})", tuple(names))  # noqa: S608

    def of(self, name: str) -> Progress:
        (row,) = self._db.rows(f"SELECT {_PROGRESS} FROM consumers WHERE name = ?", (name,))  # noqa: S608
        return Progress(*row)

    def all(self) -> list[Progress]:
        """The declared consumers, by name."""
        return [Progress(*row) for row in self._db.rows(f"SELECT {_PROGRESS} FROM consumers WHERE is_active ORDER BY name")]  # noqa: S608

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
        with self._db.writing() as db:
            row = (*parked[:3], parked.error[:_ERROR_CHARS], parked.event)
            names = "consumer, seq, parked_us, error, event"
            db.execute(f"INSERT INTO parked ({names}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)  # noqa: S608
            query = "UPDATE consumers SET next = ?, attempt = 0, retry_us = 0, error = ? WHERE name = ?"
            db.execute(query, (following, parked.error[:_ERROR_CHARS], parked.consumer))

    def parked(self, consumer: str | None = None) -> list[Parked]:
        """What was put aside, by consumer and seq."""
        where, values = ("", ()) if consumer is None else ("WHERE consumer = ?", (consumer,))
        query = f"SELECT consumer, seq, parked_us, error, event FROM parked {where} ORDER BY consumer, seq"  # noqa: S608
        return [Parked(*row) for row in self._db.rows(query, values)]

    def want(self, consumer: str, seqs: Collection[int] | None = None) -> int:
        """Ask that parked events be handed over once more: these, or all of a consumer's; how many there are."""
        with self._db.writing() as db:
            query, values = "UPDATE parked SET is_wanted = 1 WHERE consumer = ?", [consumer]
            if seqs is not None:
                query += f" AND seq IN ({', '.join(map(str, map(int, seqs)))})"
            return db.execute(query, values).rowcount

    def wanted(self, consumer: str) -> list[int]:
        """Places of the parked events that are to be handed over once more."""
        query = "SELECT seq FROM parked WHERE consumer = ? AND is_wanted ORDER BY seq"
        return [seq for (seq,) in self._db.rows(query, (consumer,))]

    def settle(self, consumer: str, seq: int, error: str | None) -> None:
        """A wanted event was taken after all, or (with an error) stays parked."""
        with self._db.writing() as db:
            if error is None:
                db.execute("DELETE FROM parked WHERE consumer = ? AND seq = ?", (consumer, seq))
                db.execute("UPDATE consumers SET delivered = delivered + 1 WHERE name = ?", (consumer,))
            else:
                query = "UPDATE parked SET is_wanted = 0, error = ? WHERE consumer = ? AND seq = ?"
                db.execute(query, (error[:_ERROR_CHARS], consumer, seq))

    def _set(self, name: str, what: str, *values: object) -> None:
        with self._db.writing() as db:
            db.execute(f"UPDATE consumers SET {what} WHERE name = ?", (*values, name))  # noqa: S608

    def close(self) -> None:
        self._db.close()
