"""The catalogue of versions: one SQLite file beside the versions' own, so that people can query it.

The learner writes, any number of processes read. A row is written after its file is on disk and is never changed: a fold
that arrives again at a version that it has already made (after a crash) must arrive at the same bytes.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, DiskFull, Fatal, WrongState, nearest
from headwater.registry.artifact import MAX_FILE_BYTES, Artifacts, canonical
from headwater.registry.difference import Difference, difference
from headwater.registry.version import Version

FILE_NAME = "catalog.sqlite"
FORMAT = 1
_FULL = ("disk is full", "disk I/O error")
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
    PRIMARY KEY (line, seq)
) STRICT;
CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions BEGIN SELECT RAISE(ABORT, 'a version is immutable'); END;
"""
_SELECT = 'SELECT line, seq, sha256, created_ms, "trigger", recipe, parent, log_start, metrics, cost_core_s FROM versions'


class Catalog:
    """Versions in a folder: `catalog.sqlite` and `versions/<sha256>.safetensors`.

    Args:
        folder: Usually `registry` inside the state directory.
        read_only: Open what is there and write nothing; otherwise it is made where it is missing.
        max_bytes: Largest file of a version that is written or read.

    Raises:
        WrongState: Written by a newer Headwater, or (read-only) not there.
        CorruptData: Not a catalogue.
    """

    def __init__(self, folder: Path, *, read_only: bool = False, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path = folder / FILE_NAME
        self.artifacts = Artifacts(folder / "versions", max_bytes=max_bytes)
        if read_only and not self._path.exists():
            raise WrongState("no version has been registered here", where=str(folder), next_step="Check --state.")
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        with self._intact():
            mode = "ro" if read_only else "rwc"
            self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None,
                                       check_same_thread=False)  # fmt: skip
            self._prepare(read_only=read_only)

    def _prepare(self, *, read_only: bool) -> None:
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found == 0 and not read_only:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif found != FORMAT:
            self._db.close()
            raise WrongState(
                "the catalogue has another format", where=str(self._path), expected=f"format {FORMAT}", got=f"format {found}",
                next_step="Use the Headwater that wrote it, or a newer one; nothing was changed.",
            )  # fmt: skip

    @contextmanager
    def _intact(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if any(reason in str(error) for reason in _FULL):
                step = "Nothing was registered. Free some space."
                raise DiskFull("the disk is full or failing", where=str(self._path), got=str(error), next_step=step) from error
            is_text = "decode" in str(error)  # a flipped bit may leave what is no text
            if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError) and not is_text:
                raise
            step = "Restore it from a copy; the log can rebuild every version."
            raise CorruptData(
                f"the catalogue cannot be read ({str(error)[:200]})", where=str(self._path), next_step=step
            ) from error

    def register(self, version: Version) -> bool:
        """Add a version whose file is on disk; durable on return. False: it was there already, with the same bytes.

        Raises:
            DiskFull: There is no room; nothing was registered.
            Fatal: It was there with other bytes: the fold is not reproducible.
            CorruptData: Its file is missing or altered.
        """
        self.artifacts.verify(version.sha256)
        row = _row(version)
        holes = ", ".join("?" * len(row))
        with self._intact():
            new = self._db.execute(f"INSERT INTO versions VALUES ({holes}) ON CONFLICT DO NOTHING", row).rowcount == 1  # noqa: S608
        crashpoint("registry.registered")
        there = None if new else self.exact(version.line, version.seq)
        if there is not None and there.sha256 != version.sha256:
            raise Fatal(
                "the same events gave another model: the fold is not reproducible", where=version.name,
                expected=there.sha256, got=version.sha256,
                next_step="Compare both recipes with `headwater show`; run `headwater doctor`. Nothing was replaced.",
            )  # fmt: skip
        return new

    def exact(self, line: str, seq: int) -> Version | None:
        """The version that a line had registered at a place of the log, if it had."""
        with self._intact():
            found = self._db.execute(f"{_SELECT} WHERE line = ? AND seq = ?", (line, seq)).fetchone()
        return None if found is None else _version(found)

    def lines(self) -> tuple[str, ...]:
        """Names of all lines that have a version, sorted."""
        with self._intact():
            return tuple(line for (line,) in self._db.execute("SELECT DISTINCT line FROM versions ORDER BY line"))

    def list(self, line: str | None = None) -> list[Version]:
        """All versions, or those of one line, by line and age.

        Raises:
            Fatal: No version is of that line.
        """
        where, values = ("", ()) if line is None else (" WHERE line = ?", (line,))
        with self._intact():
            found = [_version(row) for row in self._db.execute(f"{_SELECT}{where} ORDER BY line, seq", values)]
        if line is not None and not found:
            raise Fatal("no such line", where=line, next_step=nearest(line, self.lines()))
        return found

    def get(self, name: str) -> Version:
        """A version by what a person would type.

        Args:
            name: `line@seq`; a line's name for its newest version; the start of a name, or eight or more digits of a
                hash, where only one version begins so.

        Raises:
            Fatal: No version, or more than one, is meant.
        """
        versions = self.list()
        by_name = {version.name: version for version in versions}
        if name in by_name:
            return by_name[name]
        newest = [version for version in versions if version.line == name]
        if newest:
            return newest[-1]
        meant = [v for v in versions if v.name.startswith(name) or (len(name) >= 8 and v.sha256.startswith(name))]  # noqa: PLR2004
        if name and len(meant) == 1:
            return meant[0]
        if name and meant:
            some = ", ".join(v.name for v in meant[:5])
            raise Fatal("more than one version is meant", where=name, got=some, next_step="Type more of the name.")
        raise Fatal("no such version", where=name, next_step=nearest(name, by_name))

    def diff(self, a: str, b: str) -> Difference:
        """What changed from one version to another; names as for `get`.

        Raises:
            Fatal: As `get`.
            CorruptData: The file of one of them is.
        """
        first, second = self.get(a), self.get(b)
        return difference(first, second, self.artifacts.get(first.sha256), self.artifacts.get(second.sha256))

    def close(self) -> None:
        """Release the file; what was registered is already durable."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _row(v: Version) -> tuple[object, ...]:
    metrics = {key: None if value is None or not math.isfinite(value) else value for key, value in v.metrics.items()}
    recipe = canonical(dict(v.recipe))
    return (v.line, v.seq, v.sha256, v.created_ms, v.trigger, recipe, v.parent, v.log_start, canonical(metrics), v.cost_core_s)


def _version(row: tuple[Any, ...]) -> Version:
    line, seq, sha256, created_ms, trigger, recipe, parent, log_start, metrics, cost_core_s = row
    read: tuple[Mapping[str, Any], Mapping[str, float | None]] = (json.loads(recipe), json.loads(metrics))
    return Version(line, seq, sha256, created_ms, trigger, read[0], parent, log_start, read[1], cost_core_s)
