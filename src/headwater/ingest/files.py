"""Files of history to batches: Parquet, CSV (also .gz) and JSON lines.

A file holds one stream's events with the columns of plain events: `time`, perhaps `id` (else the row's number), `source`
and `seq` (the place in the log that it was exported from); or, as JSON lines, events that name their `stream` each. Rows
that do not fit become dead letters, as at the door.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from headwater.core.batch import Batch, Ints
from headwater.core.errors import Fatal
from headwater.core.schema import SYSTEM_SCHEMAS, Kind, Schema
from headwater.ingest.arrow import TARGETS, table_windows, typed_batch
from headwater.ingest.decode import Decoder, Window, never, pieces
from headwater.ingest.letters import Letter
from headwater.ingest.rows import BLOCK_BYTES, NULLS, kind_of, open_csv

_NEVER_AHEAD_US = 253_402_300_800_000_000  # the year 10000: history has no arrival to be ahead of


@dataclass(slots=True, eq=False)
class History:
    """One file, read.

    Attributes:
        stream: Its stream's name; "" where each event names its own.
        parts: Its good rows, in file order.
        seq: Their places in the log that they were exported from; None where the file does not say.
        letters: What was refused.
    """

    stream: str
    parts: list[Batch] = field(default_factory=list)
    seq: Ints | None = None
    letters: list[Letter] = field(default_factory=list)


def read_history(decoder: Decoder, schema: Schema | None, path: Path) -> Iterator[tuple[int, History]]:
    """Read a file; yields (bytes read so far, the history so far) for a progress bar. The last one is whole.

    `schema` is its stream's; None where each event names its own, which only JSON lines can.

    Raises:
        Fatal: No such file, an unknown kind of file, or one that is not what its name says.
    """
    kind = kind_of(path)
    history, seqs = History(schema.stream if schema else ""), []
    try:
        for done, window, seq in _windows(decoder, schema, path, kind):
            good = np.array([i for i in range(window.batch.n) if i not in window.letters], np.int64)
            if good.size:
                history.parts.append(_of_history(window.batch.take(good) if good.size < window.batch.n else window.batch))
            history.letters += window.letters.values()
            if seq is not None:
                seqs.append(seq[good])
            yield done, history
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Fatal(
            f"the file cannot be read: {str(error).splitlines()[0]}", where=str(path), expected=f"a {kind} file"
        ) from error
    history.seq = np.concatenate(seqs) if seqs else None
    yield path.stat().st_size, history


def _of_history(batch: Batch) -> Batch:
    """The same rows, as if each had arrived when it happened."""
    return Batch(
        batch.n, batch.names, batch.stream, batch.time, batch.time * 1000, batch.sources, batch.source, batch.ids,
        batch.frames,
    )  # fmt: skip


def _windows(decoder: Decoder, schema: Schema | None, path: Path, kind: str) -> Iterator[tuple[int, Window, Ints | None]]:
    if "json" in kind:
        yield from _json_windows(decoder, schema.stream if schema else None, path)
        return
    if schema is None:
        raise Fatal(
            "such a file holds one stream, which has to be named", where=str(path),
            expected="STREAM=FILE, or JSON lines with `stream`",
            next_step=f"Write --input STREAM={path}.",
        )  # fmt: skip
    row = 0
    for done, rows in _parquet(path) if kind == ".parquet" else _csv(path, schema):
        shaped, seq = _envelope(rows, row, path)
        row += rows.num_rows
        if schema in SYSTEM_SCHEMAS:
            yield done, Window(typed_batch(schema, shaped, _NEVER_AHEAD_US), {}, never), seq
            continue
        for start, window in table_windows(decoder, shaped, schema.stream, _NEVER_AHEAD_US):
            yield done, window, None if seq is None else seq[start : start + window.batch.n]


def _json_windows(decoder: Decoder, stream: str | None, path: Path) -> Iterator[tuple[int, Window, None]]:
    done = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            block += file.readline()
            done = min(done + len(block), path.stat().st_size)
            for piece in pieces(block, is_lines=True):
                window = decoder.window(piece, stream, _NEVER_AHEAD_US)
                if window is not None:
                    yield done, window, None


def _parquet(path: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    file, size, done = pq.ParquetFile(path), path.stat().st_size, 0
    for batch in file.iter_batches():
        done += batch.num_rows
        yield size * done // max(1, file.metadata.num_rows), batch


def _csv(path: Path, schema: Schema) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Texts stay texts (a zip code keeps its zeros); numbers are read as such, and refused row by row if they are not."""
    types: dict[str, Any] = {f.name: TARGETS[f.kind] for f in schema.fields if f.kind is Kind.STR}
    types |= {"id": pa.string(), "source": pa.string()}
    texts = {f.name: f.nullable for f in schema.fields}
    convert = pacsv.ConvertOptions(column_types=types, strings_can_be_null=any(texts.values()), null_values=NULLS)
    size, done = path.stat().st_size, 0
    for batch in open_csv(path, convert):
        done = min(size, done + batch.nbytes)
        yield done, batch


def _envelope(rows: pa.RecordBatch, first: int, path: Path) -> tuple[pa.RecordBatch, Ints | None]:
    """Give rows an id where they have none, times a zone where they have none (UTC), and take `seq` out."""
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    if "time" not in columns:
        raise Fatal(
            "a file of history needs the column `time`", where=str(path), expected="ISO 8601, or integer ms since 1970 UTC",
            got=", ".join(rows.schema.names), next_step="Rename the column that says when each event happened.",
        )  # fmt: skip
    columns.setdefault("id", pa.array([str(i) for i in range(first, first + rows.num_rows)]))
    columns["time"] = _utc(columns["time"])
    seq = columns.pop("seq", None)
    places: Ints | None = None if seq is None else seq.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns)), places


def _utc(times: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(times.type) and times.type.tz is None:
        return pc.assume_timezone(times, "UTC")
    if pa.types.is_string(times.type) or pa.types.is_large_string(times.type):
        try:
            read = times.cast(pa.timestamp("ms"))
            return pc.assume_timezone(read, "UTC")
        except pa.ArrowInvalid:
            try:
                return times.cast(pa.timestamp("ms", "UTC"))
            except pa.ArrowInvalid:
                return times  # read one by one, so that only the bad ones are refused
    return times
