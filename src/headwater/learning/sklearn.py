"""Scikit-learn's `partial_fit` estimators in the event lane.

Nothing is pickled. What an estimator has learnt is taken apart into arrays, numbers and texts (`parts`), and put back into a
fresh clone of the declared one; an attribute of any other kind is refused rather than lost.

Rows are scored one by one: a matrix product over many rows may add up in another order than over one, and a score must
not depend on who was asked beside it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import DeclarationError
from headwater.learning.parts import apart, together
from headwater.learning.protocol import Array, LearnerState, check_block, check_shape, library, versioned

_WHERE = "hw.SklearnPartialFit"
_MOST = 1e15  # estimators square what they are shown, some as float32
_DERIVED = frozenset({"_loss_function_"})  # made anew by each partial_fit


@dataclass(frozen=True, eq=False)
class SklearnPartialFit:
    """A scikit-learn estimator with `partial_fit`: SGD, perceptrons, naive Bayes, MLP.

        learner=hw.SklearnPartialFit(SGDClassifier(loss="log_loss", random_state=0), block=256)

    A question becomes a row: the numbers, standardised by the mean and variance of what was learnt, 0 where missing; a column
    for each number that says whether it is missing; and 2^bits columns that count the hashed categories. A classifier without
    `predict_proba` is read through the logistic function of its decision.

    Args:
        estimator: The estimator; it is cloned, and must have a `random_state` where it draws.
        block: Labels learnt at a time, by one `partial_fit`.
        bits: The categories share 2^bits columns.
        standardize: Standardise the numbers; switch it off for estimators that want counts.

    Raises:
        DeclarationError: It is no such estimator, or draws without a seed.
    """

    estimator: Any
    block: int = 256
    bits: int = 8
    standardize: bool = True
    loss: Literal["log", "squared"] = field(init=False)

    def __post_init__(self) -> None:
        check_shape(_WHERE, self.block, self.bits, 16)
        base = library("sklearn.base", "sklearn", _WHERE)
        is_known = hasattr(self.estimator, "get_params") and (
            base.is_classifier(self.estimator) or base.is_regressor(self.estimator)
        )
        if not is_known or not hasattr(self.estimator, "partial_fit"):
            raise DeclarationError("this estimator cannot learn as it goes", where=_WHERE, got=type(self.estimator).__name__,
                                   expected="a scikit-learn classifier or regressor with partial_fit")  # fmt: skip
        if self.estimator.get_params().get("random_state", 0) is None:
            raise DeclarationError("the estimator draws without a seed", where=_WHERE, got="random_state=None",
                                   expected="random_state=0, or any other number")  # fmt: skip
        object.__setattr__(self, "loss", "log" if base.is_classifier(self.estimator) else "squared")

    def describe(self) -> dict[str, Any]:
        kind = type(self.estimator)
        params = {name: repr(value) for name, value in sorted(self.estimator.get_params().items())}
        return {
            "learner": "sklearn/1", "estimator": f"{kind.__module__}.{kind.__qualname__}", "params": params,
            "block": self.block, "bits": self.bits, "standardize": self.standardize, "loss": self.loss,
            "libraries": versioned("scikit-learn", "scipy", "numpy"),
        }  # fmt: skip

    def start(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> SklearnLearner:
        return SklearnLearner(self, len(numbers), len(categories))


class SklearnLearner:
    """A `BlockLearner` over one estimator."""

    def __init__(self, spec: SklearnPartialFit, n_numbers: int, n_categories: int) -> None:
        self._spec = spec
        self._width = (1 << spec.bits) if n_categories else 0
        self._stats: Floats = np.zeros((3, n_numbers))  # count, mean, sum of squared deviations
        self._estimator = self._fresh()

    def _fresh(self) -> Any:
        return library("sklearn.base", "sklearn", _WHERE).clone(self._spec.estimator)

    def _is_fit(self) -> bool:
        return hasattr(self._estimator, "n_features_in_")

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        if not self._is_fit():
            return np.full(xs.shape[0], 0.5 if self._spec.loss == "log" else 0.0)
        rows = self._rows(xs, cs)
        with _quietly():
            return np.array([self._score(rows[i : i + 1]) for i in range(rows.shape[0])], np.float64)

    def _score(self, row: Floats) -> float:
        if self._spec.loss == "squared":
            return float(self._estimator.predict(row)[0])
        if hasattr(self._estimator, "predict_proba"):
            return float(self._estimator.predict_proba(row)[0, 1])
        return float(1.0 / (1.0 + np.exp(-self._estimator.decision_function(row)[0])))

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        check_block(xs, ys, self._spec.loss)
        self._observe(xs)
        rows = self._rows(xs, cs)
        with _quietly():
            if self._spec.loss == "squared":
                self._estimator.partial_fit(rows, ys)
            else:
                self._estimator.partial_fit(rows, (ys >= 0.5).astype(np.int64), classes=np.array([0, 1]))  # noqa: PLR2004
        if hasattr(self._estimator, "loss_curve_"):  # a line for each block since the beginning: only the last is looked at
            del self._estimator.loss_curve_[:-1]

    def _observe(self, xs: Floats) -> None:
        """Take a block into the statistics (Chan, Golub & LeVeque 1979)."""
        count, mean, squares = self._stats
        there = ~np.isnan(xs)
        n = there.sum(axis=0)
        total = count + n
        safe = np.maximum(total, 1)
        block_mean = np.where(there, xs, 0.0).sum(axis=0) / np.maximum(n, 1)
        delta = block_mean - mean
        squares += np.where(there, (xs - block_mean) ** 2, 0.0).sum(axis=0) + delta**2 * count * n / safe
        mean += delta * n / safe
        count[:] = total

    def _rows(self, xs: Floats, cs: Ints) -> Floats:
        """float64[n, 2*d + 2^bits], as the estimator sees questions."""
        missing = np.isnan(xs)
        shown = xs
        if self._spec.standardize:
            count, mean, squares = self._stats
            deviation = np.sqrt(squares / np.maximum(count, 1))
            shown = (xs - mean) / np.where(deviation > 0, deviation, np.inf)
        hashed = np.zeros((xs.shape[0], self._width))
        for column in cs.T:
            hashed[np.arange(xs.shape[0]), column] += 1.0
        return np.hstack([np.where(missing, 0.0, np.clip(shown, -_MOST, _MOST)), missing.astype(np.float64), hashed])

    def state(self) -> LearnerState:
        arrays: dict[str, Array] = {"stats": self._stats.copy()}
        params = self._estimator.get_params(deep=False)
        learnt = {name: value for name, value in vars(self._estimator).items() if name not in params and name not in _DERIVED}
        return LearnerState({"learnt": apart(learnt, "learnt", arrays) if self._is_fit() else None}, arrays)

    def load(self, state: LearnerState) -> None:
        self._stats = np.array(state.arrays["stats"])
        self._estimator = self._fresh()
        if state.header["learnt"] is not None:
            vars(self._estimator).update(together(state.header["learnt"], state.arrays))


class _quietly(warnings.catch_warnings):  # noqa: N801 - reads as a verb where it is used
    """Estimators warn of what a stream always is: not converged."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
