"""The ledger: what every job was expected to cost, what it cost, and what came of it. Rows are added, never changed.

It is the evidence for cost estimates and for the question whether updates pay. What an update gains becomes known only
later: at each decision point that it serves through, a row of kind "gain" says how much loss it has avoided since the last.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

import structlog

from headwater.core.errors import DiskFull, WrongState
from headwater.store.database import Database
from headwater.store.sums import SummedTable, add_sums, row_sum

FILE_NAME = "ledger.sqlite"
_log = structlog.stdlib.get_logger("headwater.planning")
_GUARDS = (
    "CREATE TRIGGER jobs_are_not_changed BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER jobs_are_not_deleted BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)
_INDEX = "CREATE INDEX jobs_by_model ON jobs (model, kind, at_ms)"  # knows how many rows there are: `check` compares
_SCHEMA = (
    """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    rows INTEGER NOT NULL,
    estimate_core_s REAL NOT NULL,
    core_s REAL NOT NULL CHECK (core_s >= 0),
    outcome TEXT NOT NULL,
    why TEXT NOT NULL,
    model TEXT NOT NULL,
    method TEXT NOT NULL,
    gained_loss REAL NOT NULL,
    sum INTEGER NOT NULL
) STRICT""",
    _INDEX,
    *_GUARDS,
)
_DAY_MS = 86_400_000
_PER_DAY = f"""
SELECT model, at_ms / {_DAY_MS} AS day, method, SUM(kind <> 'gain'), SUM(CASE WHEN kind = 'gain' THEN 0 ELSE rows END),
       SUM(estimate_core_s), SUM(core_s), SUM(gained_loss),
       SUM(outcome = 'served'), SUM(outcome IN ('failed', 'stopped', 'rejected', 'lost'))
FROM jobs WHERE ?1 IS NULL OR model = ?1 GROUP BY model, day, method ORDER BY model, day, method
"""  # noqa: S608 - a number of our own
_MODEL = "WHERE ?1 IS NULL OR model = ?1"
_SINCE = "WHERE ?1 IS NULL OR at_ms >= ?1"


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


_COLUMNS = ", ".join(["seq", *(field.name for field in fields(Job))])
_UPGRADES = (
    (
        "ALTER TABLE jobs ADD COLUMN model TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN method TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN gained_loss REAL NOT NULL DEFAULT 0",
    ),
    ("DROP TRIGGER IF EXISTS jobs_are_not_changed", *add_sums("jobs", _COLUMNS), _INDEX, _GUARDS[0]),
)
FORMAT = len(_UPGRADES) + 1
_READABLE = 2  # the oldest format that can be read as it is


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
        WrongState: Nothing is there to be read, or the file is of a newer Headwater.
        CorruptData: It is no ledger; later: a row is not what was written.

    >>> with Ledger() as ledger:
    ...     ledger.append(Job(0, "fit", 1000, 0.5, 0.4, "served", "first model"))
    ...     ledger.spent()
    0.4
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        if read_only and (path is None or not path.exists()):
            raise WrongState(
                "there is no ledger here", where=str(path or "memory"),
                next_step="Check --state; one is kept by an app with a model that has learner=hw.Fast(...).",
            )  # fmt: skip
        self._db = Database(path, _SCHEMA, _UPGRADES, functions={"row_sum": row_sum}, read_only=read_only)
        self._waiting: list[Job] = []
        self._jobs = SummedTable(self._db, "jobs", _COLUMNS, "seq", since=FORMAT)
        try:
            self._check(path)
        except BaseException:
            self._db.close()
            raise

    def _check(self, path: Path | None) -> None:
        if self._db.format < _READABLE:
            raise WrongState(
                "this ledger has an older format", where=str(path), expected=f"format {_READABLE} to {FORMAT}",
                got=f"format {self._db.format}", next_step="Start `headwater run` once: it brings the file up to date.",
            )  # fmt: skip
        self._db.check()

    def append(self, job: Job) -> None:
        """Add a job that has ended. Where the disk has no room, it waits for the next one."""
        self._waiting.append(job)
        try:
            with self._db.writing():
                ((last,),) = self._db.rows("SELECT coalesce(max(seq), 0) FROM jobs")
                for seq, waiting in enumerate(self._waiting, last + 1):
                    self._jobs.add((seq, *astuple(waiting)))
        except DiskFull as error:
            _log.warning("the ledger waits for room on the disk", rows=len(self._waiting), error=str(error))
            return
        self._waiting.clear()

    def jobs(self, kind: str | None = None, model: str | None = None) -> list[Job]:
        """All jobs, or those of one kind or model, oldest first."""
        chosen = "WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR model = ?2) ORDER BY seq"
        return [Job(*row[1:]) for row in self._jobs.each(chosen, (kind, model))]

    def days(self, model: str | None = None) -> list[Day]:
        """Costs and gains by model, day and method."""
        self._jobs.compare(_MODEL, (model,))
        return [Day(*row) for row in self._db.rows(_PER_DAY, (model,))]

    def spent(self, since_ms: int | None = None) -> float:
        """Core-seconds of all jobs that began at or after a time."""
        return self._sum("core_s", since_ms)

    def gained(self, since_ms: int | None = None) -> float:
        """Loss avoided since a time."""
        return self._sum("gained_loss", since_ms)

    def _sum(self, column: str, since_ms: int | None) -> float:
        self._jobs.compare(_SINCE, (since_ms,))
        ((total,),) = self._db.rows(f"SELECT coalesce(sum({column}), 0) FROM jobs {_SINCE}", (since_ms,))  # noqa: S608
        return float(total)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
