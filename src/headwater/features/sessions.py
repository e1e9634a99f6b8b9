"""Session windows: runs of an entity's events with less than a gap between neighbours.

A memory is a list of sessions, newest first, each: start, end, count, and the parts that are read (as `kernels` orders
them). An event joins the sessions that it lies less than the gap from; out of order it may join two into one. So the list is
a function of the events and not of their order (but for rounding), as long as it is long enough for the stream's lateness.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats
from headwater.core.compiled import inline

COUNT, SUM, MIN, MAX, SQUARES = range(5)  # as in `kernels`; COUNT is always kept, and 0 marks a place that is free


@inline
def width_of(parts: int) -> int:
    """Floats of one session."""
    width = 2
    for p in range(5):
        width += (parts >> p) & 1
    return width


@inline
def _begin(row: Floats, a: int, t: float, parts: int) -> None:
    """An empty session at t."""
    row[a], row[a + 1] = t, t
    j = a + 2
    for p in range(5):
        if (parts >> p) & 1:
            row[j] = np.inf if p == MIN else (-np.inf if p == MAX else 0.0)
            j += 1


@inline
def _add(row: Floats, a: int, t: float, x: float, parts: int) -> None:
    """One event into a session."""
    row[a], row[a + 1] = min(row[a], t), max(row[a + 1], t)
    n, last = row[a + 2], a + width_of(parts) - 1
    if parts & 16 and n > 0.0:  # West (1979), with the count and sum as they were
        delta = x - row[a + 3] / n
        row[last] += delta * delta * n / (n + 1.0)
    row[a + 2] = n + 1.0
    j = a + 3
    if parts & 2:
        row[j] += x
        j += 1
    if parts & 4:
        row[j] = min(row[j], x)
        j += 1
    if parts & 8:
        row[j] = max(row[j], x)


@inline
def gather(row: Floats, first: int, parts: int, out: Floats) -> None:
    """Add the parts that begin at `first`, of a session or a pane, to out[5] = count, sum, min, max, squared deviations."""
    if parts & 16 and out[COUNT] > 0.0:  # Chan, Golub & LeVeque (1979)
        delta = row[first + 1] / row[first] - out[SUM] / out[COUNT]
        out[SQUARES] += delta * delta * out[COUNT] * row[first] / (out[COUNT] + row[first])
    j = first
    for p in range(5):
        if (parts >> p) & 1:
            if p == MIN:
                out[p] = min(out[p], row[j])
            elif p == MAX:
                out[p] = max(out[p], row[j])
            else:
                out[p] += row[j]
            j += 1


@inline
def empty(out: Floats) -> None:
    """Nothing gathered yet."""
    out[:] = 0.0
    out[MIN], out[MAX] = np.inf, -np.inf


@inline
def _join(row: Floats, a: int, b: int, parts: int, out: Floats) -> None:
    """Put the session at b, which is older, into the one at a."""
    empty(out)
    gather(row, b + 2, parts, out)
    gather(row, a + 2, parts, out)
    row[a] = row[b]
    row[a + 1] = max(row[a + 1], row[b + 1])
    j = a + 2
    for p in range(5):
        if (parts >> p) & 1:
            row[j] = out[p]
            j += 1


@inline
def add_session(row: Floats, at: int, t: float, x: float, gap: float, n: int, parts: int, out: Floats) -> int:
    """Add an event to a list of n places; out[5] is room. Returns 0 done, 1 it is older than the full list reaches."""
    width, joined = width_of(parts), -1
    place = n  # of a session of its own: before the first one that starts earlier
    for i in range(n):
        a = at + i * width
        if row[a + 2] == 0.0:
            place = min(place, i)
            break
        if row[a] - gap < t < row[a + 1] + gap:
            if joined < 0:
                _add(row, a, t, x, parts)
                joined = i
                continue
            _join(row, at + joined * width, a, parts, out)
            for j in range(a, at + (n - 1) * width):
                row[j] = row[j + width]
            row[at + (n - 1) * width + 2] = 0.0
            break
        if row[a] < t:
            place = min(place, i)
            break
    if joined >= 0:
        return 0
    if place == n:
        return 1
    for j in range(at + n * width - 1, at + (place + 1) * width - 1, -1):
        row[j] = row[j - width]
    _begin(row, at + place * width, t, parts)
    _add(row, at + place * width, t, x, parts)
    return 0


@inline
def read_session(row: Floats, at: int, t: float, gap: float, n: int, parts: int, out: Floats) -> None:
    """Gather the sessions that an event at t would join into out[5]."""
    empty(out)
    width = width_of(parts)
    for i in range(n - 1, -1, -1):
        a = at + i * width
        if row[a + 2] > 0.0 and row[a] - gap < t < row[a + 1] + gap:
            gather(row, a + 2, parts, out)
