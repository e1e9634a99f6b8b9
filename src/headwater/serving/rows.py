"""A question's rows as JSON, decoded by types derived from the stream's schema.

Taken are one flat object of fields, `{"rows": [...]}`, and an array of objects. Beside the stream's fields a row may
carry `time` (ISO 8601 with its offset, or ms since 1970 UTC) and `id`; with `rows`, a `time` outside counts for every row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from headwater.core.batch import Bools, Column, Frame, Ints, column
from headwater.core.errors import nearest
from headwater.core.personal import pseudonym
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.serving.problems import Problem
from headwater.serving.scalars import maker

Row = Any  # a struct made by `_struct`: attributes id, time and the schema's fields, each UNSET where it was left out

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[Kind, Any] = {Kind.FLOAT: float, Kind.INT: _INT64, Kind.BOOL: bool, Kind.STR: str}
_YEARS = Annotated[int, msgspec.Meta(ge=-62_135_596_800_000, le=253_402_300_799_999)]  # years 1 to 9999
_TIME = _YEARS | Annotated[datetime, msgspec.Meta(tz=True)] | None
_ENVELOPE: list[Any] = [("id", Annotated[str, msgspec.Meta(min_length=1)] | int | None, None), ("time", _TIME, None)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(slots=True, eq=False)
class Rows:
    """Rows that one call asks about.

    Attributes:
        frame: The stream's fields; what was left out is null, or the field's default where it has one (as the door does).
        given: The fields that occur in the body.
        keys: The key of each row, as it was given; a column where the rows came as columns.
        time: Event times, ms since 1970 UTC, or None where no row has one.
        ids: The callers' ids of the rows (None where a row has none), or None where no row has one.
        values: A single row's values in the schema's order, where they are at hand.
    """

    frame: Frame
    given: frozenset[str]
    keys: Sequence[Any] | Column
    time: Ints | None = None
    ids: list[str | None] | None = None
    values: Sequence[Any] | None = None

    def listed(self) -> Sequence[Any]:
        """The keys as Python values."""
        return self.keys.to_list() if isinstance(self.keys, Column) else self.keys


class One:
    """A single row as it was decoded; its columns are made only where somebody wants them."""

    __slots__ = ("_form", "_row", "_values", "key")

    def __init__(self, form: RowForm, row: Row, values: Sequence[Any], key: Any) -> None:
        self._form, self._row, self._values, self.key = form, row, values, key

    def rows(self) -> Rows:
        return self._form.columns(self._row, self._values)


class RowForm:
    """The decoder for one stream's rows."""

    def __init__(self, schema: Schema, *, max_rows: int) -> None:
        self.schema, self._max_rows = schema, max_rows
        names = [f.name for f in schema.fields]
        self.specs = [replace(f, nullable=True) for f in schema.fields]
        self._members = frozenset([*names, "id", "time"])
        row = msgspec.defstruct(
            "Row", _ENVELOPE + [_member(f) for f in schema.fields], kw_only=True, gc=False, forbid_unknown_fields=True
        )
        self._has_rows = "rows" not in names
        rows = [("rows", list[row] | UnsetType, UNSET)] if self._has_rows else []  # type: ignore[valid-type]
        call = msgspec.defstruct("Call", rows, bases=(row,), kw_only=True, forbid_unknown_fields=True)
        self._one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(call)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._values = attrgetter(*names) if len(names) > 1 else lambda r: (getattr(r, names[0]),)
        self._names, self._all = names, frozenset(names)
        self._key = names.index(schema.key)
        self.has_personal_key = schema.field(schema.key).personal
        self._makers = [maker(f, repeats=f.name != schema.key) for f in schema.fields]

    def decode(self, body: bytes) -> One | Rows:
        """The rows of a body: one flat object, or several rows in columns.

        Raises:
            Problem: 400 for malformed JSON, 422 for a value, member or shape that does not fit, 413 for too many rows.
        """
        array = body[:1] == b"[" or body.lstrip()[:1] == b"["
        try:
            call = (self._many if array else self._one).decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise self._problem(error) from None
        if array:
            return self._batch(call, None)
        if self._has_rows and call.rows is not UNSET:
            return self._outer(call)
        return self._single(call)

    def _single(self, row: Row) -> One:
        values: Sequence[Any] = self._values(row)
        key = values[self._key]
        if key is UNSET:
            raise self._no_key("$")
        return One(self, row, values, key)

    def told_keys(self, keys: Sequence[Any] | Column) -> Sequence[Any] | Column:
        """Keys as records of answers may have them: a personal one by its hash."""
        if not self.has_personal_key:
            return keys
        return [pseudonym(str(key)) for key in (keys.to_list() if isinstance(keys, Column) else keys)]

    def columns(self, row: Row, values: Sequence[Any]) -> Rows:
        """A single row's columns."""
        if UNSET not in values:
            given = self._all
        else:
            given = frozenset([n for n, v in zip(self._names, values, strict=True) if v is not UNSET])
            values = self._filled(values, only_key=len(given) == 1)
        columns = {name: make(v) for name, make, v in zip(self._names, self._makers, values, strict=True)}
        ids: list[str | None] | None = None if row.id is None else [str(row.id)]
        time = None if row.time is None else np.array([milliseconds(row.time)], np.int64)
        return Rows(Frame(1, columns), given, [values[self._key]], time, ids, values)

    def _filled(self, values: Sequence[Any], *, only_key: bool) -> list[Any]:
        """What was left out is null; a default is filled in unless the row only asks for a stored one."""
        return [
            (None if only_key or s.required else s.default) if v is UNSET else v
            for s, v in zip(self.specs, values, strict=True)
        ]

    def _outer(self, call: Row) -> Rows:
        if call.id is not None or any(v is not UNSET for v in self._values(call)):
            raise Problem(
                422, "mixed-shape", "Fields stand beside rows", where="$", expected='either one flat object or {"rows": [...]}'
            )
        return self._batch(call.rows, call.time)

    def _batch(self, rows: list[Row], time: int | datetime | None) -> Rows:
        if not 0 < len(rows) <= self._max_rows:
            status, expected = (413, f"at most {self._max_rows}") if rows else (422, "at least one")
            raise Problem(
                status, "wrong-number-of-rows", "There are too many rows or none", expected=expected, got=str(len(rows))
            )
        values: list[Sequence[Any]] = [self._values(row) for row in rows]
        given: set[str] = set()
        for at, row in enumerate(values):
            if row[self._key] is UNSET:
                raise self._no_key(f"$[{at}]")
            if UNSET in row:
                mine = [n for n, v in zip(self._names, row, strict=True) if v is not UNSET]
                given.update(mine)
                values[at] = self._filled(row, only_key=len(mine) == 1)
            else:
                given = set(self._all)
        columns = {s.name: column(s, part) for s, part in zip(self.specs, zip(*values, strict=True), strict=True)}
        ids = [None if row.id is None else str(row.id) for row in rows]
        keys = [row[self._key] for row in values]
        some = any(i is not None for i in ids)
        return Rows(Frame(len(rows), columns), frozenset(given), keys, _times(rows, time), ids if some else None)

    def _no_key(self, where: str) -> Problem:
        key = self.schema.key
        return Problem(422, "no-key", "The key is needed", where=f"{where}.{key}", expected=self.schema.field(key).kind.value)

    def _problem(self, error: Exception) -> Problem:
        """What msgspec says, as what / where / expected / got."""
        if isinstance(error, RecursionError):
            return Problem(400, "too-deep", "The JSON is nested too deeply", expected="flat rows")
        if not isinstance(error, msgspec.ValidationError):
            text = "invalid UTF-8" if isinstance(error, UnicodeError) else str(error).removeprefix("JSON is malformed: ")
            return Problem(400, "malformed-json", "The body is not JSON", where="$", expected="JSON in UTF-8", got=text)
        return validation_problem(str(error), self._members)


