"""Feature columns and request fields become a learner's vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headwater.core.batch import Floats, Frame, Ints
from headwater.core.expressions import hash_values
from headwater.features.aggregates import Category
from headwater.learning.linear import category_slots


def number_matrix(features: Floats, columns: Sequence[int]) -> Floats:
    """float64[n, d]: the model's numbers out of the plan's feature matrix."""
    return np.ascontiguousarray(features[:, list(columns)])


def category_matrix(categories: Sequence[Category], rows: Frame, time: Ints, base: int, bits: int) -> Ints:
    """int64[n, k]: the row of weights of each category."""
    hashes = [hash_values(c.exprs, rows, time) for c in categories]
    slots = category_slots(hashes, [c.name for c in categories], base, bits)
    return slots if categories else np.zeros((rows.n, 0), np.int64)
