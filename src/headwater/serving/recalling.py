"""The commonest answer by the shortest way: one question that waits in the view, found by its key.

No columns, no frames: the key's hash, two looks into the view, and one compiled call over the stored bytes where they lie.
The score has the bits of `learning.kernels.score_rows`, since both call the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.core.compiled import kernel
from headwater.core.expressions import FieldRef
from headwater.core.hashing import hash_column, hash_string
from headwater.core.schema import Kind
from headwater.learning.kernels import SQUARED, link, predictor
from headwater.serving.scalars import maker
from headwater.store.view import question_key


@kernel
def score_stored(block: Floats, row: Floats, skip: int, d: int, params: Floats) -> float:
    """The score of one stored question.

    Args:
        block: float64[4 * d + n], a line as it is published: statistics, then weights.
        row: A stored question: `skip` scores, `d` numbers, then rows of weights of its categories.
        skip: See `row`.
        d: See `row`.
        params: `Linear.params()`.
    """
    stats, weights = block[: 4 * d].reshape(4, d), block[4 * d :]
    xs, slots = row[skip : skip + d].reshape(1, d), np.empty((1, row.size - skip - d), np.int64)
    for j in range(slots.size):
        slots[0, j] = int(row[skip + d + j])
    return float(link(predictor(0, weights, stats, xs, slots, params, np.empty(d)), params[SQUARED]))


def namer(model: int, join: FieldRef[object]) -> Callable[[Any], bytes]:
    """A function from a key to where its question is in the view."""
    if join.spec.kind is Kind.STR:
        return lambda key: question_key(model, hash_string(key))
    make = maker(join.spec, repeats=False)
    return lambda key: question_key(model, int(hash_column(make(key))[0]))
