"""Reads a vector for a question that is not in the log, from rows that somebody else kept.

It runs the fold's own ops on the fold's own rows, so that the same memories give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Frame, Ints
from headwater.core.expressions import FieldRef, evaluate, hash_values
from headwater.core.hashing import Hashes
from headwater.features.kernels import KEY, VALUE, WHERE, fold_table
from headwater.features.plan import Plan, TablePlan

Fetch = Callable[[int, Hashes, int], tuple[Floats, Any]]  # table number, keys, width -> rows, found


class FeatureReader:
    """Reads features of one stream's events.

    Args:
        plan: All features of the app.
        stream: The stream.
        outputs: The columns that are wanted; None means all. Entities that only others are about are not fetched.
    """

    def __init__(self, plan: Plan, stream: str, outputs: Sequence[int] | None = None) -> None:
        self._plan, self._stream = plan, stream
        wanted = range(len(plan.outputs)) if outputs is None else outputs
        self._code = plan.streams.index(stream)
        self._copies = [(column, output) for s, column, output in plan.copies if s == stream and output in wanted]
        tables = [(i, t.for_reading(self._code, wanted)) for i, t in enumerate(plan.tables)]
        self._tables = [(i, t, _keys(t)) for i, t in tables if t.ops.size]
        used = {int(c) for _, t, _ in self._tables for c in t.ops[:, (VALUE, WHERE)].ravel()}
        used |= {column for column, _ in self._copies}
        self._values = [(c, expr) for c, expr in enumerate(plan.values[stream]) if c in used]

    def read(self, frame: Frame, time: Ints, fetch: Fetch) -> Floats:
        """Features of each row as of its time; float64[n, outputs], NaN where they are not wanted.

        Args:
            frame: The events.
            time: Event times, ms.
            fetch: Gives the rows of entities by key.
        """
        n = frame.n
        evaluated = np.full((n, self._plan.n_values), np.nan)
        for column, expr in self._values:
            evaluated[:, column] = evaluate(expr, frame, time)
        out = np.full((n, len(self._plan.outputs)), np.nan)
        for number, table, keys in self._tables:
            slots = np.full((n, len(table.keys)), -1, np.int64)
            parts = []
            for place, (column, fields) in enumerate(keys):
                rows, found = fetch(number, hash_values(fields, frame, time), table.width)
                slots[:, column] = np.where(found, np.arange(n) + place * n, -1)
                parts.append(rows)
            gathered = np.concatenate(parts) if len(parts) > 1 else parts[0]
            self._fold(table, gathered, slots, time, evaluated, out)
        for column, output in self._copies:
            out[:, output] = evaluated[:, column]
        return out

    def _fold(self, table: TablePlan, rows: Floats, slots: Ints, time: Ints, evaluated: Floats, out: Floats) -> None:
        n = time.size
        fold_table(
            rows, np.zeros(rows.shape[0], np.uint8), slots, table.ops, table.params, table.ranges,
            np.full(n, self._code, np.uint8), np.zeros(n, np.uint8), time, np.zeros(n, np.int64), 0, evaluated, out,
            np.zeros(3, np.int64),
        )  # fmt: skip


def _keys(table: TablePlan) -> list[tuple[int, tuple[FieldRef[Any], ...]]]:
    """(key column, fields) of the keys that are read by."""
    return [(column, table.keys[column][1]) for column in sorted(set(table.ops[:, KEY].tolist()))]
