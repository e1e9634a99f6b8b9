"""What changed from one version to another: recipe, metrics, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.registry.artifact import Array, Artifact
from headwater.registry.version import Version


@dataclass(frozen=True, slots=True)
class ArrayChange:
    """How an array changed. Norms are Euclidean, over all elements as float64.

    Attributes:
        name: The array's name.
        before: Its norm in the first version; None where it is missing there.
        after: Its norm in the second version; None where it is missing there.
        change: Norm of the difference; None where the shapes differ.
        n_changed: Number of elements with another value; None where the shapes differ.
    """

    name: str
    before: float | None
    after: float | None
    change: float | None
    n_changed: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from version `a` to version `b`.

    Attributes:
        a: Name of the first version.
        b: Name of the second version.
        recipe: Key (nested ones joined by dots) -> (value in a, value in b), only where they differ; None = absent.
        metrics: The same for all metrics that either has, also equal ones.
        arrays: Every array that either has, by name.
        same_bytes: Whether their files are equal.
    """

    a: str
    b: str
    recipe: dict[str, tuple[Any, Any]]
    metrics: dict[str, tuple[float | None, float | None]]
    arrays: list[ArrayChange]
    same_bytes: bool


def difference(a: Version, b: Version, stored_a: Artifact, stored_b: Artifact) -> Difference:
    """Compare two versions; cost is one pass over both versions' arrays."""
    recipes, (first, second) = (dict(flat(a.recipe)), dict(flat(b.recipe))), (stored_a.arrays, stored_b.arrays)
    keys = sorted(recipes[0].keys() | recipes[1].keys())
    return Difference(
        a.name,
        b.name,
        {key: pair for key in keys if (pair := (recipes[0].get(key), recipes[1].get(key)))[0] != pair[1]},
        {key: (a.metrics.get(key), b.metrics.get(key)) for key in sorted(a.metrics.keys() | b.metrics.keys())},
        [_changed(name, first.get(name), second.get(name)) for name in sorted(first.keys() | second.keys())],
        a.sha256 == b.sha256,
    )


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Key and value of every leaf, keys of nested ones joined by dots.

    >>> list(flat({"code": "c0de", "parameters": {"step": 0.1}}))
    [('code', 'c0de'), ('parameters.step', 0.1)]
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _changed(name: str, before: Array | None, after: Array | None) -> ArrayChange:
    norms = (None if before is None else norm(before), None if after is None else norm(after))
    if before is None or after is None or before.shape != after.shape:
        return ArrayChange(name, *norms, None, None)
    moved = after.astype(np.float64) - before.astype(np.float64)
    return ArrayChange(name, *norms, norm(moved), int(np.count_nonzero(moved)))


def norm(array: Array) -> float:
    """Euclidean norm over all elements, as float64."""
    return float(np.sqrt(np.sum(np.square(array.astype(np.float64)))))
