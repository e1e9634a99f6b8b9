"""A boosted forest as flat arrays, and the one pass that gives both its margins and its leaves.

The fast layer needs to know in which leaf of each tree a row falls; the margin is then the sum of the leaves' values, so
the look-up replaces the slow library's own scoring. Narrow integers keep the nodes of a usual forest in the first cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import kernel

Narrow = npt.NDArray[np.int16]


class Forest(NamedTuple):
    """Trees whose splits are `x[column] <= threshold`, NaN going where `missing_left` says.

    Attributes:
        roots: int16[trees]: each tree's first node; negative is a leaf, ~leaf.
        column: int16[nodes].
        threshold: float64[nodes].
        children: int16[nodes, 2]: left and right; negative is a leaf, ~leaf.
        missing_left: int16[nodes]: 0 or 1.
        values: float64[leaves]: what a leaf adds to the margin; leaves are numbered through all trees.
    """

    roots: Narrow
    column: Narrow
    threshold: Floats
    children: Narrow
    missing_left: Narrow
    values: Floats


def joined(first: Forest, second: Forest) -> Forest:
    """One forest of the trees of two; its margin is the sum of theirs."""
    n_nodes, n_leaves = first.column.size, first.values.size

    def moved(refs: Narrow) -> Narrow:
        return np.where(refs >= 0, refs + n_nodes, refs - n_leaves).astype(np.int16)

    return Forest(
        np.concatenate([first.roots, moved(second.roots)]), np.concatenate([first.column, second.column]),
        np.concatenate([first.threshold, second.threshold]), np.concatenate([first.children, moved(second.children)]),
        np.concatenate([first.missing_left, second.missing_left]), np.concatenate([first.values, second.values]),
    )  # fmt: skip


@kernel
def descend(forest: Forest, numbers: Floats, rows: Ints, leaves: Narrow, margins: Floats) -> None:
    """Write the leaves int16[n, trees] and margins float64[n] of some rows of float64[n, d] numbers."""
    for i in rows:
        total = 0.0
        for tree in range(forest.roots.size):
            node = forest.roots[tree]
            while node >= 0:
                x = numbers[i, forest.column[node]]
                right = 1 - forest.missing_left[node] if np.isnan(x) else int(x > forest.threshold[node])
                node = forest.children[node, right]
            leaves[i, tree] = ~node
            total += forest.values[~node]
        margins[i] = total


@kernel
def margins_of(forest: Forest, numbers: Floats, first: int, last: int) -> Floats:
    """float64[last - first]: the margins of rows first .. last - 1."""
    out = np.zeros(last - first)
    for i in range(first, last):
        for tree in range(forest.roots.size):
            node = forest.roots[tree]
            while node >= 0:
                x = numbers[i, forest.column[node]]
                right = 1 - forest.missing_left[node] if np.isnan(x) else int(x > forest.threshold[node])
                node = forest.children[node, right]
            out[i - first] += forest.values[~node]
    return out
