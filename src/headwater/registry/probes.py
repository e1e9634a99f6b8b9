"""Vectors that try a model: usual ones, missing and extreme numbers, categories seen and never seen. Seeded."""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.registry.portable import HUGE
from headwater.registry.portable_classes import AnyPortable

_EDGES = np.array([
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, HUGE, -HUGE, np.nextafter(HUGE, np.inf), 1.7e308, -1.7e308,
])  # fmt: skip


def probes(model: AnyPortable, n: int, seed: int) -> tuple[Floats, Ints]:
    """Numbers float64[n, d] and categories' rows of weights int64[n, k].

    Half of the numbers lie about as the model has seen them, a quarter far from it, an eighth is missing, and an eighth is
    an edge of the format (infinities, the smallest and the largest number, both sides of what counts as missing). Half of
    the categories have a weight that was learnt.
    """
    chance = np.random.default_rng(seed)
    d, k = len(model.numbers), len(model.categories)
    sd = np.sqrt(np.maximum(model.stats[2], 0.0))
    xs = model.stats[1] + np.where(sd > 0, sd, 1.0) * chance.standard_normal((n, d))
    kind = chance.integers(0, 8, (n, d))
    xs = np.where(kind >= 6, xs * 10.0 ** chance.uniform(-12, 12, (n, d)), xs)  # noqa: PLR2004 - two in eight
    xs = np.where(kind == 0, np.nan, xs)
    xs = np.where(kind == 1, chance.choice(_EDGES, (n, d)), xs)
    cs = chance.integers(model.base, model.weights.shape[0], (n, k))
    learnt = model.base + np.flatnonzero(
        model.weights[model.base :].reshape(model.weights.shape[0] - model.base, -1).any(axis=1)
    )
    if learnt.size and k:
        cs = np.where(chance.random((n, k)) < 0.5, chance.choice(learnt, (n, k)), cs)  # noqa: PLR2004
    is_word = np.array([name.startswith("words(") for name in model.categories], np.bool_)
    cs = np.where(is_word & (chance.random((n, k)) < 0.25), -1, cs)  # noqa: PLR2004 - short texts
    return np.ascontiguousarray(xs), np.ascontiguousarray(cs, np.int64)
