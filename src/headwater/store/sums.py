"""Rows that show whether they are what was written.

A flipped bit in the text of a notice would be told to followers as if it had been said; in a cursor, it would make a consumer
miss events, or hear them again. SQLite does not look at what it reads. So each row of such a table ends with a checksum over
its values, and whoever reads or changes a row compares it first. Rows of a file from before there were checksums get theirs
as it is brought up to date: from then on, a row without one is damaged too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from headwater.core.errors import CorruptData
from headwater.log.checksum import xxh64
from headwater.store.database import Database

_encode = msgspec.msgpack.Encoder().encode  # says where a value ends and which type it has


def row_sum(*values: object) -> int:
    """The checksum of a row's values, as SQLite keeps it: with a sign, in 64 bits.

    >>> row_sum("_plans", 3) == row_sum("_plans", 3.0)
    False
    """
    unsigned = xxh64(_encode(values))
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


class SummedTable:
    """A table whose last column, `sum`, is a checksum of the others.

    Args:
        db: Its file; the function `row_sum` is known there.
        name: Of the table.
        columns: All columns but the last, as the checksum takes them; the first two name a row.
        unique: The columns by which a row is known as one that is there already.
        since: The format of the file from which on it has checksums.
    """

    def __init__(self, db: Database, name: str, columns: str, unique: str, *, since: int = 2) -> None:
        self._db, self._name, self._columns = db, name, columns
        self._summed = f"{columns}, sum" if db.format >= since else columns
        holes = ", ".join("?" * (columns.count(",") + 2))
        self._insert = f"INSERT INTO {name} VALUES ({holes}) ON CONFLICT ({unique}) DO NOTHING"  # noqa: S608 - our own words

    def rows(self, where: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a clause picks, without their checksums; see `each`."""
        return list(self.each(where, values))

    def each(self, where: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Those rows, each compared as it is taken.

        Raises:
            CorruptData: One of them is not what was written.
        """
        found = self._db.rows(f"SELECT {self._summed} FROM {self._name} {where}", values)  # noqa: S608 - our own words
        return iter(found) if self._summed is self._columns else map(self._compared, found)

    def compare(self, where: str, values: Sequence[object] = ()) -> None:
        """Compare the rows that a clause picks, for a query that puts them together.

        Raises:
            CorruptData: One of them is not what was written.
        """
        for _ in self.each(where, values):
            pass

    def _compared(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        *values, expected = row
        got = row_sum(*values)
        if got != expected:
            raise CorruptData(
                "a row was altered", where=f"{self._db.where}, {self._name} {values[0]!s} {values[1]!s}",
                expected=f"checksum {expected}", got=f"{got}",
                next_step="Nothing was deleted. Restore the file from a copy, or move it away.",
            )  # fmt: skip
        return tuple(values)

    def add(self, row: Sequence[object]) -> bool:
        """Insert a row, in a transaction that is open; False where it is there already."""
        return self._db.execute(self._insert, (*row, row_sum(*row))) == 1

    def change(self, what: str, values: Sequence[object], where: str, which: Sequence[object]) -> int:
        """Change the rows that a clause picks, in a transaction that is open; how many there are.

        Raises:
            CorruptData: One of them is not what was written: its checksum would hide that from now on.
        """
        if not self.rows(where, which):
            return 0
        self._db.execute(f"UPDATE {self._name} SET {what} {where}", (*values, *which))  # noqa: S608 - our own words
        return self._db.execute(f"UPDATE {self._name} SET sum = row_sum({self._columns}) {where}", which)  # noqa: S608


def add_sums(name: str, columns: str) -> list[str]:
    """Statements that give a table of the format before its checksums."""
    return [
        f"ALTER TABLE {name} ADD COLUMN sum INTEGER NOT NULL DEFAULT 0",
        f"UPDATE {name} SET sum = row_sum({columns})",  # noqa: S608 - our own words
    ]
