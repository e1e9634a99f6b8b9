"""The catalogue of versions: one SQLite file beside the versions' own, so that people can query it.

The learner writes, any number of processes read. A row is written after its file is on disk and is never changed: a fold
that arrives again at a version that it has already made (after a crash) must arrive at the same bytes.

Every row is signed by the installation, and its signature is verified whenever it is read: so a file is opened only by a
hash that this installation wrote down. What a catalogue must have at least is signed beside it (see `heads`).
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
from headwater.core.errors import CorruptData, DiskFull, Fatal, Untrusted, WrongState, nearest
from headwater.registry.artifact import MAX_FILE_BYTES, Artifacts, canonical
from headwater.registry.database import COLUMNS, NEWEST, SELECT, UNSIGNED, add_signatures, connect
from headwater.registry.difference import Difference, difference
from headwater.registry.heads import Head, Heads, check_heads
from headwater.registry.signing import InstallationKey, trust_folder
from headwater.registry.version import Version

FILE_NAME = "catalog.sqlite"
_FULL = ("disk is full", "disk I/O error")
_NOT_DAMAGE = ("locked", "interrupted", "unable to open", "readonly")
_PURPOSE = "headwater version/1"


class Catalog:
    """Versions in a folder: `catalog.sqlite` and `versions/<sha256>.safetensors`.

    Args:
        folder: Usually `registry` inside the state directory.
        read_only: Open what is there and write nothing; otherwise it is made where it is missing.
        max_bytes: Largest file of a version that is written or read.

    Raises:
        WrongState: Written by a newer Headwater, or (read-only) not there, or not signed yet.
        CorruptData: Not a catalogue.
        Untrusted: It is older than what was signed here last, or there is no key to tell.

    Attributes:
        key: The installation's.
        n_signed_now: Versions of an installation older than signatures, signed as the catalogue was opened.
    """

    def __init__(self, folder: Path, *, read_only: bool = False, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path = folder / FILE_NAME
        self.artifacts = Artifacts(folder / "versions", max_bytes=max_bytes)
        if read_only and not self._path.exists():
            raise WrongState("no version has been registered here", where=str(folder), next_step="Check --state.")
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        with self._intact():
            self._db, found = connect(self._path, read_only=read_only)
            self.key = InstallationKey.open(trust_folder(folder), make=not read_only)
            self._heads = Heads(trust_folder(folder), self.key)
            self.n_signed_now = self._sign_older() if found == UNSIGNED else 0
            self._check_heads(read_only=read_only)

    def _sign_older(self) -> int:
        """Sign what a release without signatures left: once, and only where nothing was ever signed; how many versions."""
        if not self._heads.is_first_start:
            raise Untrusted(
                "the catalogue has no signatures, and this installation signs its own", where=str(self._path),
                next_step="Put the newest copy of the catalogue back.",
            )  # fmt: skip
        return add_signatures(self._db, lambda row: self._sign(_version(row)))

    def _check_heads(self, *, read_only: bool) -> None:
        """Refuse an older catalogue; whoever writes then signs off what is there."""
        expected = {} if self._heads.is_first_start and not read_only else self._heads.read()
        there = self._newest()
        has = {line: "" if (at := self.exact(line, head.seq)) is None else at.sha256 for line, head in expected.items()}
        check_heads(expected, there, has)
        if not read_only and (there != expected or self._heads.is_first_start):
            self._heads.write(there)
        self._signed_off, self._is_unsaid = there, False

    def _newest(self) -> dict[str, Head]:
        return {line: Head(seq, sha256, n) for line, seq, sha256, n in self._db.execute(NEWEST)}

    @classmethod
    def accept(cls, folder: Path) -> int:
        """Take the catalogue in a folder as the newest there is, though it is older than what was signed off: a person says so.

        Returns:
            How many versions it has; the signature of each was verified.

        Raises:
            WrongState, CorruptData, Untrusted: As for the constructor and `list`.
        """
        key = InstallationKey.open(trust_folder(folder), make=False)
        heads = Heads(trust_folder(folder), key)
        before = {} if heads.is_first_start else heads.read()
        heads.write({})
        try:
            with cls(folder) as catalog:
                return len(catalog.list())
        except BaseException:
            heads.write(before)
            raise

    @contextmanager
    def _intact(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # its messages quote what it found
            if any(reason in str(error) for reason in _FULL):
                step = "Nothing was registered. Free some space."
                raise DiskFull("the disk is full or failing", where=str(self._path), got=str(error), next_step=step) from error
            # Else our statements, which fit the table that we made, meet another one, or what is no text.
            is_ours = any(reason in str(error) for reason in _NOT_DAMAGE)
            if isinstance(error, sqlite3.IntegrityError) or (isinstance(error, sqlite3.OperationalError) and is_ours):
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
        row = (*row, self._sign(_version(row)))
        holes = ", ".join("?" * len(row))
        with self._intact():
            into = f"INSERT INTO versions ({COLUMNS}, signature) VALUES ({holes}) ON CONFLICT DO NOTHING"  # noqa: S608
            new = self._db.execute(into, row).rowcount == 1
        crashpoint("registry.registered")
        if new:
            self._sign_off(version)
        elif self._is_unsaid:  # the disk had no room for the list
            self._say_heads()
        there = None if new else self.exact(version.line, version.seq)
        if there is not None and there.sha256 != version.sha256:
            raise Fatal(
                "the same events gave another model: the fold is not reproducible", where=version.name,
                expected=there.sha256, got=version.sha256,
                next_step="Compare both recipes with `headwater show`; run `headwater doctor`. Nothing was replaced.",
            )  # fmt: skip
        return new

    def _sign(self, version: Version) -> str:
        return self.key.sign(_PURPOSE, version.describe()).hex()

    def _sign_off(self, version: Version) -> None:
        """The line has one version more, and the newest is this one unless it is older."""
        before = self._signed_off.get(version.line, Head(-1, "", 0))
        newest = (version.seq, version.sha256) if version.seq > before.seq else before[:2]
        self._signed_off[version.line] = Head(*newest, before.n + 1)
        self._say_heads()

    def _say_heads(self) -> None:
        self._is_unsaid = True
        self._heads.write(self._signed_off)
        self._is_unsaid = False

    def _verified(self, row: tuple[Any, ...]) -> Version:
        """A row as a version.

        Raises:
            Untrusted: This installation did not sign it.
        """
        *fields, signature = row
        version = _version(tuple(fields))
        try:
            is_ours = self.key.is_signed(_PURPOSE, version.describe(), bytes.fromhex(signature))
        except (ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise Untrusted(
                "this version was not signed by this installation, or was changed since", where=version.name,
                expected="the installation's signature", got="none" if not signature else "another one",
                next_step="Put the newest copy of the catalogue back. Nothing of this version is opened.",
            )  # fmt: skip
        return version

    def exact(self, line: str, seq: int) -> Version | None:
        """The version that a line had registered at a place of the log, if it had."""
        with self._intact():
            found = self._db.execute(f"{SELECT} WHERE line = ? AND seq = ?", (line, seq)).fetchone()
        return None if found is None else self._verified(found)

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
            found = [self._verified(row) for row in self._db.execute(f"{SELECT}{where} ORDER BY line, seq", values)]
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
    return (
        v.line,
        v.seq,
        v.sha256,
        v.created_ms,
        v.trigger,
        recipe,
        v.parent,
        v.log_start,
        canonical(metrics),
        float(v.cost_core_s),
    )


def _version(row: tuple[Any, ...]) -> Version:
    line, seq, sha256, created_ms, trigger, recipe, parent, log_start, metrics, cost_core_s = row
    try:
        read: tuple[Mapping[str, Any], Mapping[str, float | None]] = (json.loads(recipe), json.loads(metrics))
    except (ValueError, TypeError, RecursionError) as error:
        raise Untrusted(
            "what the catalogue says of this version cannot be read", where=f"{line}@{seq}", got=str(error)[:200],
            next_step="Put the newest copy of the catalogue back. Nothing of this version is opened.",
        ) from error  # fmt: skip
    return Version(line, seq, sha256, created_ms, trigger, read[0], parent, log_start, read[1], cost_core_s)
