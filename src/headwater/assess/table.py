"""A file to a table in memory: every column whole, rows in order of their event time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from headwater.assess.choices import Choices
from headwater.assess.columns import Form, Gathering, Held
from headwater.assess.labels import Label, LabelReader
from headwater.assess.reading import TableFile, open_table, read_batches
from headwater.assess.times import MISSING, TimeReader
from headwater.core.batch import Ints
from headwater.core.errors import Fatal

Progress = Callable[[str, int, int], None]  # what, done, of
FEWEST_ROWS = 100
_MEMORY_SHARE = 0.25  # of the machine's memory that a table may take: twice that while it is encoded


@dataclass(slots=True, eq=False)
class Table:
    """A file's rows in order of time.

    Attributes:
        file: Where they came from.
        n: Their number.
        columns: By name, in the file's order; without label, times and dropped columns.
        label: What turned out to be true.
        time_ms: Event time, int64[n], ms since 1970 UTC, ascending.
        known_ms: When each label became known, int64[n]; `time_ms` itself without a column for it, and `times.MISSING`
            where it never did.
        order: The file's row of each row; None where the file was in order.
        notes: What was found on the way and a user should know, as sentences.
    """

    file: TableFile
    n: int
    columns: dict[str, Held]
    label: Label
    time_ms: Ints
    known_ms: Ints
    order: Ints | None = None
    notes: list[str] = field(default_factory=list)

    def in_file_order(self, values: Ints) -> Ints:
        """Values of the rows, as the rows stand in the file."""
        if self.order is None:
            return values
        out = np.empty_like(values)
        out[self.order] = values
        return out


def ignore(what: str, done: int, of: int) -> None:
    """No progress bar."""


def read_table(path: Path, choices: Choices, progress: Progress = ignore, rows: int | None = None) -> Table:
    """Read a file and put its rows in order.

    Args:
        path: CSV, JSON lines or Parquet.
        choices: Which column is what.
        progress: Told how far it is.
        rows: Read no more than so many.

    Raises:
        Fatal: The file cannot be read, a column is missing, a time cannot be read, a label never varies or is known
            before its event, or the table is too large for this machine.
    """
    file = open_table(path)
    if file.has_header:
        choices.check(file.names, str(path))
    reading = _Reading(file, choices, progress, rows)
    reading.run()
    return _ordered(reading)


class _Reading:
    """One pass over a file, and another one over columns that turned out to be texts."""

    def __init__(self, file: TableFile, choices: Choices, progress: Progress, rows: int | None) -> None:
        self.file, self.choices, self.progress, self.limit = file, choices, progress, rows
        self.n = 0
        where = str(file.path)
        self.time = TimeReader(choices.time, f"{where}, --time")
        self.known = TimeReader(choices.label_time or "", f"{where}, --label-time", may_miss=True)
        self.label = LabelReader(choices.label, where)
        self.columns: dict[str, Gathering] = {}
        self.seen: set[str] = set()

    def run(self) -> None:
        only = [] if not self.file.has_header else [name for name in self.file.names if name not in self.choices.drop]
        self._pass(only, self._take)
        self.choices.check([*self.seen, *self.choices.drop], str(self.file.path))
        if self.time.n < self.n:  # the first objects of a JSON file did not have it
            self.time.add_missing(self.n - self.time.n)
        again = {name: Gathering(name, Form.TEXT) for name, column in self.columns.items() if column.misfit}
        label = LabelReader(self.choices.label, self.label.where, is_text=True) if self.label.misfit else None
        if again or label:
            self._pass([*again, *([label.name] if label else [])], lambda rows: self._take_texts(rows, again, label))
            self.columns |= {name: again.get(name, column) for name, column in self.columns.items()}
            self.label = label or self.label

    def _pass(self, only: list[str], take: Callable[[pa.RecordBatch], None]) -> None:
        size = self.file.path.stat().st_size
        times = [name for name in (self.choices.time, self.choices.label_time) if name]
        n = 0
        for done, batch in read_batches(self.file, only, times):
            rows = batch if self.limit is None else batch.slice(0, max(0, self.limit - n))
            if n == 0:
                self._check_size(rows, done, size)
            n += rows.num_rows
            take(rows)
            self.progress("reading", done, size)
            if n == self.limit:
                break

    def _take(self, rows: pa.RecordBatch) -> None:
        roles = {part.name: part for part in (self.time, self.known, self.label) if part.name}
        names = set(rows.schema.names) - set(self.choices.drop)
        self.seen |= names
        for name in rows.schema.names:
            if name in names:
                (roles.get(name) or self.columns.get(name) or self._new(name)).add(rows.column(name))
        for name, part in (self.columns | roles).items():
            if name not in names and (part is not self.time or self.time.n):
                part.add_missing(rows.num_rows)
        self.n += rows.num_rows

    def _new(self, name: str) -> Gathering:
        choices = self.choices
        must_be = Form.TEXT if name in choices.category else Form.WORDS if name in choices.text else None
        made = self.columns[name] = Gathering(name, must_be)
        if self.n:
            made.add_missing(self.n)
        return made

    @staticmethod
    def _take_texts(rows: pa.RecordBatch, again: dict[str, Gathering], label: LabelReader | None) -> None:
        for name, reader in again.items():
            array = rows.column(name) if name in rows.schema.names else pa.nulls(rows.num_rows, pa.string())
            reader.add(array if pa.types.is_null(array.type) else array.cast(pa.string()))
        if label:
            label.add(rows.column(label.name))

    def _check_size(self, rows: pa.RecordBatch, done: int, size: int) -> None:
        """Refuse within the first piece what would not fit into memory in the end."""
        if rows.num_rows == 0:
            return
        expected = size / max(1, done) * rows.num_rows if self.limit is None else self.limit
        needed = expected * rows.num_columns * 8
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _MEMORY_SHARE
        if needed > room:
            raise Fatal(
                "this table is too large for the memory of this machine", where=str(self.file.path),
                expected=f"at most {room / 1e9:.1f} GB as numbers",
                got=f"about {expected:,.0f} rows x {rows.num_columns:,} columns = {needed / 1e9:.1f} GB",
                next_step="Read fewer columns (--drop) or only the first rows (--rows).",
            )  # fmt: skip


def _ordered(reading: _Reading) -> Table:
    choices, file = reading.choices, reading.file
    if reading.n < FEWEST_ROWS:
        raise Fatal(
            "there are too few rows to say anything", where=str(file.path), expected=f"at least {FEWEST_ROWS}",
            got=f"{reading.n}",
        )  # fmt: skip
    time = reading.time.finish()
    known = reading.known.finish() if choices.label_time else time
    label = reading.label.finish(choices.task)
    columns = {name: gathering.finish() for name, gathering in reading.columns.items()}
    table = Table(file, reading.n, columns, label, time, known)
    _note_times(table, reading)
    if (time[1:] < time[:-1]).any():
        _sort(table)
    if choices.label_time:
        _check_known(table, choices.label_time)
    return table


def _note_times(table: Table, reading: _Reading) -> None:
    time = reading.time
    if time.is_count:
        table.notes.append(f"{time.name} holds small numbers: taken as seconds, only their order and distances matter.")
    if (table.time_ms == table.time_ms[0]).all():
        raise Fatal(
            "all events have the same time, so nothing comes before anything", where=time.where,
            expected="a column that says when", next_step="Name another column with --time.",
        )  # fmt: skip
    infinite = {held.name: held.n_infinite for held in table.columns.values() if held.n_infinite}
    for name, count in infinite.items():
        table.notes.append(f"{name}: {count:,} infinite numbers count as missing.")


def _sort(table: Table) -> None:
    """Rows in order of time; equal times stay as they stand in the file."""
    back = int((table.time_ms[1:] < table.time_ms[:-1]).sum())
    first = int(np.flatnonzero(table.time_ms[1:] < table.time_ms[:-1])[0]) + 1
    order = np.argsort(table.time_ms, kind="stable")
    is_same = table.known_ms is table.time_ms
    table.time_ms = table.time_ms[order]
    table.known_ms = table.time_ms if is_same else table.known_ms[order]
    table.label.y = table.label.y[order]
    for held in table.columns.values():
        held.take(order)
    table.order = order
    table.notes.append(f"The file is not in order of time ({back:,} rows go back, first row {first:,}): it was sorted.")


def _check_known(table: Table, name: str) -> None:
    known, y = table.known_ms, table.label.y
    early = (known < table.time_ms) & (known != MISSING)
    if early.any():
        row = int(np.flatnonzero(early)[0])
        line = row if table.order is None else int(table.order[row])
        ahead = int(table.time_ms[row] - known[row])
        raise Fatal(
            f"{int(early.sum()):,} labels are known before their event", where=f"{table.file.path}, --label-time {name}",
            expected="a moment at or after the event", got=f"{ahead:,} ms before it in row {line} (from 0)",
            next_step="Such a label is a feature, or one of the two times is wrong.",
        )  # fmt: skip
    never = int(((known == MISSING) & ~np.isnan(y)).sum())
    if never:
        y[known == MISSING] = np.nan
        table.notes.append(f"{never:,} labels have no time in {name}: they count as never known.")
