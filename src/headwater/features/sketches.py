"""About how many different values: HyperLogLog in rows of float64.

A sketch has 2^p registers of six bits, eight of them packed into the whole number that a float64 holds exactly. A register is
the greatest rank (trailing zeros + 1) of the hashes that fell to it (Flajolet et al. 2007), so that a sketch is a function of
the set of values: order, repetition and any merging leave no trace. The estimate is Ertl's (2017, algorithm 6), which needs
no tables and has no bias for small sets.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import inline

HASH_BITS = 52  # of a value's hash: what a float64 holds exactly
_PER_WORD, _BITS, _MASK = 8, 6, 63


@inline
def words_of(p: int) -> int:
    """Floats of one sketch of 2^p registers."""
    return (1 << p) // _PER_WORD


@inline
def _observe(row: Floats, a: int, x: float, p: int) -> None:
    """Take a hash (a whole number below 2^52) into the sketch at a."""
    h = np.int64(x)
    register, rest, rank = h & ((1 << p) - 1), h >> p, 1
    while rest & 1 == 0 and rank <= HASH_BITS - p:
        rest >>= 1
        rank += 1
    word, shift = np.int64(row[a + register // _PER_WORD]), _BITS * (register % _PER_WORD)
    now = (word >> shift) & _MASK
    if rank > now:
        row[a + register // _PER_WORD] = float(word + ((rank - now) << shift))


@inline
def add_distinct(row: Floats, at: int, t: float, x: float, slide: float, panes: int, p: int) -> int:
    """Take a value into the pane of t; without a slide, one is for ever. Returns 1 where the ring reaches less far."""
    width = 1 + words_of(p)
    number = np.floor(t / slide) + 1.0 if slide > 0.0 else 1.0
    a = at + (int(number) % panes) * width
    if row[a] > number or number < 1.0:
        return 1
    if row[a] < number:
        row[a] = number
        for j in range(1, width):
            row[a + j] = 0.0
    _observe(row, a + 1, x, p)
    return 0


@inline
def read_distinct(row: Floats, at: int, t: float, size: float, slide: float, panes: int, p: int) -> float:
    """About how many different values the window that ends with the pane of t holds."""
    width = 1 + words_of(p)
    newest = np.floor(t / slide) + 1.0 if slide > 0.0 else 1.0
    wanted = int(size / slide) if slide > 0.0 else 1
    histogram = np.zeros(HASH_BITS + 2, np.int64)
    merged = np.zeros(_PER_WORD, np.int64)
    for w in range(words_of(p)):
        merged[:] = 0
        for back in range(wanted):
            number = newest - back
            a = at + (int(number) % panes) * width
            if number < 1.0 or row[a] != number or row[a + 1 + w] == 0.0:
                continue
            word = np.int64(row[a + 1 + w])
            for r in range(_PER_WORD):
                merged[r] = max(merged[r], (word >> (_BITS * r)) & _MASK)
        for r in range(_PER_WORD):
            histogram[merged[r]] += 1
    return _estimate(histogram, p)


@inline
def _estimate(histogram: Ints, p: int) -> float:
    """How many values give registers with this histogram (Ertl 2017)."""
    m, q = float(1 << p), HASH_BITS - p
    if histogram[0] == 1 << p:
        return 0.0
    z = m * _tau(1.0 - histogram[q + 1] / m)
    for k in range(q, 0, -1):
        z = 0.5 * (z + histogram[k])
    z += m * _sigma(histogram[0] / m)
    return float(m * m / (2.0 * np.log(2.0) * z))


@inline
def _sigma(x: float) -> float:
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


@inline
def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1.0 - x, -1.0
    while z != before:
        x = np.sqrt(x)
        before = z
        y *= 0.5
        z -= (1.0 - x) * (1.0 - x) * y
    return z / 3.0
