"""The ledger: what every job was expected to cost, what it cost, and what came of it. Rows are added, never changed.

It is the evidence for cost estimates and for the question whether updates pay. What an update gains becomes known only
later: at each decision point that it serves through, a row of kind "gain" says how much loss it has avoided since the last.
"""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

from headwater.core.errors import CorruptData, WrongState

FORMAT = 2
FILE_NAME = "ledger.sqlite"
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
_STEPS = {
    0: _SCHEMA,
    1: """
ALTER TABLE jobs ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN method TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN gained_loss REAL NOT NULL DEFAULT 0;
""",
}
"""Format -> what makes the next one of it."""
_DAY_MS = 86_400_000
_PER_DAY = f"""
SELECT model, at_ms / {_DAY_MS} AS day, method, SUM(kind <> 'gain'), SUM(CASE WHEN kind = 'gain' THEN 0 ELSE rows END),
       SUM(estimate_core_s), SUM(core_s), SUM(gained_loss),
       SUM(outcome = 'served'), SUM(outcome IN ('failed', 'stopped', 'rejected', 'lost'))
FROM jobs WHERE ?1 IS NULL OR model = ?1 GROUP BY model, day, method ORDER BY model, day, method
"""  # noqa: S608 - a number of our own


@dataclass(frozen=True, slots=True)
class Job:
    """One row.

    Attributes:
        at_ms: When it began, event time in ms.
        kind: "fit", "probe", "fast", "evaluation", "sensor", "start", or "gain".
        rows: That it read.
        estimate_core_s: Core-seconds that were reserved; 0 where nothing was.
        core_s: Core-seconds that it took.
        outcome: "served", "rejected", "failed", "stopped", "waits", "lost", or "done".
        why: The plan's sentence.
        model: Whose it is.
        method: The method of update that it belongs to: "full", "window", "fast", ...
        gained_loss: Loss avoided, summed over the labels since the row before: what a mixture of the experts without the
            slow model has lost on them, less what was served. Only rows of kind "gain" have any; it may be negative.
    """

    at_ms: int
    kind: str
    rows: int
    estimate_core_s: float
    core_s: float
    outcome: str
    why: str
    model: str = ""
    method: str = ""
    gained_loss: float = 0.0


_COLUMNS = ", ".join(field.name for field in fields(Job))


@dataclass(frozen=True, slots=True)
class Day:
    """What one method has cost and gained for one model on one day.

    Attributes:
        day: Days since 1970, UTC, of event time.
        jobs, rows: How many, and rows that they read.
        estimate_core_s, core_s: Reserved, and taken.
        gained_loss: Loss avoided that day by what the method had made.
        served, failed: Jobs that came to be served; those that did not work out.
    """

    model: str
    day: int
    method: str
    jobs: int
    rows: int
    estimate_core_s: float
    core_s: float
    gained_loss: float
    served: int
    failed: int


class Ledger:
    """Jobs, in the order in which they ended.

    Args:
        path: An SQLite file, made where it is missing, and brought to the present format where it is of an older one; None
            keeps the ledger in memory.
        read_only: Open what is there and write nothing.

    Raises:
        WrongState: Nothing is there to be read.
        CorruptData: The file is no ledger, or of a newer Headwater.

    >>> with Ledger() as ledger:
    ...     ledger.append(Job(0, "fit", 1000, 0.5, 0.4, "served", "first model"))
    ...     ledger.spent()
    0.4
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self._where = str(path or "memory")
        if read_only and (path is None or not path.exists()):
            raise WrongState(
                "there is no ledger here", where=self._where,
                next_step="Check --state; one is kept by an app with a model that has learner=hw.Fast(...).",
            )  # fmt: skip
        if path is None:
            self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        else:
            mode = "ro" if read_only else "rwc"
            self._db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
            )
        try:
            found = self._prepare(read_only=read_only)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise CorruptData("this is no ledger", where=self._where, got=str(error), next_step="Name another file.") from error
        if found != FORMAT:
            self._db.close()
            raise CorruptData("the ledger has another format", where=self._where, expected=str(FORMAT), got=str(found))

    def _prepare(self, *, read_only: bool) -> int:
        """Make or migrate; the format that there is then."""
        if not read_only and self._where != "memory":
            self._db.execute("PRAGMA journal_mode = WAL")
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        while found in _STEPS and not read_only:
            self._db.executescript(f"BEGIN IMMEDIATE; {_STEPS[found]} PRAGMA user_version = {found + 1}; COMMIT;")
            found += 1
        return int(found)

    def append(self, job: Job) -> None:
        """Add a job that has ended."""
        values = astuple(job)
        holes = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({holes})", values)  # noqa: S608 - names of our own

    def jobs(self, kind: str | None = None, model: str | None = None) -> list[Job]:
        """All jobs, or those of one kind or model, oldest first."""
        chosen = f"SELECT {_COLUMNS} FROM jobs WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR model = ?2) ORDER BY seq"  # noqa: S608
        return [Job(*row) for row in self._db.execute(chosen, (kind, model))]

    def days(self, model: str | None = None) -> list[Day]:
        """Costs and gains by model, day and method."""
        return [Day(*row) for row in self._db.execute(_PER_DAY, (model,))]

    def spent(self, since_ms: int | None = None) -> float:
        """Core-seconds of all jobs that began at or after a time."""
        return self._sum("core_s", since_ms)

    def gained(self, since_ms: int | None = None) -> float:
        """Loss avoided since a time."""
        return self._sum("gained_loss", since_ms)

    def _sum(self, column: str, since_ms: int | None) -> float:
        query = f"SELECT coalesce(sum({column}), 0) FROM jobs WHERE ?1 IS NULL OR at_ms >= ?1"  # noqa: S608
        (total,) = self._db.execute(query, (since_ms,)).fetchone()
        return float(total)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
