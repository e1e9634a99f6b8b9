"""Label lags: what the labels known so far say about the next one.

For each row: the last label, and two decayed averages of labels (of 10 and 100 labels' memory); then the same three of the
row's key, where there is one. Only labels that are known when the row is answered count, and they count in the order in
which they became known.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import kernel

LAST, SHORT, LONG = range(3)
_SHORT, _LONG = 0.1, 0.01


@kernel
def known_before(time: Ints, label_time: Ints, order: Ints) -> Ints:
    """int64[n]: how many labels of `order` are known when each row is answered; a row never knows its own."""
    ready, n_known = np.empty(time.size, np.int64), 0
    for i in range(time.size):
        while n_known < order.size and order[n_known] < i and label_time[order[n_known]] <= time[i]:
            n_known += 1
        ready[i] = n_known
    return ready


def order_of(label_time: Ints) -> Ints:
    """int64[n]: the rows in the order in which their labels become known."""
    return np.argsort(label_time, kind="stable")


@kernel
def _move(memory: Floats, label: float) -> None:
    if np.isnan(memory[LAST]):
        memory[:] = label
        return
    memory[LAST] = label
    memory[SHORT] += _SHORT * (label - memory[SHORT])
    memory[LONG] += _LONG * (label - memory[LONG])


@kernel
def label_lags(label: Floats, key: Ints, n_keys: int, order: Ints, ready: Ints) -> Floats:
    """float64[n, 3], or [n, 6] where `n_keys` > 0; NaN while nothing is known. 0.05 us a row.

    Args:
        label: float64[n]; NaN is a label that never comes.
        key: int64[n] in [0, n_keys).
        n_keys: How many keys there are; 0 without.
        order: int64[m]: rows by when their labels become known.
        ready: int64[n]: `known_before`.
    """
    lags = np.full((label.size, 6 if n_keys else 3), np.nan)
    overall, by_key, done = np.full(3, np.nan), np.full((n_keys, 3), np.nan), 0
    for i in range(label.size):
        while done < ready[i]:
            j = order[done]
            if not np.isnan(label[j]):
                _move(overall, label[j])
                if n_keys:
                    _move(by_key[key[j]], label[j])
            done += 1
        lags[i, :3] = overall
        if n_keys:
            lags[i, 3:] = by_key[key[i]]
    return lags
