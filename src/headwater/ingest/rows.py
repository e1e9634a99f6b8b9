"""Files to plain rows, for clients that hand them to a gateway: JSON lines, CSV (also .gz) and Parquet.

Nothing is checked here: the gateway knows the schemas and says what is wrong with a row.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from headwater.core.errors import Fatal, nearest

BLOCK_BYTES = 8 << 20
NULLS = ["", "NA", "null", "None"]  # a CSV's cells that mean "nothing"
READERS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")

Row = dict[str, Any]

_decode = msgspec.json.Decoder(Row).decode


def kind_of(path: Path) -> str:
    """Which of `READERS` a file is, by its name.

    Raises:
        Fatal: No such file, or another kind.
    """
    if not path.is_file():
        near = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Fatal("there is no such file", where=str(path), next_step=nearest(str(path), near))
    kind = next((k for k in sorted(READERS, key=len, reverse=True) if path.name.endswith(k)), None)
    if kind is None:
        raise Fatal("this kind of file cannot be read", where=str(path), expected=", ".join(READERS))
    return kind


def read_rows(path: Path, *, texts: Collection[str] = ()) -> Iterator[tuple[int, Row]]:
    """(bytes read so far, row) of each row of a file; the last ones may say less than the file's size.

    Args:
        path: The file; its name says of which kind it is.
        texts: Columns of a CSV file that stay texts whatever they look like (a zip code keeps its zeros).

    Raises:
        Fatal: No such file, an unknown kind of file, or one that is not what its name says.
    """
    kind = kind_of(path)
    try:
        if "json" in kind:
            for at, line in read_lines(path):
                yield at, _decode(line)
            return
        tables = _parquet(path) if kind == ".parquet" else _csv(path, texts)
        for at, batch in tables:
            for row in batch.to_pylist():
                yield at, {name: _plain(value) for name, value in row.items()}
    except (pa.ArrowException, OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = f"the file cannot be read: {str(error).splitlines()[0]}"
        raise Fatal(what, where=str(path), expected=f"a {kind} file") from error


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(bytes read so far, line) of each line that is not blank."""
    with path.open("rb") as raw:
        file: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        done = 0
        for line in file:
            done = raw.tell() if file is not raw else done + len(line)
            if stripped := line.strip():
                yield done, stripped


def _parquet(path: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    file, size, done = pq.ParquetFile(path), path.stat().st_size, 0
    for batch in file.iter_batches(4096):
        done += batch.num_rows
        yield size * done // max(1, file.metadata.num_rows), batch


def _csv(path: Path, texts: Collection[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    types = {name: pa.string() for name in (*texts, "id", "source", "stream")}
    options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=NULLS)
    size, done = path.stat().st_size, 0
    for batch in open_csv(path, options):
        done = min(size, done + batch.nbytes)
        yield done, batch


def _plain(value: Any) -> Any:
    """A value that JSON has. A time without a zone is UTC's; a float that is not finite is a null."""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def open_csv(path: Path, convert: pacsv.ConvertOptions) -> Iterator[pa.RecordBatch]:
    """The file's rows; none of an empty file."""
    try:
        yield from pacsv.open_csv(path, read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES), convert_options=convert)
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            raise
