"""Which labels a refit learns from, where it may not read all: one function for each way of choosing.

Each returns int64[min(k, n)], ascending positions among n candidates, which lie in the order in which their labels became
known. Whatever is drawn, is drawn from a seed: equal arguments, equal choice.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints

_EPS = 1e-12


def recency(n: int, k: int) -> Ints:
    """The newest.

    >>> recency(10, 3).tolist()
    [7, 8, 9]
    """
    return np.arange(max(n - k, 0), n, dtype=np.int64)


def random(n: int, k: int, seed: int = 0) -> Ints:
    """All with equal chance."""
    return _ascending(np.random.default_rng(seed).permutation(n)[:k])


def stratified(strata: Ints, k: int, seed: int = 0) -> Ints:
    """Of each stratum its share, at random; of each at least one, as far as `k` goes.

    Args:
        strata: int64[n]: the class, source or regime of each candidate.
        k: How many.
        seed: Of the draw.
    """
    names, where = np.unique(strata, return_inverse=True)
    sizes = np.bincount(where, minlength=names.size)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(where == i))[:take] for i, take in enumerate(_shares(sizes, min(k, strata.size)))]
    return _ascending(np.concatenate([np.zeros(0, np.int64), *chosen]))


def _shares(sizes: Ints, k: int) -> Ints:
    """int64[strata], summing to k: by largest remainders, the small ones raised to one while there is room."""
    if sizes.size == 0:
        return sizes
    exact = k * sizes / sizes.sum()
    takes: Ints = np.floor(exact).astype(np.int64)
    for i in np.argsort(takes - exact, kind="stable")[: k - int(takes.sum())]:
        takes[i] += 1
    for i in np.flatnonzero(takes == 0):
        most = int(takes.argmax())
        if takes[most] > 1:
            takes[most] -= 1
            takes[i] += 1
    return takes


def uncertainty(probabilities: Floats, k: int) -> Ints:
    """Where the served answer was least sure: greatest entropy, the newer first among equals. NaN counts as sure.

    >>> uncertainty(np.array([0.9, 0.5, 0.1, 0.6]), 2).tolist()
    [1, 3]
    """
    p = np.clip(np.nan_to_num(probabilities, nan=0.0), _EPS, 1 - _EPS)
    return _largest(-(p * np.log(p) + (1 - p) * np.log1p(-p)), k)


def by_loss(losses: Floats, k: int, seed: int = 0) -> Ints:
    """With a chance that grows with what the answer lost, not the k worst themselves: those are the mislabelled ones.

    A weighted draw without replacement (Efraimidis & Spirakis 2006): the greatest of u^(1 / loss). A candidate that lost
    nothing, or has no answer (NaN), keeps a hundredth of the mean chance.
    """
    lost = np.nan_to_num(np.maximum(losses, 0.0), nan=0.0, posinf=0.0)
    mean = float(lost.mean()) if lost.size else 0.0
    keys = np.log(np.random.default_rng(seed).random(lost.size) + _EPS) / np.maximum(lost, 0.01 * mean + _EPS)
    return _largest(keys, k)


def reservoir(n: int, k: int, seed: int = 0) -> Ints:
    """All with equal chance, in one pass that never knew n: what `anchors.Reservoir` holds after n offers."""
    kept = np.arange(min(n, k), dtype=np.int64)
    if n > k > 0:
        later = np.arange(k, n)
        slots = np.random.default_rng(seed).integers(0, later + 1)
        for row, slot in zip(later[slots < k].tolist(), slots[slots < k].tolist(), strict=True):
            kept[slot] = row
    return _ascending(kept)


def k_centre(points: Floats, k: int) -> Ints:
    """A coreset: no candidate is farther from its nearest chosen one than twice what the best choice could reach.

    Greedy, farthest first, from the newest candidate (Gonzalez 1985); O(n k d). The columns of float64[n, d] are standardised
    here, NaN counts as the mean. Ties go to the newer.
    """
    n = points.shape[0]
    if n == 0 or k <= 0:
        return np.zeros(0, np.int64)
    x = _standardised(points)
    chosen, far, taken = n - 1, np.full(n, np.inf), []
    for _ in range(min(k, n)):
        taken.append(chosen)
        far = np.minimum(far, np.square(x - x[chosen]).sum(axis=1))
        far[chosen] = -1.0
        chosen = n - 1 - int(far[::-1].argmax())
    return _ascending(np.array(taken))


def _standardised(points: Floats) -> Floats:
    there = ~np.isnan(points)
    n = np.maximum(there.sum(axis=0), 1)
    centred = np.where(there, points - np.where(there, points, 0.0).sum(axis=0) / n, 0.0)
    spread = np.sqrt(np.square(centred).sum(axis=0) / n)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0))


def _largest(values: Floats, k: int) -> Ints:
    newest_first = np.arange(values.size)[::-1]
    order = newest_first[np.argsort(-values[::-1], kind="stable")]
    return _ascending(order[:k])


def _ascending(rows: Ints) -> Ints:
    return np.sort(rows).astype(np.int64)
