"""Runs a plan over batches: events in, feature vectors out, memories kept up.

A vector holds only what came before its event in the log: reads come before updates, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Batch, Bytes, Floats, Frame, Ints
from headwater.core.expressions import evaluate, hash_values
from headwater.core.hashing import Hashes
from headwater.features.kernels import ACTION, KEY, STREAM, fold_table
from headwater.features.plan import Plan, TablePlan
from headwater.features.tables import Table

SYSTEM = 1  # skip code: a row of a system stream; 2 is a late one


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A batch in the terms of a plan.

    Attributes:
        stream: uint8[n], codes of the plan's streams; 255 for others.
        time: int64[n], ms.
        skip: uint8[n], 0 for rows that take part.
        behind: int64[n], ms that a row lies behind the newest of its stream.
        rows: Positions of each stream's rows.
        frames: The streams' columns.
    """

    n: int
    seq: int
    stream: Bytes
    time: Ints
    skip: Bytes
    behind: Ints
    rows: dict[str, Ints]
    frames: dict[str, Frame]

    def hashes(self, stream: str, fields: tuple[object, ...]) -> tuple[Ints, Hashes]:
        """Positions and key hashes of a stream's rows."""
        rows = self.rows[stream]
        return rows, hash_values(fields, self.frames[stream], self.time[rows])  # type: ignore[arg-type]


def bind(plan: Plan, batch: Batch, seq: int) -> Bound:
    """Translate a batch's stream codes into the plan's."""
    codes = np.array([plan.streams.index(s) if s in plan.streams else 255 for s in batch.names], np.uint8)
    stream = codes[batch.stream]
    skip = (stream == 255).astype(np.uint8)  # noqa: PLR2004 - SYSTEM
    rows = {s: np.flatnonzero(stream == c) for c, s in enumerate(plan.streams) if s in batch.frames}
    return Bound(batch.n, seq, stream, batch.time, skip, np.zeros(batch.n, np.int64), rows, batch.frames)


def values(plan: Plan, bound: Bound) -> Floats:
    """Every expression of every event; float64[n, columns], NaN where null or of another stream."""
    out = np.full((bound.n, plan.n_values), np.nan)
    for stream, rows in bound.rows.items():
        for column, expr in enumerate(plan.values[stream]):
            out[rows, column] = evaluate(expr, bound.frames[stream], bound.time[rows])
    return out


def key_hashes(table: TablePlan, bound: Bound) -> list[tuple[Ints, Hashes]]:
    """For each key column of a table: positions and hashes of the rows that have it."""
    return [bound.hashes(s, fields) if s in bound.rows else (_NO_ROWS, _NO_KEYS) for s, fields in table.keys]


_NO_ROWS, _NO_KEYS = np.zeros(0, np.int64), np.zeros(0, np.uint64)


class Engine:
    """The tables of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tables = [Table(t.width) for t in plan.tables]
        self.tally = np.zeros(3, np.int64)  # see `fold_table`
        self._updates = [_updating(t) for t in plan.tables]

    @property
    def overflow(self) -> Ints:
        """int64[2]: updates older than a window's ring; values too large for any memory."""
        return self.tally[:2]

    @property
    def n_revisions(self) -> int:
        """Updates of windows that had closed: the stream's newest event lay beyond their end."""
        return int(self.tally[2])

    def step(self, bound: Bound) -> tuple[Floats, Floats]:
        """Fold one batch.

        Returns:
            values: float64[n, value columns], each event's evaluated expressions.
            features: float64[n, outputs], each scored event's features.
        """
        evaluated = values(self.plan, bound)
        out = np.full((bound.n, len(self.plan.outputs)), np.nan)
        for spec, table, updating in zip(self.plan.tables, self.tables, self._updates, strict=True):
            keyed = key_hashes(spec, bound)
            for column, (rows, hashes) in enumerate(keyed):
                if updating[column]:
                    table.insert(hashes, (bound.skip[rows] == 0).astype(np.uint8))
            slots = np.full((bound.n, len(keyed)), -1, np.int64)
            for column, (rows, hashes) in enumerate(keyed):
                found = np.empty((hashes.size, 1), np.int64)
                table.find(hashes, found, 0)
                slots[rows, column] = found[:, 0]
            fold_table(
                table.rows, table.dirty, slots, spec.ops, spec.params, spec.ranges, bound.stream, bound.skip, bound.time,
                bound.behind, bound.seq, evaluated, out, self.tally,
            )  # fmt: skip
        copy_numbers(self.plan, bound, evaluated, out)
        return evaluated, out


def copy_numbers(plan: Plan, bound: Bound, evaluated: Floats, out: Floats) -> None:
    """Numbers known at request time become features as they are."""
    for stream, column, output in plan.copies:
        if stream in bound.rows:
            rows = bound.rows[stream]
            out[rows, output] = evaluated[rows, column]


def _updating(spec: TablePlan) -> list[bool]:
    """For each key column, whether an event with that key changes the table."""
    used = {(int(op[STREAM]), int(op[KEY])) for op in spec.ops if op[ACTION] == 1}
    return [any(column == key for _, key in used) for column in range(len(spec.keys))]
