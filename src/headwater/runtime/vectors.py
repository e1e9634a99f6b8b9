"""Keeps what models were shown: each question with its features as they were scored, in a history by model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from headwater.app import App
from headwater.core.batch import Floats
from headwater.features.engine import Bound
from headwater.following.formats import array_of
from headwater.learning.vectors import number_matrix
from headwater.store.history import History

_ROWS = 100_000  # that wait before they are written


class Vectors:
    """Collects vectors during a fold; `Fold.on_scored` takes its `keep`.

    Columns: seq and time of the question, its own fields, then a float64 column for each number among the model's features.

    Args:
        app: The app.
        folder: Holds a folder for each model.
    """

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._histories = {name: History(folder / name) for name in app.models}
        self._waiting: dict[str, list[pa.Table]] = {name: [] for name in app.models}
        self._n = 0

    def keep(self, bound: Bound, features: Floats) -> None:
        """Take one bound batch with the features of its rows."""
        for name, model in self._app.models.items():
            rows = bound.rows.get(model.schema.stream)
            if rows is None:
                continue
            taken = np.flatnonzero(bound.skip[rows] == 0)
            if taken.size:
                frame = bound.frames[model.schema.stream].take(taken)
                at = rows[taken]
                columns = {"seq": pa.array(bound.seq + at), "time": pa.array(bound.time[at]).cast(pa.timestamp("ms", "UTC"))}
                columns |= {field: array_of(column) for field, column in frame.columns.items()}
                numbers = number_matrix(features[at], self._app.columns[name].numbers)
                columns |= {f.name: pa.array(numbers[:, i], from_pandas=True) for i, f in enumerate(model.numbers)}
                self._waiting[name].append(pa.table(columns))
                self._n += int(taken.size)
        if self._n >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for name, parts in self._waiting.items():
            if parts:
                self._histories[name].append(pa.concat_tables(parts))
                parts.clear()
        self._n = 0
