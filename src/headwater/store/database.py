"""A small SQLite file that several processes share: write-ahead log, full sync, a format number, our errors.

What leaves the system is kept beside the log and not in it: LMDB has one kind of writer for each environment, and these rows
are few, queried by name, and looked at by people.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, DiskFull, WrongState

_BUSY_S = 30.0
_UPGRADE_S = 300.0  # another process may be bringing the file up to date: a million rows take it some ten seconds
_FULL = ("disk is full", "disk I/O error")
_NOT_DAMAGE = ("locked", "interrupted", "unable to open")

Function = Callable[..., int | float | str | bytes | None]


class Database:
    """Tables of one file; threads may share it.

    Args:
        path: The file, made with its folder where it is missing; None keeps the tables in memory.
        schema: Statements that make the tables, in the newest format.
        upgrades: For each format but the newest, from 1 on, the statements that bring a file of it to the next one.
        functions: What statements may call, by name; equal arguments give equal values.
        read_only: Write nothing; the file must be there, and may be of an older format.

    Raises:
        WrongState: It was written by a newer format, or (read-only) is not there.
        CorruptData: It is no database, or not the one that was made.

    Attributes:
        format: Of the file, as it is now.
    """

    def __init__(
        self, path: Path | None, schema: Sequence[str], upgrades: Sequence[Sequence[str]] = (), *,
        functions: Mapping[str, Function] | None = None, read_only: bool = False,
    ) -> None:  # fmt: skip
        self._path, self._lock, self.format = path, threading.RLock(), 0
        if read_only and (path is None or not path.exists()):
            raise WrongState("there is nothing to read here yet", where=self.where, next_step="Check --state.")
        if path is not None and not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        name = ":memory:" if path is None else f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(name, uri=True, timeout=_UPGRADE_S, isolation_level=None, check_same_thread=False)
        try:
            for called, function in (functions or {}).items():
                self._db.create_function(called, -1, function, deterministic=True)
            if not read_only:
                self._prepare(schema, upgrades)
            self._check_format(len(upgrades) + 1)
            self._db.execute(f"PRAGMA busy_timeout = {int(1000 * _BUSY_S)}")
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, schema: Sequence[str], upgrades: Sequence[Sequence[str]]) -> None:
        """Make the tables, or bring them up to date, in one transaction: a kill leaves what was there."""
        with self._said():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        with self.writing() as db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            newest = len(upgrades) + 1
            if not 0 <= found < newest:
                return
            steps = [schema] if found == 0 else upgrades[found - 1 :]
            for statement in (one for step in steps for one in step):
                db.execute(statement)
            if found == 0:
                db.execute(f"PRAGMA application_id = {secrets.randbits(31)}")
            db.execute(f"PRAGMA user_version = {newest}")
            crashpoint("database.upgrading")
        if found == 0:  # whose file it is must not hang on its journal
            self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check_format(self, newest: int) -> None:
        ((self.format,),) = self.rows("PRAGMA user_version")
        if not 1 <= self.format <= newest:
            raise WrongState(
                "this file has another format", where=self.where, expected=f"format {newest}", got=f"format {self.format}",
                next_step="Use the Headwater that wrote it, or a newer one; nothing was changed.",
            )  # fmt: skip

    @property
    def id(self) -> int:
        """Tells one file from another that was made in its place; 0 where it is older than such numbers."""
        ((found,),) = self.rows("PRAGMA application_id")
        return int(found)

    @property
    def where(self) -> str:
        """The file, for an error."""
        return str(self._path) if self._path is not None else "in memory"

    def check(self) -> None:
        """Read all of the file: whether its pages are whole, and each index knows each row. Cost: about that of copying it.

        Raises:
            CorruptData: They are not, or it does not.
        """
        ((found,),) = self.rows("PRAGMA integrity_check(1)")
        if found != "ok":
            raise self._damaged(found)

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        with self._lock, self._said():
            return self._db.execute(query, values).fetchall()

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Change rows, inside `writing`; how many."""
        return self._db.execute(statement, values).rowcount

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
                raise DiskFull("the disk is full or failing", where=self.where, got=str(error), next_step=step) from error
            if any(reason in str(error) for reason in _NOT_DAMAGE):
                raise
            raise self._damaged(str(error)) from error  # our statements fit the tables that we made: these are others
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # its messages quote what it found
            raise self._damaged(str(error)) from error

    def _damaged(self, found: str) -> CorruptData:
        step = "Nothing was deleted. Check its permissions; restore it from a copy, or move it away."
        return CorruptData(f"this file cannot be used as it is ({found[:200]})", where=self.where, next_step=step)

    def close(self) -> None:
        """Release the file; what was written is already durable."""
        with self._lock:
            self._db.close()
