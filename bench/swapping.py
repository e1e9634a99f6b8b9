"""The models of the swap row: version s has the numbers of version 0 times a factor, so that any score can be worked out.

The expected score is plain Python in the documented order of the linear predictor, not Headwater's kernel.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from headwater.learning.linear import base_of

LINE, D, CATEGORIES, BITS = "good", 4, 2, 21  # 2^21 weights of 8 bytes: 16.8 MB a version
QUESTIONS = 2_000
Floats = npt.NDArray[np.float64]


def factor(seq: int) -> float:
    return 1.0 + seq / 65_536.0


def base_block() -> Floats:
    """Statistics of the numbers, then weights, as a line is published."""
    chance = np.random.default_rng(8)
    variances = chance.uniform(0.5, 2.0, D)
    stats = np.stack([np.full(D, 100.0), chance.normal(size=D), variances, 1.0 / np.sqrt(variances)])
    return np.concatenate([stats.reshape(-1), 0.1 * chance.normal(size=base_of(D) + (1 << BITS))])


def questions(skip: int) -> Floats:
    """Stored questions: `skip` scores, numbers, rows of the categories' weights."""
    chance = np.random.default_rng(9)
    slots = chance.integers(base_of(D), base_of(D) + (1 << BITS), (QUESTIONS, CATEGORIES)).astype(np.float64)
    return np.column_stack([np.zeros((QUESTIONS, skip)), chance.normal(size=(QUESTIONS, D)), slots])


def score(block: Floats, seq: int, numbers: list[float], slots: list[int]) -> float:
    """What version `seq` says to a question."""
    by, weights = factor(seq), 4 * D
    parts = []
    for j, x in enumerate(numbers):
        z = (x - float(block[D + j]) * by) * (float(block[3 * D + j]) * by)
        parts.append(float(block[weights + 1 + j]) * by * max(-8.0, min(8.0, z)))
    total = float(block[weights]) * by + ((parts[0] + parts[1]) + (parts[2] + parts[3]))
    for slot in slots:
        total += float(block[weights + slot]) * by
    return 1.0 / (1.0 + math.exp(-total))
