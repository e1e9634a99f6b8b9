"""Reads a vector for a question that is not in the log, from rows that somebody else kept.

It runs the fold's own ops on the fold's own rows, so that the same memories give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Frame, Ints
from headwater.core.hashing import Hashes
from headwater.features.engine import Bound, copy_numbers, values
from headwater.features.kernels import fold_table
from headwater.features.plan import Plan

Fetch = Callable[[int, Hashes, int], tuple[Floats, Any]]  # table number, keys, width -> rows, found


class FeatureReader:
    """Reads features of one stream's events."""

    def __init__(self, plan: Plan, stream: str) -> None:
        self._plan, self._stream = plan, stream
        self._code = plan.streams.index(stream)
        self._tables = [(i, t.for_reading()) for i, t in enumerate(plan.tables)]

    def read(self, frame: Frame, time: Ints, fetch: Fetch) -> Floats:
        """Features of each row as of its time; float64[n, outputs].

        Args:
            frame: The events.
            time: Event times, ms.
            fetch: Gives the rows of entities by key.
        """
        n = frame.n
        bound = Bound(
            n,
            0,
            np.full(n, self._code, np.uint8),
            time,
            np.zeros(n, np.uint8),
            np.zeros(n, np.int64),
            {self._stream: np.arange(n)},
            {self._stream: frame},
        )
        evaluated = values(self._plan, bound)
        out = np.full((n, len(self._plan.outputs)), np.nan)
        for number, table in self._tables:
            mine = [i for i, (stream, _) in enumerate(table.keys) if stream == self._stream]
            if not table.ops.size or not mine:
                continue
            slots = np.full((n, len(table.keys)), -1, np.int64)
            parts = []
            for place, column in enumerate(mine):
                rows, found = fetch(number, bound.hashes(self._stream, table.keys[column][1])[1], table.width)
                slots[:, column] = np.where(found, np.arange(n) + place * n, -1)
                parts.append(rows)
            gathered = np.concatenate(parts) if len(parts) > 1 else parts[0]
            fold_table(
                gathered, np.zeros(gathered.shape[0], np.uint8), slots, table.ops, table.params, table.ranges, bound.stream,
                bound.skip, time, bound.behind, 0, evaluated, out, np.zeros(3, np.int64),
            )  # fmt: skip
        copy_numbers(self._plan, bound, evaluated, out)
        return out
