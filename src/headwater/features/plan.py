"""Declared features, compiled: which columns to evaluate, which tables to keep, which ops to run.

The plan is pure description; `engine` runs it over the log, `serving` runs the same ops over rows fetched by key.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import DeclarationError, nearest
from headwater.core.expressions import Expr, FieldRef, is_whole
from headwater.core.schema import Schema
from headwater.features import kernels as k
from headwater.features.aggregates import MAX_PANES
from headwater.features.memories import Aggregate, Keeper, Memory, Read

_PART_OF = {
    Read.COUNT: 1, Read.SUM: 2, Read.MEAN: 3, Read.MIN: 4, Read.MAX: 8, Read.VAR: 19, Read.STD: 19,
}  # fmt: skip
_MAX_FLOATS = 8192  # of one entity's rings and lists, each: 64 KiB


@dataclass(frozen=True, slots=True, eq=False)
class TablePlan:
    """One table: the entities that share a tuple of field names.

    Attributes:
        name: The field names, joined by commas; "" is the table with one row for all.
        width: Floats in a row.
        keys: For each key column: (stream, fields) whose hash is the key on that stream's events.
        ops, params, ranges: As `kernels.fold_table` takes them.
        blocks: What lies in a row: memories that stand or fall together, in words; where they start; their floats.
    """

    name: str
    width: int
    keys: tuple[tuple[str, tuple[FieldRef[Any], ...]], ...]
    ops: Ints
    params: Floats
    ranges: Ints
    keepers: tuple[tuple[Keeper, int, int], ...]  # (keeper, offset, parts)
    blocks: tuple[tuple[str, int, int], ...]

    def for_reading(self, stream: int, outputs: Container[int]) -> TablePlan:
        """The same table with the reads of one stream's events into these output columns only."""
        ops = self.ops
        reads = (ops[:, k.ACTION] == 0) & (ops[:, k.STREAM] == stream)
        kept = np.flatnonzero(reads & np.array([int(out) in outputs for out in ops[:, k.OUT]], np.bool_))
        ranges = np.searchsorted(ops[kept, k.STREAM], np.arange(self.ranges.size)).astype(np.int64)
        return replace(self, ops=ops[kept], params=self.params[kept], ranges=ranges)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All features of an app.

    Attributes:
        streams: Stream names; their positions are the codes that kernels use.
        values: For each stream, the expressions that become its value columns.
        tables: The tables.
        outputs: Canonical text -> its column in the matrix of features.
        copies: (stream, value column, output column) of numbers known at request time.
    """

    streams: tuple[str, ...]
    values: dict[str, tuple[Expr[Any], ...]]
    tables: tuple[TablePlan, ...]
    outputs: dict[str, int]
    copies: tuple[tuple[str, int, int], ...]

    @property
    def n_values(self) -> int:
        return max((len(v) for v in self.values.values()), default=0) or 1


@dataclass(slots=True)
class _Draft:
    """A table being drawn up."""

    keys: list[tuple[str, tuple[FieldRef[Any], ...]]] = field(default_factory=list)
    keepers: dict[Keeper, int] = field(default_factory=dict)  # keeper -> parts
    readers: list[tuple[Aggregate, str, int, int]] = field(default_factory=list)  # aggregate, on, key column, out
    sources: dict[Keeper, Aggregate] = field(default_factory=dict)

    def key_column(self, stream: str, fields: tuple[FieldRef[Any], ...]) -> int:
        wanted = (stream, tuple(f.text() for f in fields))
        for i, (s, f) in enumerate(self.keys):
            if (s, tuple(x.text() for x in f)) == wanted:
                return i
        self.keys.append((stream, fields))
        return len(self.keys) - 1


class Planner:
    """Collects the features of all models, then draws up the plan."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = {s.stream: s for s in schemas}
        self._values: dict[str, dict[str, Expr[Any]]] = {s.stream: {} for s in schemas}
        self._drafts: dict[str, _Draft] = {}
        self._outputs: dict[str, int] = {}
        self._copies: list[tuple[str, int, int]] = []

    def value(self, expr: Expr[Any]) -> int:
        """The value column that will hold an expression of a stream."""
        columns = self._values[expr.stream]
        columns.setdefault(expr.text(), expr)
        return list(columns).index(expr.text())

    def number(self, expr: Expr[Any]) -> int:
        """The output column for a number known at request time."""
        name = expr.text()
        if name not in self._outputs:
            self._outputs[name] = len(self._outputs)
            self._copies.append((expr.stream, self.value(expr), self._outputs[name]))
        return self._outputs[name]

    def aggregate(self, feature: Aggregate, on: Schema) -> int:
        """The output column for an aggregate, read for events of the stream `on`.

        Raises:
            DeclarationError: The entity cannot be found on that stream.
        """
        if feature.keeper.stream not in self._schemas:
            raise DeclarationError("the app does not have this stream", where=feature.name, got=feature.keeper.stream)
        at = _resolve(feature, on)
        spelled = f"{feature.keeper} {feature.read.name} {feature.nth} {feature.prior} {feature.prior_weight}"
        name = f"{spelled} at {on.stream}:{','.join(f.text() for f in at)}"
        if name not in self._outputs:
            self._outputs[name] = len(self._outputs)
            draft = self._drafts.setdefault(_table_name(feature.by), _Draft())
            draft.keepers[feature.keeper] = draft.keepers.get(feature.keeper, 0) | _parts(feature)
            draft.sources.setdefault(feature.keeper, feature)
            draft.key_column(feature.keeper.stream, feature.by)
            draft.readers.append((feature, on.stream, draft.key_column(on.stream, at), self._outputs[name]))
        return self._outputs[name]

    def plan(self) -> Plan:
        tables = tuple(self._table(name, draft) for name, draft in self._drafts.items())
        values = {s: tuple(v.values()) for s, v in self._values.items()}
        return Plan(tuple(self._schemas), values, tables, dict(self._outputs), tuple(self._copies))

    def _table(self, name: str, draft: _Draft) -> TablePlan:
        clans, places, width, blocks = _clans(draft), {}, 0, []
        for clan in clans:
            start = width
            if clan[0].memory is Memory.DECAY:
                placed, width = _place_clan(clan, width)
                places.update(placed)
            else:
                places[clan[0]] = (width, 0, 0)
                width += self._width(draft, clan[0], draft.keepers[clan[0]])
            blocks.append((_words(clan, draft), start, width - start))
        rows = [self._read_op(draft, places, *reader) for reader in draft.readers]
        for clan in clans:
            updates = [self._update_op(draft, places, keeper) for keeper in clan]
            updates[0][0][k.MEMBERS] = len(clan)
            rows += updates
        rows.sort(key=lambda row: (row[0][k.STREAM], row[0][k.ACTION]))  # stable: a clan stays together
        ops = np.array([r[0] for r in rows], np.int64).reshape(-1, k.N_OPS)
        params = np.array([r[1] for r in rows], np.float64).reshape(-1, k.N_PARAMS)
        ranges = np.searchsorted(ops[:, k.STREAM], np.arange(len(self._schemas) + 1)).astype(np.int64)
        kept = tuple((keeper, places[keeper][0], parts) for keeper, parts in draft.keepers.items())
        return TablePlan(name, width, tuple(draft.keys), ops, params, ranges, kept, tuple(blocks))

    def _panes(self, draft: _Draft, keeper: Keeper) -> int:
        """Panes of a ring: enough for the window of the oldest event that may still be counted, or scored."""
        streams = {keeper.stream, *(on for feature, on, *_ in draft.readers if feature.keeper == keeper)}
        lateness = max(self._schemas[s].lateness_ms for s in streams)
        if keeper.memory is Memory.SESSION:  # sessions lie a gap apart: so many fit into the lateness, and one more is going on
            return -(-lateness // keeper.size_ms) + 2
        if keeper.size_ms == 0:
            return 1
        return keeper.size_ms // keeper.slide_ms + -(-lateness // keeper.slide_ms) + 1

    def _width(self, draft: _Draft, keeper: Keeper, parts: int) -> int:
        if keeper.memory not in _RINGS:
            return {Memory.SPREAD: 4, Memory.EWMA: 3, Memory.LAST: 3 * keeper.n}[keeper.memory]
        panes = self._panes(draft, keeper)
        if panes > MAX_PANES:
            raise DeclarationError(
                "a window keeps too many panes for each entity", where=draft.sources[keeper].name,
                expected=f"(window + lateness) / slide < {MAX_PANES}",
                got=str(panes), next_step="Use a longer slide, a shorter lateness, or half_life=.",
            )  # fmt: skip
        each = {
            Memory.WINDOW: 1 + parts.bit_count(),
            Memory.SESSION: 2 + parts.bit_count(),
            Memory.DISTINCT: 1 + words(keeper.n),
        }
        width = panes * each[keeper.memory]
        if width > _MAX_FLOATS:
            raise DeclarationError(
                "a feature keeps too much for each entity", where=draft.sources[keeper].name,
                expected=f"panes * floats of each <= {_MAX_FLOATS}", got=f"{panes} * {each}",
                next_step="Use a longer slide or session, a shorter lateness, or a smaller precision.",
            )  # fmt: skip
        return width

    def _op(self, draft: _Draft, keeper: Keeper, place: _Place) -> tuple[list[int], list[float]]:
        row, params = [0] * k.N_OPS, [0.0] * k.N_PARAMS
        window = keeper.memory in _RINGS
        row[k.MEMORY], row[k.OFFSET], row[k.PARTS] = keeper.memory, place[0], draft.keepers[keeper]
        row[k.N] = self._panes(draft, keeper) if window else keeper.n
        if keeper.memory is Memory.DECAY:
            row[k.WEIGHT_AT], row[k.SUM_AT] = place[1:]
        row[k.VALUE] = row[k.WHERE] = -1
        params[k.SPAN] = float(keeper.size_ms if window else keeper.half_life_ms)
        params[k.SLIDE], params[k.BETA] = float(keeper.slide_ms), keeper.beta
        return row, params

    def _update_op(self, draft: _Draft, places: dict[Keeper, _Place], keeper: Keeper) -> tuple[list[int], list[float]]:
        source = draft.sources[keeper]
        row, params = self._op(draft, keeper, places[keeper])
        row[k.STREAM], row[k.ACTION] = list(self._schemas).index(keeper.stream), 1
        row[k.KEY] = draft.key_column(keeper.stream, source.by)
        if source.value is not None:
            row[k.VALUE] = self.value(source.value)
        if source.where is not None:
            row[k.WHERE] = self.value(source.where)
        return row, params

    def _read_op(
        self, draft: _Draft, places: dict[Keeper, _Place], feature: Aggregate, on: str, key: int, out: int
    ) -> tuple[list[int], list[float]]:
        row, params = self._op(draft, feature.keeper, places[feature.keeper])
        row[k.STREAM], row[k.ACTION], row[k.READ] = list(self._schemas).index(on), 0, feature.read
        row[k.KEY], row[k.OUT] = key, out
        if feature.keeper.memory is Memory.LAST:
            row[k.PARTS] = feature.nth
        if feature.read is Read.ZSCORE:
            row[k.VALUE] = self.value(_own_value(feature, on))
        params[k.PRIOR], params[k.PRIOR_WEIGHT] = feature.prior, feature.prior_weight
        return row, params


_RINGS = frozenset({Memory.WINDOW, Memory.SESSION, Memory.DISTINCT})  # they keep a number of panes or sessions


def words(precision: int) -> int:
    """Floats of a sketch; see `sketches`."""
    return (1 << precision) // 8


def _parts(feature: Aggregate) -> int:
    """What has to be kept of a pane or session so that the feature can be read; of a sketch, its precision."""
    if feature.keeper.memory is Memory.DISTINCT:
        return feature.keeper.n
    if feature.keeper.memory is Memory.SESSION:
        return _PART_OF[feature.read] | 1  # a place without a count is free
    return _PART_OF.get(feature.read, 0) if feature.keeper.memory is Memory.WINDOW else 0


_Place = tuple[int, int, int]  # where a memory starts in a row; of a decayed one, also its weight and its sum


def _clans(draft: _Draft) -> list[list[Keeper]]:
    """Memories that every event updates together, half-life by half-life; any other memory is alone.

    A count is of no clan with values in it: it counts an event whose value is beyond all measurement too.
    """
    clans: dict[object, list[Keeper]] = {}
    for keeper in draft.keepers:
        value = draft.sources[keeper].value
        joins = keeper.memory is Memory.DECAY and (value is None or is_whole(value))
        clans.setdefault((keeper.stream, keeper.where, keeper.value == "") if joins else keeper, []).append(keeper)
    for clan in clans.values():
        clan.sort(key=lambda keeper: keeper.half_life_ms)
    return list(clans.values())


def _place_clan(clan: list[Keeper], start: int) -> tuple[dict[Keeper, _Place], int]:
    """Where each memory of a clan is in the row, and where the clan ends; see `kernels`."""
    places: dict[Keeper, _Place] = {}
    weights: dict[int, int] = {}
    end = start + 1
    for keeper in clan:
        if keeper.half_life_ms not in weights:
            weights[keeper.half_life_ms], end = end, end + 1
        if keeper.value:
            places[keeper], end = (start, weights[keeper.half_life_ms], end), end + 1
        else:
            places[keeper] = (start, weights[keeper.half_life_ms], -1)
    return places, end


def _words(clan: list[Keeper], draft: _Draft) -> str:
    """What a block holds; equal words and widths, equal floats after equal events."""
    parts = draft.keepers[clan[0]]
    return " + ".join(keeper.words() for keeper in clan) + (f", parts {parts}" if parts else "")


def _own_value(feature: Aggregate, on: str) -> Expr[Any]:
    assert feature.value is not None
    if feature.value.stream != on:
        raise DeclarationError(
            "a z-score needs the scored event's own value",
            where=feature.name,
            expected=f"a value of {on}",
            got=feature.value.stream,
        )
    return feature.value


def _table_name(by: tuple[FieldRef[Any], ...]) -> str:
    return ",".join(f"{f.spec.name}:{f.spec.kind.value}" for f in by)


def _resolve(feature: Aggregate, on: Schema) -> tuple[FieldRef[Any], ...]:
    """The fields of the scored stream that name the entity."""
    if feature.at is None:
        return tuple(_same_field(f, feature, on) for f in feature.by)
    if len(feature.at) != len(feature.by):
        raise DeclarationError(
            "`at` and `by` differ in length", where=feature.name, expected=str(len(feature.by)), got=str(len(feature.at))
        )
    for by, at in zip(feature.by, feature.at, strict=True):
        if at.stream != on.stream:
            raise DeclarationError(
                "`at` names another stream than the model's", where=feature.name, expected=on.stream, got=at.text()
            )
        if at.spec.kind is not by.spec.kind:
            raise DeclarationError(
                "`at` and `by` have different types", where=feature.name, expected=f"{by.text()}: {by.spec.kind.value}",
                got=f"{at.text()}: {at.spec.kind.value}",
            )  # fmt: skip
    return feature.at


def _same_field(by: FieldRef[Any], feature: Aggregate, on: Schema) -> FieldRef[Any]:
    for spec in on.fields:
        if spec.name == by.spec.name and spec.kind is by.spec.kind:
            return FieldRef(on.stream, spec, by.owner)
    raise DeclarationError(
        f"{on.stream} has no field {by.spec.name} of type {by.spec.kind.value}", where=feature.name,
        expected="at=... to say which entity to read", next_step=nearest(by.spec.name, [f.name for f in on.fields]),
    )  # fmt: skip
