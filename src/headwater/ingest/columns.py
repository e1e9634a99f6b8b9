"""Decoded rows to one `Batch`, column by column, with the checks that a type cannot express.

Row i of the batch is event i of the request: a refused event takes its place as a dead letter, so that a receipt lines
up with what the producer sent. Checks run over whole columns; only a column with a fault is looked at row by row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Batch, Bools, Column, Frame, Ints, Text, column
from headwater.core.schema import DEAD, DEAD_SCHEMA, FieldSpec, Kind, Schema
from headwater.ingest.letters import Bad, Letter
from headwater.ingest.shapes import Row, Shapes

EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
NO_ID = ("no_id", "id: expected str or int, got nothing or an empty string")
INT64 = range(-(2**63), 2**63)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)


class Unfit(Exception):  # noqa: N818 - a finding, not a fault
    """Rows whose values break a rule; by position."""

    def __init__(self, rows: dict[int, Bad]) -> None:
        super().__init__(f"{len(rows)} rows")
        self.rows = rows


def assemble(
    shapes: Shapes, rows: Sequence[Row], arrival_us: int | Ints, refuse: Callable[[int, Bad], Letter]
) -> tuple[Batch, list[Row]]:
    """One batch of decoded rows and letters, in order.

    Args:
        shapes: What the rows were decoded with.
        rows: Structs of `shapes` and `Letter`s.
        arrival_us: When the request, or each row, arrived: microseconds since 1970 UTC. Also the event time of rows
            without one.
        refuse: Makes the letter for row i.

    Returns:
        The batch, and its rows: those given, with letters in place of rows that broke a rule.
    """
    kept = list(rows)
    arrival = np.full(len(kept), arrival_us, np.int64)
    while True:
        try:
            return _batch(shapes, kept, arrival), kept
        except Unfit as unfit:
            for i, bad in unfit.rows.items():
                kept[i] = refuse(i, bad)


def _batch(shapes: Shapes, rows: list[Row], arrival: Ints) -> Batch:
    names, codes = _streams(shapes, rows)
    ids, sources, times = (list(map(attrgetter(name), rows)) for name in ("id", "source", "time"))
    id_text = _ids(ids)
    try:
        time = time_ms(times, arrival // 1000)
    except OverflowError:
        raise Unfit(_beyond_int64(times, "time")) from None
    source_names, source = source_codes(sources)
    frames = {}
    bad: dict[int, Bad] = {}
    for code, name in enumerate(names):
        where = np.flatnonzero(codes == code) if len(names) > 1 else np.arange(len(rows))
        mine = [rows[i] for i in where.tolist()] if len(names) > 1 else rows
        schema = DEAD_SCHEMA if name == DEAD else shapes.by_stream[name].schema
        frames[name] = _frame(schema, mine, where)
        if name != DEAD:
            bad |= check(schema, frames[name], time, id_text, arrival[where], where)
    bad |= {i: Bad("empty_source", "source: expected a name, got an empty string") for i in _empty(sources)}
    if bad:
        raise Unfit(bad)
    return Batch(len(rows), names, codes, time, arrival, source_names, source, id_text, frames)


def _streams(shapes: Shapes, rows: list[Row]) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    stream_of = {kind: DEAD if kind is Letter else shapes.stream_of[kind] for kind in dict.fromkeys(map(type, rows))}
    names = tuple(dict.fromkeys(stream_of.values()))
    if len(names) == 1:
        return names, np.zeros(len(rows), np.uint8)
    codes = {kind: names.index(name) for kind, name in stream_of.items()}
    return names, np.fromiter(map(codes.__getitem__, map(type, rows)), np.uint8, len(rows))


def _ids(ids: list[Any]) -> Text:
    try:
        return Text.of(ids)
    except TypeError:  # some are integers
        return Text.of([str(i) for i in ids])


def _empty(sources: list[str]) -> list[int]:
    return [i for i, source in enumerate(sources) if not source] if "" in sources else []


def source_codes(sources: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.uint16]]:
    """Source names and uint16[n] indices into them."""
    names = tuple(dict.fromkeys(sources))
    if len(names) == 1:
        return names, np.zeros(len(sources), np.uint16)
    code = {name: i for i, name in enumerate(names)}
    return names, np.fromiter(map(code.__getitem__, sources), np.uint16, len(sources))


def time_ms(times: Sequence[Any], default_ms: Ints) -> Ints:
    """Event times, int64[n] in ms since 1970 UTC, from ints (ms), aware datetimes and None (`default_ms`)."""
    kinds = set(map(type, times))
    if kinds == {int}:
        return np.array(times, np.int64)
    if kinds == {type(None)}:
        return default_ms
    if kinds == {dt.datetime}:
        return np.array([(t - _EPOCH) // _MS for t in times], np.int64)
    defaults = zip(times, default_ms.tolist(), strict=True)
    return np.array([d if t is None else t if isinstance(t, int) else (t - _EPOCH) // _MS for t, d in defaults], np.int64)


def _frame(schema: Schema, rows: list[Row], where: Ints) -> Frame:
    columns = {}
    for spec in schema.fields:
        values = list(map(attrgetter(spec.name), rows))
        try:
            columns[spec.name] = build(spec, values)
        except OverflowError:
            beyond = _beyond_int64(values, f"field {spec.name}")
            raise Unfit({int(where[i]): bad for i, bad in beyond.items()}) from None
    return Frame(len(rows), columns)


def build(spec: FieldSpec, values: list[Any]) -> Column:
    """`core.batch.column`, twice as fast for floats."""
    if spec.kind is Kind.FLOAT:
        floats = np.array(values, np.float64)  # None becomes NaN
        if not spec.nullable:
            return Column(floats)
        missing = np.isnan(floats)
        return Column(floats, ~missing if missing.any() else None)
    return column(spec, values)


def _beyond_int64(values: Sequence[Any], what: str) -> dict[int, Bad]:
    bad = Bad("int_too_large", f"{what}: expected an integer of 64 bits, got a larger one")
    return {i: bad for i, v in enumerate(values) if isinstance(v, int) and v not in INT64}


def check(schema: Schema, rows: Frame, time: Ints, ids: Text, arrival_us: int | Ints, where: Ints) -> dict[int, Bad]:
    """What breaks a rule that a type cannot express.

    Args:
        schema: The stream's.
        rows: Its frame.
        time: Event time of all rows of the batch, ms.
        ids: Ids of all rows of the batch.
        arrival_us: Arrival of the request or of each of the frame's rows, microseconds.
        where: Positions of the frame's rows in the batch.

    Returns:
        By position in the batch; one finding each.
    """
    bad: dict[int, Bad] = {}

    def add(mask: Bools, code: str, reason: str) -> None:
        for i in where[mask].tolist() if mask.any() else ():
            bad.setdefault(i, Bad(code, reason))

    lengths = ids.offsets[1:] - ids.offsets[:-1]
    mine = time if where.size == time.size else time[where]
    add(lengths[where] == 0, *NO_ID)
    add((mine < EARLIEST_MS) | (mine > LATEST_MS), "time_out_of_range", "time: expected a time in the years 1 to 9999 (ms)")
    add(
        mine > arrival_us // 1000 + schema.max_ahead_ms,
        "too_far_ahead",
        f"time: expected at most {schema.max_ahead_ms} ms after arrival, got a later one",
    )
    for spec in schema.fields:
        held = rows.columns[spec.name]
        if spec.kind is Kind.FLOAT:
            fine = np.isfinite(np.asarray(held.values))
            add(
                ~(fine if held.valid is None else fine | ~held.valid),
                "not_finite",
                f"field {spec.name}: expected a finite float",
            )
        if spec.name == schema.key:
            add(_no_key(held), "empty_key", f"field {spec.name}: it is the key; expected a value, got null or an empty string")
    return bad


def _no_key(held: Column) -> Bools:
    missing = np.zeros(len(held.values), np.bool_) if held.valid is None else ~held.valid
    if isinstance(held.values, Text):
        missing = missing | (held.values.offsets[1:] == held.values.offsets[:-1])
    return missing
