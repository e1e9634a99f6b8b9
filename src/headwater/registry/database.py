"""The catalogue's SQLite file: its tables, its formats, and how one of an older release is brought up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwater.core.crashpoints import crashpoint
from headwater.core.errors import WrongState

FORMAT = 2
UNSIGNED = 1
"""The format before signatures."""
COLUMNS = 'line, seq, sha256, created_ms, "trigger", recipe, parent, log_start, metrics, cost_core_s'
SELECT = f"SELECT {COLUMNS}, signature FROM versions"  # noqa: S608 - constants
NEWEST = "SELECT line, MAX(seq), sha256, COUNT(*) FROM versions GROUP BY line"
"""SQLite takes `sha256` from the row that has the greatest `seq`."""
_SCHEMA = """
CREATE TABLE versions (
    line TEXT NOT NULL CHECK (line <> '' AND instr(line, '@') = 0),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    sha256 TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    "trigger" TEXT NOT NULL,
    recipe TEXT NOT NULL,
    parent TEXT,
    log_start INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    cost_core_s REAL NOT NULL,
    signature TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (line, seq)
) STRICT;
"""
_IMMUTABLE = (
    "CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions BEGIN SELECT RAISE(ABORT, 'a version is immutable'); END;"
)


def connect(path: Path, *, read_only: bool) -> tuple[sqlite3.Connection, int]:
    """Open the file, making its tables if need be; with the format that it has, `FORMAT` or `UNSIGNED`.

    Raises:
        WrongState: Its format is another, or (read-only) the one before signatures.
        sqlite3.DatabaseError: It is no such file, or damaged where no signature would show it.
    """
    mode = "ro" if read_only else "rwc"
    db = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )  # fmt: skip
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found == 0 and not read_only:
            db.executescript(f"BEGIN; {_SCHEMA} {_IMMUTABLE} PRAGMA user_version = {FORMAT}; COMMIT;")
            found = FORMAT
        _check(found, path, read_only=read_only)
        if not read_only:
            _check_whole(db)
    except BaseException:
        db.close()
        raise
    return db, found


def _check(found: int, path: Path, *, read_only: bool) -> None:
    if found == UNSIGNED and read_only:
        raise WrongState(
            "the versions here are not signed yet", where=str(path), expected=f"format {FORMAT}", got=f"format {found}",
            next_step="Start `headwater run` once: it signs what is there.",
        )  # fmt: skip
    if found not in {FORMAT, UNSIGNED}:
        raise WrongState(
            "the catalogue has another format", where=str(path), expected=f"format {FORMAT}", got=f"format {found}",
            next_step="Use the Headwater that wrote it, or a newer one; nothing was changed.",
        )  # fmt: skip


def _check_whole(db: sqlite3.Connection) -> None:
    """Signatures vouch for the rows that are found; this looks for rows that an index does not know."""
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def add_signatures(db: sqlite3.Connection, sign: Callable[[tuple[Any, ...]], str]) -> int:
    """Bring a file of the format before signatures up, all in one transaction.

    Args:
        db: The file.
        sign: From a row (`COLUMNS`) to its signature.

    Returns:
        How many versions there are.
    """
    rows = db.execute(f"SELECT {COLUMNS} FROM versions").fetchall()  # noqa: S608 - constants
    signed = [(sign(row), *row[:2]) for row in rows]
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("ALTER TABLE versions ADD COLUMN signature TEXT NOT NULL DEFAULT ''")
        db.execute("DROP TRIGGER versions_are_immutable")
        db.executemany("UPDATE versions SET signature = ? WHERE line = ? AND seq = ?", signed)
        db.execute(_IMMUTABLE)
        db.execute(f"PRAGMA user_version = {FORMAT}")
        crashpoint("registry.signing")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return len(signed)
