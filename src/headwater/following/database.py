"""A small SQLite file that several processes share: write-ahead log, full sync, a format number, our errors.

What leaves the system is kept beside the log and not in it: LMDB has one kind of writer for each environment, and these rows
are few, queried by name, and looked at by people.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.core.errors import CorruptData, DiskFull, WrongState

_BUSY_S = 30.0
_FULL = ("disk is full", "disk I/O error")


class Database:
    """Tables of one file; threads may share it.

    Args:
        path: The file, made with its folder where it is missing; None keeps the tables in memory.
        schema: Statements that make the tables.
        format: Number of that schema.
        read_only: Write nothing; the file must be there.

    Raises:
        WrongState: It was written by another format, or (read-only) is not there.
        CorruptData: It is no database.
    """

    def __init__(self, path: Path | None, schema: Sequence[str], format: int, *, read_only: bool = False) -> None:  # noqa: A002
        self._path, self._lock = path, threading.RLock()
        if read_only and (path is None or not path.exists()):
            raise WrongState("there is nothing to read here yet", where=str(path), next_step="Check --state.")
        if path is not None and not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        name = ":memory:" if path is None else f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(name, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(schema, format, read_only=read_only)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, schema: Sequence[str], number: int, *, read_only: bool) -> None:
        if not read_only:
            with self._said():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            with self.writing() as db:
                if db.execute("PRAGMA user_version").fetchone() == (0,):
                    for statement in schema:
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {number}")
        ((found,),) = self.rows("PRAGMA user_version")
        if found != number:
            raise WrongState(
                "this file has another format", where=str(self._path), expected=f"format {number}", got=f"format {found}",
                next_step="Use the Headwater that wrote it, or a newer one; nothing was changed.",
            )  # fmt: skip

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        with self._lock, self._said():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: durable when this is left, undone where it is left by an error.

        Raises:
            DiskFull: There is no room; nothing was changed.
        """
        with self._lock, self._said():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if any(reason in str(error) for reason in _FULL):
                step = "Nothing was stored. Free some space."
                raise DiskFull("the disk is full or failing", where=str(self._path), got=str(error), next_step=step) from error
            if "decode" in str(error):  # a flipped bit may leave what is no text
                raise self._damaged(error) from error
            raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> CorruptData:
        step = "Nothing was deleted. Restore it from a copy, or move it away."
        return CorruptData(f"this file cannot be read ({str(error)[:200]})", where=str(self._path), next_step=step)

    def close(self) -> None:
        """Release the file; what was written is already durable."""
        with self._lock:
            self._db.close()
