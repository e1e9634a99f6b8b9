"""Policies of timing, replayed on the loss matrix: each says which version answers each block."""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.frontier.matrix import Matrix
from headwater.frontier.stream import Stream
from headwater.planning.probe import Probe

PERIODS = (2, 5, 10, 20, 50)
ORACLE_SHARE = 0.1  # of all decision points: how many updates the oracle may make


def versions_of(stream: Stream, updates: Ints) -> Ints:
    """int64[points]: the version of each block, from the decision points at which an update is begun."""
    out = np.full(stream.n_points, -1, np.int64)
    for point in updates:
        out[point:] = point
    return out


def never(stream: Stream) -> Ints:
    """Fit once."""
    return np.array([stream.first])


def always(stream: Stream) -> Ints:
    """Refit at every decision point."""
    return np.arange(stream.first, stream.n_points)


def periodic(stream: Stream, period: int, phase: int = 0) -> Ints:
    """Fit, then refit each `period` decision points."""
    later = np.arange(stream.first + period - phase % period, stream.n_points, period)
    return np.concatenate([[stream.first], later])


def total(stream: Stream, matrix: Matrix, updates: Ints) -> float:
    """What a policy loses, by the matrix."""
    versions = versions_of(stream, updates)[stream.first :]
    return float(matrix.loss[versions, np.arange(stream.first, stream.n_points)].sum())


def oracle(stream: Stream, matrix: Matrix, n_updates: int) -> Ints:
    """The decision points at which a clairvoyant updates so often, the first fit included; O(n * points^2).

    `best[j]` is the least loss before block j with the updates made so far; an update at i then serves blocks i .. j - 1.
    """
    first, end = stream.first, stream.n_points
    size = end - first
    spans = np.full((size, size + 1), np.inf)
    for i in range(size):
        spans[i, i + 1 :] = np.cumsum(matrix.loss[first + i, first + i :])
    best, back = np.where(np.arange(size + 1) > 0, spans[0], 0.0), []
    for _ in range(min(n_updates, size) - 1):
        paths = best[:-1, None] + spans
        paths[0] = spans[0]
        chosen = paths.argmin(axis=0)
        back.append(chosen)
        best = paths.min(axis=0)
        best[0] = 0.0
    updates, j = [], size
    for chosen in reversed(back):
        i = int(chosen[j])
        updates.append(i)
        j = i
        if i == 0:
            break
    return np.array(sorted({0, *updates})) + first


def ski_rental(stream: Stream, matrix: Matrix, probe_losses: Floats, price: float) -> Ints:
    """The paired probe with ski-rental, without a fast layer: refit when waiting has cost `price` mean losses of a block.

    Args:
        stream: The history.
        matrix: All versions.
        probe_losses: float64[points]: the probe's summed loss in each block.
        price: Of an update.
    """
    updates, probe, live, scale = [stream.first], Probe(), stream.first, 0.0
    counts = _labels_per_block(stream)
    for j in range(stream.first, stream.n_points - 1):
        n = int(counts[j])
        if n == 0:
            continue
        probe.observe(n, probe_losses[j] / n, matrix.loss[live, j] / n)
        scale += (probe_losses[j] / n - scale) * (0.1 if scale else 1.0)
        if probe.owed >= price * scale * n:
            live = j + 1
            updates.append(live)
            probe.renew()
    return np.array(updates)


def _labels_per_block(stream: Stream) -> Ints:
    has = np.concatenate([[0], np.cumsum(~np.isnan(stream.rows.label))])
    return np.diff(has[stream.edges])


def gap_closed(stream: Stream, matrix: Matrix, updates: Ints) -> float:
    """G: 0 is a periodic schedule with as many updates, averaged over its phases; 1 is the oracle's."""
    n = len(updates)
    period = max(1, round((stream.n_points - stream.first) / n))
    phases = [periodic(stream, period, phase) for phase in range(period)]
    usual = float(np.mean([total(stream, matrix, made) for made in phases]))
    best = total(stream, matrix, oracle(stream, matrix, n))
    return (usual - total(stream, matrix, updates)) / (usual - best) if usual > best else 0.0