def validation_problem(message: str, known: frozenset[str]) -> Problem:
    """A msgspec message, such as "Expected `int`, got `str` - at `$.n`", as a problem."""
    said, _, where = message.partition(" - at ")
    where = where.strip("`") or "$"
    if unknown := re.match(r"Object contains unknown field `(.*)`$", said, re.DOTALL):
        name = unknown[1]
        return Problem(422, "unknown-field", "There is no such field", where=where, got=name, next_step=nearest(name, known))
    if match := re.match(r"Expected (.*?)(?:, got `(.*)`)?$", said):
        return Problem(
            422, "wrong-type", "A value has a wrong type", where=where, expected=match[1].replace("`", ""), got=match[2] or ""
        )
    return Problem(
        422,
        "wrong-value",
        "A value cannot be taken",
        where=where,
        expected="ISO 8601 or milliseconds" * ("RFC3339" in said),
        got=said,
    )


def _member(spec: FieldSpec) -> Any:
    kind = _TYPES[spec.kind] | UnsetType
    return (spec.name, kind | None if spec.nullable else kind, UNSET)


def milliseconds(time: int | datetime) -> int:
    """Milliseconds since 1970 UTC, exact for either spelling."""
    return time if isinstance(time, int) else (time - _EPOCH) // _MS


def _times(rows: list[Row], outer: int | datetime | None) -> Ints | None:
    times: list[Any] = [outer if row.time is None else row.time for row in rows]
    if all(t is None for t in times):
        return None
    if None in times:
        raise Problem(
            422,
            "some-times",
            "Some rows have a time and some have none",
            where=f"$[{times.index(None)}].time",
            expected="all or none",
        )
    return np.fromiter((milliseconds(t) for t in times), np.int64, len(times))


def missing(schema: Schema, frame: Frame) -> dict[str, Bools]:
    """The fields without which a row cannot be an event: name -> bool[n], true where it is null. Empty when all are there."""
    return {
        f.name: ~valid
        for f in schema.fields
        if not f.nullable and (valid := frame.columns[f.name].valid) is not None and not valid.all()
    }
