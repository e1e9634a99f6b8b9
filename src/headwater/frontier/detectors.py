"""Drift detectors as triggers: refit at the next decision point after an alarm."""

from __future__ import annotations

import time

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.evaluation.metrics import YES
from headwater.frontier.matrix import Matrix
from headwater.frontier.scores import probabilities
from headwater.frontier.stream import Stream
from headwater.learning.forest import margins_of
from headwater.planning.sensors import Sensor

NAMES = ("adwin", "ddm", "page_hinkley")


def alarmed(name: str, stream: Stream, matrix: Matrix) -> tuple[Ints, float]:
    """The decision points at which a detector has the model refitted, and the detector's own core-seconds.

    It sees the live model's error on each label as it becomes known: wrong or right; for numbers the distance, in units of its
    mean over the first block (and for DDM, which takes only wrong or right, whether it is above that mean).

    Raises:
        Fatal: River is not installed.
    """
    sensor, updates, live, spent = Sensor(name, absolute=stream.absolute), [stream.first], stream.first, 0.0
    ready = stream.rows.ready
    for j in range(stream.first, stream.n_points - 1):
        known = stream.rows.order[ready[stream.edges[j]] : ready[stream.edges[j + 1]]]
        errors = _errors(stream, matrix, live, known)
        began = time.thread_time()
        fired = sensor.feed(errors)
        spent += time.thread_time() - began
        if fired:
            live = j + 1
            updates.append(live)
    return np.array(updates), spent


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
