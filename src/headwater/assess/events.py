"""A table's rows as the events of the app that was written from it: two Parquet files, read and written piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headwater.assess.assessment import Assessment
from headwater.assess.declaration import KEY, key_field, label_field, label_type, outcome_key, python_type, used_columns
from headwater.assess.naming import field_names
from headwater.assess.reading import read_batches
from headwater.assess.table import Progress, ignore
from headwater.assess.times import MISSING
from headwater.core.batch import Ints

_TYPES = {"float": pa.float64(), "int": pa.int64(), "str": pa.string()}


def write_events(found: Assessment, folder: Path, progress: Progress = ignore) -> dict[str, Path]:
    """Write every row as a case, and as an outcome where it has a label.

    A label of the very time of its case is written a millisecond later: at equal time, outcomes precede questions.

    Args:
        found: What is known of the table.
        folder: Where to; made if it is not there.
        progress: Told how far it is.

    Returns:
        Stream -> file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {"case": folder / "case.parquet", "outcome": folder / "outcome.parquet"}
    table = found.prepared.table
    time, known = table.in_file_order(table.time_ms), table.in_file_order(table.known_ms)
    columns, label = used_columns(found), found.choices.label
    only = list(dict.fromkeys([*columns, label])) if table.file.has_header else []
    size, start = found.prepared.table.file.path.stat().st_size, 0
    with (
        pq.ParquetWriter(files["case"], _case_schema(found)) as cases,
        pq.ParquetWriter(files["outcome"], _outcome_schema(found)) as outcomes,
    ):
        for done, batch in read_batches(found.prepared.table.file, only):
            rows = batch.slice(0, max(0, time.size - start))
            stop = start + rows.num_rows
            cases.write_table(_cases(found, rows, time[start:stop], start))
            outcomes.write_table(_outcomes(found, rows, time[start:stop], known[start:stop], start))
            start = stop
            progress("writing", done, size)
            if start == time.size:
                break
    return files


def _case_schema(found: Assessment) -> pa.Schema:
    fields = field_names(found.prepared.table.columns)
    kinds = [(fields[name], _TYPES[python_type(found, name)]) for name in used_columns(found)]
    return pa.schema([("id", pa.string()), ("time", pa.int64()), (KEY, pa.int64()), *kinds])


def _outcome_schema(found: Assessment) -> pa.Schema:
    kind = _TYPES[label_type(found)]
    key = [(outcome_key(found), _TYPES[python_type(found, found.choices.key or "")])] if key_field(found) else []
    return pa.schema([("id", pa.string()), ("time", pa.int64()), (KEY, pa.int64()), *key, (label_field(found), kind)])


def _cases(found: Assessment, rows: pa.RecordBatch, time: Ints, start: int) -> pa.Table:
    schema = _case_schema(found)
    columns = [_cast(rows, name, schema.types[3 + i]) for i, name in enumerate(used_columns(found))]
    return pa.table([*_ids("case", start, time), *columns], schema=schema)


def _outcomes(found: Assessment, rows: pa.RecordBatch, time: Ints, known: Ints, start: int) -> pa.Table:
    schema = _outcome_schema(found)
    label = _cast(rows, found.choices.label, schema.types[-1])
    key = [_cast(rows, found.choices.key or "", schema.types[3])] if key_field(found) else []
    moment = np.where(known == time, known + 1, known)
    whole = pa.table([*_ids("outcome", start, moment), *key, label], schema=schema)
    return whole.filter(pc.and_(pc.is_valid(label), pa.array(known != MISSING)))


def _ids(stream: str, start: int, time: Ints) -> list[pa.Array]:
    """The columns id, time and key. Ids name their stream: both come from one source, and an event is known by its id."""
    number = pa.array(np.arange(start, start + time.size))
    return [pc.binary_join_element_wise(stream, number.cast(pa.string()), "-"), pa.array(time), number]


def _cast(rows: pa.RecordBatch, name: str, to: pa.DataType) -> pa.Array:
    """A column as its field's type; numbers that are not finite are null, as they are in the table."""
    if name not in rows.schema.names:
        return pa.nulls(rows.num_rows, to)
    array = rows.column(name)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_string(to):
        return array.cast(to)
    numbers = array.cast(pa.float64(), safe=False)
    finite = pc.if_else(pc.is_finite(numbers), numbers, None)
    return finite if pa.types.is_floating(to) else finite.cast(to)
