"""How long a label waits until it is used: from the moment when it is known to the first answer by what has learnt it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headwater.core.batch import Ints
from headwater.frontier.stream import Stream


def at_once(stream: Stream) -> float:
    """Median ms where every label is learnt before the next answer."""
    return _median(stream, np.searchsorted(stream.rows.ready, np.arange(stream.rows.order.size), side="right"))


def by_versions(stream: Stream, swaps: Sequence[tuple[int, int]]) -> float:
    """Median ms where a label is used by the first version that was fitted on it.

    Args:
        stream: The history.
        swaps: (first row that a version answers, labels known when its fit began), in order.
    """
    rows = np.array([row for row, _ in swaps] + [stream.n], np.int64)
    known = np.array([n for _, n in swaps], np.int64)
    return _median(stream, rows[np.searchsorted(known, np.arange(stream.rows.order.size), side="right")])


def _median(stream: Stream, used: Ints) -> float:
    """Labels known before the first decision point are left out; one that is never used waits until the end of the stream."""
    order = stream.rows.order
    after = np.arange(order.size) >= stream.rows.ready[stream.edges[stream.first]]
    until = np.append(stream.time_ms, stream.time_ms[-1])[used[after]]
    waited = np.maximum(until - stream.known_ms[order[after]], 0)
    return float(np.median(waited)) if waited.size else 0.0
