"""The ledger: what every job was expected to cost, what it cost, and what came of it. Rows are added, never changed.

It is the evidence for cost estimates and for the question whether updates pay.
"""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

from headwater.core.errors import CorruptData

FORMAT = 1
_SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    rows INTEGER NOT NULL,
    estimate_core_s REAL NOT NULL,
    core_s REAL NOT NULL CHECK (core_s >= 0),
    outcome TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;
CREATE TRIGGER jobs_are_not_changed BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER jobs_are_not_deleted BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One row.

    Attributes:
        at_ms: When it began, event time in ms.
        kind: "fit", "probe", "fast".
        rows: That it read.
        estimate_core_s: Core-seconds that were reserved; 0 where nothing was.
        core_s: Core-seconds that it took.
        outcome: "served", "rejected", "failed", "stopped", or "done".
        why: The plan's sentence.
    """

    at_ms: int
    kind: str
    rows: int
    estimate_core_s: float
    core_s: float
    outcome: str
    why: str


class Ledger:
    """Jobs, in the order in which they ended.

    Args:
        path: An SQLite file, made where it is missing; None keeps the ledger in memory.

    Raises:
        CorruptData: The file is no ledger, or of a newer Headwater.

    >>> with Ledger() as ledger:
    ...     ledger.append(Job(0, "fit", 1000, 0.5, 0.4, "served", "first model"))
    ...     ledger.spent()
    0.4
    """

    def __init__(self, path: Path | None = None) -> None:
        self._where = str(path or "memory")
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        try:
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found == 0:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise CorruptData("this is no ledger", where=self._where, got=str(error), next_step="Name another file.") from error
        if found not in (0, FORMAT):
            self._db.close()
            raise CorruptData("the ledger has another format", where=self._where, expected=str(FORMAT), got=str(found))

    def append(self, job: Job) -> None:
        """Add a job that has ended."""
        self._db.execute("INSERT INTO jobs VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", astuple(job))

    def jobs(self, kind: str | None = None) -> list[Job]:
        """All jobs, or those of one kind, oldest first."""
        columns = "at_ms, kind, rows, estimate_core_s, core_s, outcome, why"
        chosen = f"SELECT {columns} FROM jobs WHERE ?1 IS NULL OR kind = ?1 ORDER BY seq"  # noqa: S608 - names of our own
        return [Job(*row) for row in self._db.execute(chosen, (kind,))]

    def spent(self, since_ms: int | None = None) -> float:
        """Core-seconds of all jobs that began at or after a time."""
        (total,) = self._db.execute(
            "SELECT coalesce(sum(core_s), 0) FROM jobs WHERE ?1 IS NULL OR at_ms >= ?1", (since_ms,)
        ).fetchone()
        return float(total)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
