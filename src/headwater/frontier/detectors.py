"""Drift detectors as triggers: refit at the next decision point after an alarm. The only file that imports River."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal
from headwater.evaluation.metrics import YES
from headwater.frontier.matrix import Matrix
from headwater.frontier.scores import probabilities
from headwater.frontier.stream import Stream
from headwater.learning.forest import margins_of

NAMES = ("adwin", "ddm", "page_hinkley")


def alarmed(name: str, stream: Stream, matrix: Matrix) -> tuple[Ints, float]:
    """The decision points at which a detector has the model refitted, and the detector's own core-seconds.

    It sees the live model's error on each label as it becomes known: wrong or right; for numbers the distance, in units of its
    mean over the first block (and for DDM, which takes only wrong or right, whether it is above that mean).

    Raises:
        Fatal: River is not installed.
    """
    detector, updates, live, spent, unit = _detector(name), [stream.first], stream.first, 0.0, 0.0
    ready = stream.rows.ready
    for j in range(stream.first, stream.n_points - 1):
        known = stream.rows.order[ready[stream.edges[j]] : ready[stream.edges[j + 1]]]
        errors = _errors(stream, matrix, live, known)
        unit = unit or float(errors.mean() if errors.size else 0.0)
        began = time.thread_time()
        fired = _feed(detector, _scaled(errors, unit, name, absolute=stream.absolute))
        spent += time.thread_time() - began
        if fired:
            live = j + 1
            updates.append(live)
            detector = _detector(name)
    return np.array(updates), spent


def _scaled(errors: Floats, unit: float, name: str, *, absolute: bool) -> Floats:
    if not absolute:
        return errors
    return (errors > unit).astype(np.float64) if name == "ddm" else errors / (unit or 1.0)


def _errors(stream: Stream, matrix: Matrix, live: int, rows: Ints) -> Floats:
    forest = matrix.forests[live]
    if forest is None or rows.size == 0:
        return np.zeros(0)
    margins = margins_of(forest, np.ascontiguousarray(matrix.numbers[rows]), 0, rows.size)
    label = stream.rows.label[rows]
    if stream.absolute:
        return np.asarray(np.abs(margins - label))
    wrong: Floats = ((probabilities(margins) >= YES) != (label >= YES)).astype(np.float64)
    return wrong


def _feed(detector: Any, errors: Floats) -> bool:
    for error in errors.tolist():
        detector.update(error)
        if detector.drift_detected:
            return True
    return False


def _detector(name: str) -> Any:
    try:
        from river import drift as known  # noqa: PLC0415 - optional
    except ImportError as missing:
        raise Fatal(
            "drift detectors need River, which is not installed", where=f"policy {name}", next_step="Install headwater[river].",
        ) from missing  # fmt: skip
    drift: Any = known
    if name == "ddm":
        return drift.binary.DDM()
    return drift.ADWIN() if name == "adwin" else drift.PageHinkley()
