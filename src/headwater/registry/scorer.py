"""Scores with a version that `headwater export --to npz` wrote; needs numpy and nothing of Headwater's.

A model exported for MLflow carries this file; docs/exchange.md has the same in short.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np


def load(path: str) -> tuple[dict[str, Any], Callable[[Any, Any], Any]]:
    """The header, and score(xs, cs) -> float64[n] for numbers float64[n, d] and categories' rows int64[n, k].

    Of several classes: float64[n, classes], a probability of each.
    """
    file = np.load(path)
    header, w, stats = json.loads(str(file["header"])), file["weights"], file["stats"]
    d, bound, huge = stats.shape[1], header["clip_z"], header["huge"]
    mean, scale = (stats[1], stats[3]) if header["standardize"] else (0.0, 1.0)

    def standardized(xs: Any) -> Any:
        there = np.abs(xs) <= huge  # False for NaN
        return there, np.where(there, np.clip((np.where(there, xs, 0.0) - mean) * scale, -bound, bound), 0.0)

    def of_classes(xs: Any, cs: Any) -> Any:
        there, z = standardized(xs)
        each = [np.where(there[:, j, None], w[1 + j] * z[:, j, None], w[1 + d + j]) for j in range(d)]
        each += [np.where(cs[:, j, None] < 0, 0.0, w[cs[:, j]]) for j in range(cs.shape[1])]
        total, met = sum(each, np.repeat(w[:1], len(z), axis=0)), file["met"]
        if not met.any():
            return np.zeros_like(total)
        total = np.where(met > 0, total, -np.inf)
        p = np.exp(total - total.max(axis=1, keepdims=True))
        return p * ((1.0 - 1.0 / (2.0 + met.sum())) / p.sum(axis=1, keepdims=True))

    def score(xs: Any, cs: Any) -> Any:
        there, z = standardized(xs)
        lanes = sum((w[1 + j : 5 + j] * z[:, j : j + 4] for j in range(0, d - d % 4, 4)), np.zeros((len(z), 4)))
        total = w[0] + ((lanes[:, 0] + lanes[:, 1]) + (lanes[:, 2] + lanes[:, 3]))
        total = sum((w[1 + j] * z[:, j] for j in range(d - d % 4, d)), total)
        total = sum((np.where(there[:, j], 0.0, w[1 + d + j]) for j in range(d)), total)
        total = sum((np.where(cs[:, j] < 0, 0.0, w[cs[:, j]]) for j in range(cs.shape[1])), total)
        with np.errstate(over="ignore"):  # exp(-total) of a certain "no" is infinite, its score 0
            return 1.0 / (1.0 + np.exp(-total)) if header["link"] == "logistic" else np.clip(total, -huge, huge)

    return header, of_classes if header["link"] == "softmax" else score
