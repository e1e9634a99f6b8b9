"""Feature columns and request fields become a learner's vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headwater.core.batch import Floats, Frame, Ints, Text
from headwater.core.expressions import FieldRef, hash_values
from headwater.core.hashing import Hashes
from headwater.core.words import NO_WORD, hash_words
from headwater.features.memories import Category
from headwater.learning.linear import category_slots

NO_WEIGHT = -1  # in place of a row of weights: a text has no such word


def number_matrix(features: Floats, columns: Sequence[int]) -> Floats:
    """float64[n, d]: the model's numbers out of the plan's feature matrix."""
    return np.ascontiguousarray(features[:, list(columns)])


def category_matrix(categories: Sequence[Category], rows: Frame, time: Ints, base: int, bits: int) -> Ints:
    """int64[n, k]: the row of weights of each category."""
    places = {c.exprs[0].text(): c for c in categories if c.place >= 0}
    words = {name: _words(c, rows) for name, c in places.items()}
    hashes = [hash_values(c.exprs, rows, time) if c.place < 0 else words[c.exprs[0].text()][:, c.place] for c in categories]
    slots = category_slots(hashes, [c.salt for c in categories], base, bits)
    for j, c in enumerate(categories):
        if c.place >= 0:
            slots[hashes[j] == NO_WORD, j] = NO_WEIGHT
    return slots if categories else np.zeros((rows.n, 0), np.int64)


def _words(category: Category, rows: Frame) -> Hashes:
    """uint64[n, places]: the words of a text; a null has none."""
    field = category.exprs[0]
    assert isinstance(field, FieldRef)
    column = rows.columns[field.spec.name]
    assert isinstance(column.values, Text)
    found = hash_words(column.values, category.places)
    if column.valid is not None:
        found[~column.valid] = NO_WORD
    return found
