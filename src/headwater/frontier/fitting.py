"""Fits of the slow model, with what they cost in core-seconds of this thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.learning.forest import Forest


class Fitter(Protocol):
    """A slow model's way to be fitted."""

    def fit(self, numbers: Floats, labels: Floats, is_over: Callable[[], bool] | None = None) -> Forest: ...


@dataclass(slots=True, eq=False)
class Fitted:
    """A fit that has ended: its forest, None where it failed, what it cost, why it failed, and whether at its limit."""

    forest: Forest | None
    core_s: float
    failure: str = ""
    is_over: bool = False


def fit(fitter: Fitter, numbers: Floats, labels: Floats, rows: Ints, limit_core_s: float = np.inf) -> Fitted:
    """Fit on some rows; a fit that raises, or takes longer than its limit, is stopped and costs what it took."""
    began = time.thread_time()

    def is_over() -> bool:
        return time.thread_time() - began > limit_core_s

    try:
        taken = np.sort(rows)
        forest = fitter.fit(numbers[taken], labels[taken], is_over)
    except Exception as error:  # noqa: BLE001 - a user's method may fail in any way; the served model stays
        core_s = time.thread_time() - began
        return Fitted(None, core_s, f"{type(error).__name__}: {error}", is_over=core_s > limit_core_s)
    return Fitted(forest, time.thread_time() - began)
