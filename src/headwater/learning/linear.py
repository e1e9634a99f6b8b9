"""The compiled linear learner: what a user declares, and the arrays that learn.

Scores are w0 + sum w_j z_j + sum w_missing + sum w_category, where z is the standardised number. The objective for an
example (x, y) is loss(y, score) + l2/2 * |w|^2 + l1 * |w| over the weights that the example touches; a step is

    eta_t = eta0 / (1 + alpha*t)^power        t = examples learnt before
    sgd:      w <- prox(w - eta_t * g)
    adagrad:  G <- forget*G + g^2;  w <- prox(w - eta_t / sqrt(G + 1e-8) * g)          (Duchi, Hazan & Singer 2011)

with prox(w) = sign(w) * max(0, |w| - step * l1). The intercept is not penalised. Two categories of one example that share
a hashed weight take a step each. With l1 = 0, alpha = 0 and one intercept step, this is River's
StandardScaler | LogisticRegression to rounding.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import DeclarationError

CLIP_OFF = math.inf


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear model that learns at every label.

    Attributes:
        loss: "log" for a yes/no label, "squared" for a number.
        optimizer: "adagrad" (a step of its own for each weight) or "sgd".
        eta0: First step size.
        forget: How much of the squared gradients each step of adagrad keeps; below 1, steps do not shrink for good, so that
            a line goes on following a moving world.
        alpha: Decay of the step size by example; 0 keeps it.
        power: Exponent of that decay.
        intercept_eta: Step of the intercept; None means as every other weight.
        l1, l2: Strengths of the penalties.
        clip_gradient: Greatest size of a loss gradient.
        clip_z: Greatest size of a standardised number; inf switches it off.
        bits: The hashed categories share 2^bits weights.
        standardize: Standardise numbers by their running mean and variance.
    """

    loss: Literal["log", "squared"] = "log"
    optimizer: Literal["adagrad", "sgd"] = "adagrad"
    eta0: float = 0.05
    forget: float = 1.0
    alpha: float = 0.0
    power: float = 1.0
    intercept_eta: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    clip_gradient: float = 1e12
    clip_z: float = 8.0
    bits: int = 16
    standardize: bool = True

    def __post_init__(self) -> None:
        _one_of(self.loss, ("log", "squared"), "loss")
        _one_of(self.optimizer, ("adagrad", "sgd"), "optimizer")
        _check(self.eta0 > 0 and math.isfinite(self.eta0), "eta0", "a number > 0", self.eta0)
        _check(0 < self.forget <= 1, "forget", "0 < forget <= 1", self.forget)
        _check(
            self.forget == 1 or self.optimizer == "adagrad",
            "forget",
            "1 with optimizer='sgd', which keeps no squares",
            self.forget,
        )
        for name in ("alpha", "power", "l1", "l2", "intercept_eta"):
            value = getattr(self, name)
            _check(value is None or (value >= 0 and math.isfinite(value)), name, "a finite number >= 0", value)
        _check(
            self.clip_gradient > 0 and self.clip_z > 0,
            "clip_gradient, clip_z",
            "numbers > 0",
            (self.clip_gradient, self.clip_z),
        )
        _check(isinstance(self.bits, int) and 4 <= self.bits <= 24, "bits", "an integer 4 .. 24", self.bits)  # noqa: PLR2004

    def describe(self) -> dict[str, Any]:
        """The hyper-parameters, for recipes."""
        return {"learner": "linear/2", **asdict(self)}

    def params(self) -> Floats:
        """As the kernels take them; see `kernels`."""
        intercept = -1.0 if self.intercept_eta is None else self.intercept_eta
        return np.array([
            self.loss == "squared", self.optimizer == "adagrad", self.eta0, self.alpha, self.power, intercept,
            self.l1, self.l2, self.clip_gradient, self.clip_z, self.standardize, self.forget,
        ], np.float64)  # fmt: skip

    def with_(self, **changes: Any) -> Linear:
        """A copy with some hyper-parameters changed."""
        return replace(self, **changes)


def _one_of(value: str, known: tuple[str, ...], name: str) -> None:
    _check(value in known, name, " or ".join(map(repr, known)), repr(value))


def _check(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise DeclarationError("a hyper-parameter is out of range", where=f"hw.Linear.{name}", expected=expected, got=str(got))


def base_of(n_numbers: int) -> int:
    """First row of hashed weights: after the intercept, the numbers and their missing indicators."""
    return 1 + 2 * n_numbers


class LinearState:
    """The weights of one line and of its twins.

    Attributes:
        weights: float64[n]: the intercept, then numbers, then their missing indicators, then hashed categories.
        squares: float64[n]: each weight's sum of squared gradients.
        stats: float64[4, d]: count, mean, variance and 1 / sd of each number.
        twins: float64[t, n]: the weights that each twin was last given.
        twin_stats: float64[t, 4, d].
        counts: int64[4]: examples learnt, refused (not finite), weights that would have become non-finite, unused.
    """

    def __init__(self, spec: Linear, n_numbers: int, n_twins: int) -> None:
        self.spec, self.n_numbers = spec, n_numbers
        self.base = base_of(n_numbers)
        n = self.base + (1 << spec.bits)
        self.params = spec.params()
        self.weights: Floats = np.zeros(n)
        self.squares: Floats = np.zeros(n)
        self.stats: Floats = np.zeros((4, n_numbers))
        self.twins: Floats = np.zeros((n_twins, n))
        self.twin_stats: Floats = np.zeros((n_twins, 4, n_numbers))
        self.counts: Ints = np.zeros(4, np.int64)

    def publish(self, twin: int) -> None:
        """Give a twin the present weights."""
        self.twins[twin] = self.weights
        self.twin_stats[twin] = self.stats

    def snapshot(self) -> dict[str, Any]:
        """What scoring needs, as copies: most hashed weights are zero, so only the others are listed."""
        hashed = self.weights[self.base :]
        at = np.flatnonzero(hashed)
        return {
            "dense": self.weights[: self.base].copy(), "hashed_at": at.astype(np.int32), "hashed": hashed[at],
            "stats": self.stats.copy(),
        }  # fmt: skip

    def arrays(self) -> dict[str, Any]:
        """What has to be kept; names are part of the format."""
        return {
            "weights": self.weights, "squares": self.squares, "stats": self.stats, "twins": self.twins,
            "twin_stats": self.twin_stats, "counts": self.counts,
        }  # fmt: skip

    def restore(self, arrays: dict[str, Any]) -> None:
        for name, mine in self.arrays().items():
            mine[...] = arrays[name]


def category_slots(hashes: list[Any], names: list[str], base: int, bits: int) -> Ints:
    """Where each category's weight is; int64[n, categories].

    Args:
        hashes: One uint64[n] for each category.
        names: The categories' names; they salt the hash, so that equal values of two features do not share a weight.
        base: First row of hashed weights.
        bits: log2 of their number.
    """
    columns = []
    for name, hashed in zip(names, hashes, strict=True):
        mixed = (hashed ^ category_salt(name)) * np.uint64(0x9E3779B97F4A7C15)
        columns.append((mixed >> np.uint64(64 - bits)).astype(np.int64) + base)
    return np.column_stack(columns) if columns else np.zeros((0, 0), np.int64)


@functools.cache
def category_salt(name: str) -> np.uint64:
    """64 bits that make a category's hash its own."""
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
