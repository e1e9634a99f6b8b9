"""One table file to record batches: CSV (also .gz, also with ; or tabs), JSON lines, Parquet.

Cells of a CSV stay texts here: what a column is can only be told once all of it has been seen, and a file that is right
for its first 99 % must not fail on the last one. Files are read piece by piece; a column can be read again alone.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from headwater.core.errors import Fatal
from headwater.ingest.rows import BLOCK_BYTES, NULLS, kind_of

_DELIMITERS = ",;\t|"
_HEADER_BYTES = 16 << 20
_MOST_BLOCKS = 16  # read at once of a file with many columns: each piece of a column costs a little
_COLUMNS_A_BLOCK = 500


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file that holds a table.

    Attributes:
        path: Where it is.
        kind: One of `ingest.rows.READERS`.
        names: Its columns in order; of JSON lines, those of the first line.
        delimiter: What separates a CSV's cells.
    """

    path: Path
    kind: str
    names: tuple[str, ...]
    delimiter: str = ","

    @property
    def has_header(self) -> bool:
        """Whether `names` are all columns that there are."""
        return "json" not in self.kind


def open_table(path: Path) -> TableFile:
    """Look at a file's first line.

    Raises:
        Fatal: No such file, an unknown kind, an empty one, or two columns of one name.
    """
    kind = kind_of(path)
    with _readable(path, kind):
        if kind == ".parquet":
            found = TableFile(path, kind, tuple(pq.ParquetFile(path).schema_arrow.names))
        elif "json" in kind:
            found = TableFile(path, kind, tuple(_first_object(path)))
        else:
            names, delimiter = _header(path)
            found = TableFile(path, kind, names, delimiter)
    _check_names(found)
    return found


def read_batches(file: TableFile, only: Sequence[str] = (), texts: Sequence[str] = ()) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(bytes read so far, rows), piece by piece; CSV cells are texts.

    Args:
        file: What `open_table` found.
        only: The columns to read; empty: all.
        texts: Columns of JSON lines that must not be taken as times.

    Raises:
        Fatal: The file is not what its name says, or a row does not fit.
    """
    with _readable(file.path, file.kind):
        if file.kind == ".parquet":
            yield from _parquet(file, only)
        elif "json" in file.kind:
            yield from _json(file, only, texts)
        else:
            yield from _csv(file, only)


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what a reader says into one error with the file's name."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, msgspec.MsgspecError, csv.Error, EOFError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "A column must hold one type of values." if "changed from" in said else _hint(kind)
        what = f"the file cannot be read: {said}"
        raise Fatal(what, where=str(path), expected=f"a {kind} file", next_step=hint) from error


def _hint(kind: str) -> str:
    if kind == ".parquet":
        return "Is it whole, and Parquet?"
    return "Is it UTF-8 text with one JSON object a line?" if "json" in kind else "Is it UTF-8 text with a header?"


def _check_names(file: TableFile) -> None:
    twice = (
        sorted({name for name in file.names if file.names.count(name) > 1}) if len(set(file.names)) < len(file.names) else []
    )
    if twice:
        raise Fatal(
            "two columns have the same name", where=str(file.path), expected="a header of different names",
            got=", ".join(map(repr, twice[:5])), next_step="Rename or remove one of them.",
        )  # fmt: skip
    if not file.names:
        raise Fatal("the file is empty", where=str(file.path), expected="a header and rows")


def _opened(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _header(path: Path) -> tuple[tuple[str, ...], str]:
    """The names of a CSV, and what separates them: the sign that the first line has most of."""
    with _opened(path) as file:
        line = file.readline(_HEADER_BYTES).decode("utf-8-sig")
    delimiter = max(_DELIMITERS, key=line.count)
    return tuple(next(csv.reader([line], delimiter=delimiter), [])), delimiter


def _first_object(path: Path) -> dict[str, object]:
    with _opened(path) as file:
        for line in file:
            if line.strip():
                return msgspec.json.decode(line, type=dict[str, object])
    return {}


def _csv(file: TableFile, only: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    names = list(only or file.names)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[*NULLS, "NaN", "nan"],
        include_columns=names,
    )  # fmt: skip
    # One thread: a batch of text columns is made while the last one is looked at, and order is kept anyway.
    block = BLOCK_BYTES * min(_MOST_BLOCKS, 1 + len(names) // _COLUMNS_A_BLOCK)
    read = pacsv.ReadOptions(block_size=block, use_threads=False)
    parse = pacsv.ParseOptions(delimiter=file.delimiter, newlines_in_values=True)
    with file.path.open("rb") as raw:
        stream = pa.input_stream(raw, compression="gzip" if file.path.suffix == ".gz" else None)
        try:
            reader = pacsv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise
        for batch in reader:
            yield raw.tell(), batch


def _parquet(file: TableFile, only: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    opened, size, done = pq.ParquetFile(file.path), file.path.stat().st_size, 0
    for batch in opened.iter_batches(columns=list(only) or None, use_threads=False):
        done += batch.num_rows
        yield size * done // max(1, opened.metadata.num_rows), batch


def _json(file: TableFile, only: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    first = _first_object(file.path)
    wanted = [name for name in texts if isinstance(first.get(name), str)]
    options = pajson.ParseOptions(explicit_schema=pa.schema([(name, pa.string()) for name in wanted]))
    read = pajson.ReadOptions(use_threads=False, block_size=2 * BLOCK_BYTES)
    with file.path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if file.path.suffix == ".gz" else raw as lines:
        while block := lines.read(BLOCK_BYTES):
            block += lines.readline()
            if not block.strip():
                continue
            table = pajson.read_json(io.BytesIO(block), read_options=read, parse_options=options)
            if only:
                table = table.select([name for name in only if name in table.column_names])
            for batch in table.combine_chunks().to_batches():
                yield raw.tell(), batch
