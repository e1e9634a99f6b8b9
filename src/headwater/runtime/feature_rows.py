"""The features of each question as its models saw them: what is said on `_features`, where that is wanted.

They are taken from the step that made them, so that a row is point-in-time by construction, and equals the vector that the
model is judged and taught on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Floats, Ints
from headwater.features.engine import Bound
from headwater.following.formats import values
from headwater.following.notices import Said
from headwater.learning.vectors import number_matrix


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """Questions of one model.

    Attributes:
        model: Its name.
        names: Of its numeric features, in order.
        seq, time: Each question's place in the log and event time (ms since 1970 UTC), int64[n].
        keys: Each question's key.
        numbers: float64[n, features]; NaN where there is no value.
    """

    model: str
    names: tuple[str, ...]
    seq: Ints
    time: Ints
    keys: list[Any]
    numbers: Floats

    def said(self) -> Iterator[Said]:
        """As notices; what JSON has no number for becomes null."""
        finite = np.where(np.isfinite(self.numbers), self.numbers, np.nan).tolist()
        for seq, time_ms, key, row in zip(self.seq.tolist(), self.time.tolist(), self.keys, finite, strict=True):
            features = {name: None if value != value else value for name, value in zip(self.names, row, strict=True)}  # noqa: PLR0124 - NaN
            yield Said(f"{self.model}@{seq}", time_ms, {"model": self.model, "key": key, "seq": seq, "features": features})


def feature_rows(app: App, bound: Bound, features: Floats) -> Iterator[FeatureRows]:
    """Each model's questions in a bound batch; `features` is the engine's float64[n, columns]. Late ones are none."""
    for name, model in app.models.items():
        stream = model.schema.stream
        if stream not in bound.rows:
            continue
        places = bound.rows[stream]
        counted = np.flatnonzero(bound.skip[places] == 0)
        keys = values(bound.frames[stream].columns[model.schema.key].take(counted))
        places = places[counted]
        numbers = number_matrix(features[places], app.columns[name].numbers)
        yield FeatureRows(name, tuple(f.name for f in model.numbers), bound.seq + places, bound.time[places], keys, numbers)
