"""The history store: rows by entity and event time, in Parquet files by day, and their point-in-time join.

What a model was shown is written as it was scored, so that tomorrow's training set is made of what was known, not of what is
known now. A day's folder is `day=2025-01-06`, a file in it is named after the first and last `seq` that it holds, and after its
own checksum: Parquet has one for each page of values, and none for what says which columns these are. Writing is at least
once: after a restart the same rows may be in two files, cut elsewhere, and `seq` tells that they are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headwater.core.batch import Bools, Ints
from headwater.core.duration import parse_ms
from headwater.core.errors import CorruptData, Fatal, WrongState, nearest
from headwater.core.files import replace_durably, sync_folder
from headwater.log.checksum import xxh64

_DAY_MS = 86_400_000
_UTC_MS = pa.timestamp("ms", "UTC")
_PREFIX = "history."


class History:
    """One table of rows. One process writes, any number read.

    Args:
        folder: Where the days are; made with the first row.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, rows: pa.Table) -> None:
        """Keep rows: `seq` int64, which names a row for good, `time` timestamp in UTC, and any other columns.

        Raises:
            Fatal: A column is missing.
            WrongState: The columns are others than those of the rows that are here.
        """
        rows = self._checked(rows)
        if rows.num_rows == 0:
            return
        days = _millis(rows["time"]) // _DAY_MS
        for day in np.unique(days):
            part = rows.filter(pa.array(days == day))
            seqs = part["seq"].to_numpy()
            self._write(part, _day(int(day)), f"{int(seqs.min()):020d}-{int(seqs.max()):020d}")

    def _checked(self, rows: pa.Table) -> pa.Table:
        for name in ("seq", "time"):
            if name not in rows.column_names:
                raise Fatal("rows of a history have no such column", where=str(self.folder), expected=name,
                            got=", ".join(rows.column_names))  # fmt: skip
        rows = rows.set_column(rows.column_names.index("time"), "time", rows["time"].cast(_UTC_MS))
        there = next((_schema(path) for _, path in self._files()), rows.schema)
        if not there.equals(rows.schema):
            raise WrongState("these rows have other columns than the history", where=str(self.folder),
                             expected=_spelled(there), got=_spelled(rows.schema),
                             next_step="Keep the rows of another declaration in another folder.")  # fmt: skip
        return rows

    def _write(self, rows: pa.Table, day: str, seqs: str) -> None:
        folder = self.folder / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        whole = pa.BufferOutputStream()
        pq.write_table(rows, whole, compression="zstd", write_page_checksum=True)
        content = whole.getvalue().to_pybytes()
        written = folder / f"{seqs}-{xxh64(content):016x}.parquet"
        replace_durably(written, content)
        for other in folder.glob(f"{seqs}*.parquet"):  # the same rows, as they were written before
            if other != written:
                other.unlink()
        sync_folder(self.folder)

    def _files(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self.folder.glob("day=*/*.parquet")):
            yield path.parent.name.removeprefix("day="), path

    def read(self, first_ms: int | None = None, last_ms: int | None = None) -> pa.Table:
        """Rows with first_ms <= time <= last_ms in the order of `seq`, each once; reads the days that may hold them.

        Raises:
            WrongState: Nothing is kept here.
            CorruptData: A file is not what was written.
        """
        low = "" if first_ms is None else _day(first_ms // _DAY_MS)
        high = "~" if last_ms is None else _day(last_ms // _DAY_MS)
        files = list(self._files())
        if not files:
            raise WrongState("no history is kept here", where=str(self.folder), next_step="Check the folder.")
        parts = [_table(path) for day, path in files if low <= day <= high]
        rows = pa.concat_tables(parts) if parts else _table(files[0][1]).schema.empty_table()
        times = _millis(rows["time"])
        _, first = np.unique(rows["seq"].to_numpy(), return_index=True)  # ascending seq, one of each
        kept = first[_within(times[first], first_ms, last_ms)]
        return rows.take(pa.array(kept))

    def join(self, questions: pa.Table, by: Sequence[str], *, as_of: str = "time", max_age: str | None = None) -> pa.Table:
        """Each question with the newest row of its entity at or before its time; nulls where there is none.

        Newest is by event time, then by `seq`. An entity with a null in its name is nobody's. The rows' columns keep their
        names, with "history." before those that questions have too. Cost: the history up to the last question is sorted in
        memory; `max_age` bounds how far back it is read.

        Args:
            questions: Columns `by` and `as_of`, and any others.
            by: Columns that name the entity, in both.
            as_of: The questions' column of timestamps.
            max_age: Older rows are not known any more: "7d".

        Raises:
            Fatal: A column is missing.
            WrongState: Nothing is kept here.
        """
        _require(questions, (*by, as_of), "the questions")
        asked = _millis(questions[as_of].cast(_UTC_MS))
        age_ms = None if max_age is None else parse_ms(max_age, where="max_age")
        first = None if age_ms is None or asked.size == 0 else int(asked.min()) - age_ms
        rows = self.read(first, int(asked.max()) if asked.size else None)
        _require(rows, by, str(self.folder))
        times = _millis(rows["time"])
        found = _newest_before(_entities(rows, questions, by), times, asked)
        if age_ms is not None and rows.num_rows:
            found = np.where((found >= 0) & (asked - times[found] > age_ms), -1, found)
        at = pa.array(found, mask=found < 0)
        for name in rows.column_names:
            if name not in by:
                shown = _PREFIX + name if name in questions.column_names else name
                questions = questions.append_column(shown, rows[name].take(at))
        return questions


def _table(path: Path) -> pa.Table:
    with _whole(path):
        content = path.read_bytes()
        expected = "-".join(path.stem.split("-")[2:])
        if expected and expected != f"{xxh64(content):016x}":  # files from before there were checksums have none
            raise pa.ArrowInvalid(f"checksum {xxh64(content):016x} instead of {expected}")
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True)


def _schema(path: Path) -> pa.Schema:
    with _whole(path):
        return pq.read_schema(path)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Name a file that Arrow cannot read; a file that is not there, or not ours to open, stays what it is."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        step = "Nothing was deleted. Restore it from a copy, or move it away: its rows are missing then."
        raise CorruptData("a file of the history was altered or cut short", where=str(path), got=str(error)[:200],
                          next_step=step) from error  # fmt: skip


def _newest_before(entities: tuple[Ints, Ints], times: Ints, asked: Ints) -> Ints:
    """For each question the position of its row, or -1; rows are in the order of seq.

    Rows and questions are sorted together by entity, time and rows first, so that a question's row is the last one before it.
    """
    n, m = times.size, asked.size
    entity, time = np.concatenate(entities), np.concatenate([times, asked])
    is_asked = np.repeat(np.array([False, True]), (n, m))
    order = np.lexsort((is_asked, time, entity))  # stable: equal rows stay in the order of seq
    is_row = ~is_asked[order]
    last = np.maximum.accumulate(np.where(is_row, np.arange(n + m), -1)) if n + m else np.zeros(0, np.int64)
    fits: Bools = (last >= 0) & (entity[order[last]] == entity[order]) & (entity[order] >= 0)
    out = np.full(n + m, -1, np.int64)
    out[order] = np.where(fits, order[last], -1)
    return out[n:]


def _entities(rows: pa.Table, questions: pa.Table, by: Sequence[str]) -> tuple[Ints, Ints]:
    """One number for each entity, the same in both tables; -1 where a part of its name is null."""
    n = rows.num_rows
    code, is_null = np.zeros(n + questions.num_rows, np.int64), np.zeros(n + questions.num_rows, np.bool_)
    for name in by:
        kind = rows.schema.field(name).type
        both = pa.chunked_array([*rows[name].chunks, *questions[name].cast(kind).chunks], kind).combine_chunks()
        encoded = pc.dictionary_encode(both)
        part = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        is_null |= pc.is_null(both).to_numpy(zero_copy_only=False)
        code = np.unique(code * (len(encoded.dictionary) + 1) + part, return_inverse=True)[1].astype(np.int64)
    code[is_null] = -1
    return code[:n], code[n:]


def _require(table: pa.Table, names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in table.column_names:
            raise Fatal("there is no such column", where=where, got=name, next_step=nearest(name, table.column_names))


def _within(times: Ints, first_ms: int | None, last_ms: int | None) -> Bools:
    inside = np.ones(times.size, np.bool_)
    if first_ms is not None:
        inside &= times >= first_ms
    if last_ms is not None:
        inside &= times <= last_ms
    return inside


def _millis(times: Any) -> Ints:
    """Milliseconds since 1970 of a column of timestamps.

    Raises:
        Fatal: One is null.
    """
    if times.null_count:
        raise Fatal("a time is missing", where="time", expected="a timestamp in every row", got=f"{times.null_count} nulls")
    return np.asarray(times.cast(_UTC_MS).cast(pa.int64()).to_numpy(), np.int64)


def _day(number: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)).strftime("%Y-%m-%d")


def _spelled(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
