"""The slow model: LightGBM on one thread, deterministic, kept as a flat forest. The only file that imports it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Floats
from headwater.core.errors import Fatal
from headwater.learning.forest import Forest, joined, margins_of


class FitStopped(Fatal):
    """A fit took longer than it may; nothing of it is used."""


@dataclass(frozen=True, slots=True)
class Boosted:
    """How a forest is fitted.

    Attributes:
        loss: "log" for a yes/no label, "absolute" for a number.
        trees: How many.
        leaves: Of each tree, at most.
        learning_rate: Of each tree.
        seed: Of LightGBM; nothing is drawn at random at these settings, so it changes nothing.
        min_data_in_leaf: Labels in a leaf, at least.
    """

    loss: Literal["log", "absolute"] = "log"
    trees: int = 60
    leaves: int = 31
    learning_rate: float = 0.1
    seed: int = 0
    min_data_in_leaf: int = 20

    def name(self) -> str:
        """Such as `60x31`."""
        return f"{self.trees}x{self.leaves}"

    def fit(self, numbers: Floats, labels: Floats, is_over: Callable[[], bool] | None = None) -> Forest:
        """A forest for float64[n, d] and float64[n]; each leaf carries its part of the log-odds or median that all start from.

        Args:
            numbers: What trees may split on; NaN where missing.
            labels: 0 or 1, or numbers.
            is_over: Asked after every tree whether to stop.

        Raises:
            FitStopped: `is_over` said so.
            Fatal: LightGBM is not installed.
        """
        base = _base(self.loss, labels)
        return self.trees_for(numbers, labels, np.full(labels.size, base), self.trees, base, is_over)

    def trees_for(
        self, numbers: Floats, labels: Floats, start: Floats, trees: int, base: float, is_over: Callable[[], bool] | None
    ) -> Forest:
        """New trees that go on from margins float64[n]; their leaves carry `base` between them."""

        def ask(_: Any) -> None:
            if is_over is not None and is_over():
                raise FitStopped("a fit was stopped", where=f"LightGBM {self.name()}", next_step="Give it a larger limit.")

        library = _library()
        data = library.Dataset(numbers, labels, init_score=start, params=self._bins(), free_raw_data=True)
        booster = library.train(self._parameters(), data, num_boost_round=trees, callbacks=[ask])
        return flatten(booster.dump_model()["tree_info"], base)

    def after(self, forest: Forest, trees: int) -> Grown:
        """How more trees are fitted that go on from a forest."""
        return Grown(self, forest, trees)

    def _bins(self) -> dict[str, Any]:
        return {**_BINS, "min_data_in_leaf": self.min_data_in_leaf}

    def _parameters(self) -> dict[str, Any]:
        return {
            "objective": "binary" if self.loss == "log" else "regression_l1", "num_leaves": self.leaves,
            "learning_rate": self.learning_rate, "seed": self.seed, "boost_from_average": False, **self._bins(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """More trees for a forest: incremental steps, as LightGBM's own continued training.

    Attributes:
        spec: Leaves, learning rate and loss of the new trees.
        forest: What they go on from.
        trees: How many are added.
    """

    spec: Boosted
    forest: Forest
    trees: int

    def fit(self, numbers: Floats, labels: Floats, is_over: Callable[[], bool] | None = None) -> Forest:
        """The whole forest, old trees first; arguments and errors as `Boosted.fit`."""
        start = margins_of(self.forest, np.ascontiguousarray(numbers), 0, labels.size)
        return joined(self.forest, self.spec.trees_for(numbers, labels, start, self.trees, 0.0, is_over))


_BINS = {"num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}


def _base(loss: str, labels: Floats) -> float:
    """The constant that every margin starts from: log-odds of the share of yes, or the median."""
    if loss == "absolute":
        return float(np.median(labels))
    share = float(np.clip(labels.mean(), 1e-6, 1 - 1e-6))
    return float(np.log(share / (1 - share)))


def flatten(trees: list[dict[str, Any]], base: float) -> Forest:
    """LightGBM's dumped trees as arrays; numeric splits only, which is all that is fitted here."""
    nodes: list[list[Any]] = []
    values: list[float] = []
    roots = [_add(tree["tree_structure"], nodes, values) for tree in trees]
    columns = np.array([n[0] for n in nodes], np.int16)
    thresholds = np.array([n[1] for n in nodes], np.float64)
    children = np.array([n[2:4] for n in nodes], np.int16).reshape(-1, 2)
    left = np.array([n[4] for n in nodes], np.int16)
    if not roots:
        roots, values = [~0], [0.0]
    each = np.asarray(values) + base / len(roots)
    return Forest(np.array(roots, np.int16), columns, thresholds, children, left, each)


def _add(node: dict[str, Any], nodes: list[list[Any]], values: list[float]) -> int:
    """Append a subtree; returns its node, or ~leaf."""
    if "split_feature" not in node:
        values.append(float(node["leaf_value"]))
        return ~(len(values) - 1)
    at = len(nodes)
    # Where a column had no missing value in training, LightGBM reads a missing one as 0.
    zero_left = node["threshold"] >= 0 if node["missing_type"] == "None" else node["default_left"]
    nodes.append([node["split_feature"], float(node["threshold"]), 0, 0, int(zero_left)])
    nodes[at][2] = _add(node["left_child"], nodes, values)
    nodes[at][3] = _add(node["right_child"], nodes, values)
    return at


def _library() -> Any:
    try:
        import lightgbm  # noqa: PLC0415 - optional
    except ImportError as missing:
        raise Fatal(
            "the slow model needs LightGBM, which is not installed", where="--slow lightgbm",
            next_step="Install headwater[lightgbm].",
        ) from missing  # fmt: skip
    return lightgbm
