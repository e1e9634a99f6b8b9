"""LightGBM in the event lane: gradient-boosted trees, fitted anew on a window of the newest labels.

A fit is a function of the window: one thread, fixed seeds, LightGBM's deterministic mode. Between fits the model is what its
text says, also in the process that made it, so that a restart changes no score.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData
from headwater.learning.protocol import LearnerState, check_block, check_option, check_shape, library, versioned

_WHERE = "hw.LightGBM"
_FIXED = {"deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 0, "verbosity": -1}
_OBJECTIVES = {"log": "binary", "squared": "regression"}


@dataclass(frozen=True, eq=False)
class LightGBM:
    """Trees that are refitted after every so many labels, on the newest ones.

        learner=hw.LightGBM(loss="log", refit_every=1_000, window=20_000, num_leaves=15)

    A refit stops the line for as long as it takes: some 0.1 s for 10,000 labels. One on a window with a single class in it is
    left out, and the model before stands.

    Args:
        loss: "log" for yes/no labels, "squared" for numbers.
        refit_every: Labels between refits.
        window: Labels that a refit learns from.
        trees: Boosting rounds of each fit.
        learning_rate: Of each tree.
        num_leaves: Of each tree, at most.
        min_data_in_leaf: Labels in a leaf, at least.
        bits: Categories are hashed to 2^bits values, which the trees split as categories.

    Raises:
        DeclarationError: An option is out of range, or LightGBM is not installed.
    """

    loss: Literal["log", "squared"] = "log"
    refit_every: int = 1_000
    window: int = 10_000
    trees: int = 50
    learning_rate: float = 0.1
    num_leaves: int = 15
    min_data_in_leaf: int = 20
    bits: int = 10
    module: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_option(self.loss in _OBJECTIVES, f"{_WHERE}.loss", "'log' or 'squared'", self.loss)
        check_shape(_WHERE, self.refit_every, self.bits, 16)
        check_option(self.window >= self.refit_every, f"{_WHERE}.window", "at least refit_every labels", self.window)
        for name in ("trees", "learning_rate", "min_data_in_leaf"):
            check_option(getattr(self, name) > 0, f"{_WHERE}.{name}", "a number > 0", getattr(self, name))
        check_option(self.num_leaves > 1, f"{_WHERE}.num_leaves", "at least 2", self.num_leaves)
        object.__setattr__(self, "module", library("lightgbm", "lightgbm", _WHERE))

    @property
    def block(self) -> int:
        """Labels that are learnt together: those between refits."""
        return self.refit_every

    def params(self) -> dict[str, Any]:
        """As LightGBM takes them."""
        return {
            **_FIXED, "objective": _OBJECTIVES[self.loss], "learning_rate": self.learning_rate, "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        return {
            "learner": "lightgbm/1", "params": self.params(), "trees": self.trees, "refit_every": self.refit_every,
            "window": self.window, "bits": self.bits, "loss": self.loss, "libraries": versioned("lightgbm"),
        }  # fmt: skip

    def start(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> LightGBMLearner:
        return LightGBMLearner(self, len(numbers), len(categories))


class LightGBMLearner:
    """A `BlockLearner` over a window and the trees that were fitted on it."""

    def __init__(self, spec: LightGBM, n_numbers: int, n_categories: int) -> None:
        self._spec, self._categorical = spec, list(range(n_numbers, n_numbers + n_categories))
        self._xs: Floats = np.zeros((0, n_numbers + n_categories))
        self._ys: Floats = np.zeros(0)
        self._text, self._booster = "", None

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        if self._booster is None:
            return np.full(xs.shape[0], 0.5 if self._spec.loss == "log" else 0.0)
        if xs.shape[0] == 0:
            return np.zeros(0)
        scores: Floats = self._booster.predict(np.hstack([xs, cs]), num_threads=1)
        return scores

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        check_block(xs, ys, self._spec.loss)
        self._xs = np.vstack([self._xs, np.hstack([xs, cs])])[-self._spec.window :]
        self._ys = np.concatenate([self._ys, ys])[-self._spec.window :]
        if np.unique(self._ys).size > 1:
            self._set(self._fit())

    def _fit(self) -> str:
        gbm, spec = self._spec.module, self._spec
        labels = (self._ys >= 0.5).astype(np.float64) if spec.loss == "log" else self._ys  # noqa: PLR2004 - yes or no
        data = gbm.Dataset(self._xs, labels, categorical_feature=self._categorical, params=spec.params())
        text: str = gbm.train(spec.params(), data, num_boost_round=spec.trees).model_to_string()
        return text

    def _set(self, text: str) -> None:
        self._text = text
        self._booster = self._spec.module.Booster(model_str=text) if text else None

    def state(self) -> LearnerState:
        text = np.frombuffer(self._text.encode(), np.uint8)
        return LearnerState(arrays={"xs": self._xs, "ys": self._ys, "text": text})

    def load(self, state: LearnerState) -> None:
        self._xs, self._ys = np.array(state.arrays["xs"]), np.array(state.arrays["ys"])
        try:
            self._set(state.arrays["text"].tobytes().decode())
        except (self._spec.module.basic.LightGBMError, UnicodeDecodeError) as error:
            raise CorruptData(f"LightGBM cannot read its model back ({error})", where=_WHERE) from error
