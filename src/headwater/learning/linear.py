"""The compiled linear learner: what a user declares, and the arrays that learn.

Scores are w0 + sum w_j z_j + sum w_missing + sum w_category, where z is the standardised number. The objective for an
example (x, y) is loss(y, score) + l2/2 * |w|^2 + l1 * |w| over the weights that the example touches; a step is

    eta_t = eta0 / (1 + alpha*t)^power        t = examples learnt before
    sgd:      w <- prox(w - eta_t * g)
    adagrad:  G <- forget*G + g^2;  w <- prox(w - eta_t / sqrt(G + 1e-8) * g)          (Duchi, Hazan & Singer 2011)
    ftrl:     s = (sqrt(n + g^2) - sqrt(n)) / eta0;  z <- z + g - s*w;  n <- n + g^2
              w <- 0 if |z| <= l1, else -(z - sign(z)*l1) / ((beta + sqrt(n)) / eta0 + l2)   (McMahan et al. 2013)

with prox(w) = sign(w) * max(0, |w| - step * l1). The intercept is not penalised. Two categories of one example that share
a hashed weight take a step each. FTRL-proximal keeps the weights of rare features at exactly 0: with l1 > 0 it is the one that
makes a sparse model. The quantile's loss is tau*(y - score) where the label is above, (1 - tau)*(score - y) where it is below
(Koenker & Bassett 1978). With l1 = 0, alpha = 0 and one intercept step, this is River's
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
        loss: "log" for a yes/no label, "squared" for a number's expected value, "quantile" for its quantile `tau`.
        optimizer: "adagrad" (a step of its own for each weight), "sgd", or "ftrl" (the same steps, and sparse with `l1`).
        eta0: First step size; ftrl's alpha.
        tau: Which quantile, 0 < tau < 1; for loss "quantile".
        beta: Keeps ftrl's first steps small.
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

    loss: Literal["log", "squared", "quantile"] = "log"
    optimizer: Literal["adagrad", "sgd", "ftrl"] = "adagrad"
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
    tau: float = 0.5
    beta: float = 1.0

    def __post_init__(self) -> None:
        _one_of(self.loss, ("log", "squared", "quantile"), "loss")
        _one_of(self.optimizer, ("adagrad", "sgd", "ftrl"), "optimizer")
        is_ftrl = self.optimizer == "ftrl"
        _check(0 < self.tau < 1, "tau", "0 < tau < 1", self.tau)
        _check(self.tau == 0.5 or self.loss == "quantile", "tau", "loss='quantile', the only one that has it", self.tau)  # noqa: PLR2004
        _check(self.beta >= 0 and math.isfinite(self.beta), "beta", "a finite number >= 0", self.beta)
        _check(self.beta == 1 or is_ftrl, "beta", "optimizer='ftrl', the only one that has it", self.beta)
        _check(self.alpha == 0 or not is_ftrl, "alpha", "0 with optimizer='ftrl', whose steps shrink as it learns", self.alpha)
        _check(self.eta0 > 0 and math.isfinite(self.eta0), "eta0", "a number > 0", self.eta0)
        _check(0 < self.forget <= 1, "forget", "0 < forget <= 1", self.forget)
        _check(
            self.forget == 1 or self.optimizer == "adagrad",
            "forget",
            "1 with optimizer='sgd', which keeps no squares, and with 'ftrl', which keeps them all",
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
        """The hyper-parameters, for recipes; those of one loss or optimizer only where it is used."""
        unused = {"tau": self.loss != "quantile", "beta": self.optimizer != "ftrl"}
        return {"learner": "linear/2", **{name: value for name, value in asdict(self).items() if not unused.get(name)}}

    def params(self) -> Floats:
        """As the kernels take them; see `kernels`."""
        intercept = -1.0 if self.intercept_eta is None else self.intercept_eta
        return np.array([
            self.loss != "log", self.optimizer == "adagrad", self.eta0, self.alpha, self.power, intercept,
            self.l1, self.l2, self.clip_gradient, self.clip_z, self.standardize, self.forget,
            self.tau if self.loss == "quantile" else 0.0, self.optimizer == "ftrl", self.beta,
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
        squares: float64[n]: each weight's sum of squared gradients; for ftrl float64[2n], the second half each weight's z.
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
        self.squares: Floats = np.zeros(2 * n if spec.optimizer == "ftrl" else n)
        self.stats: Floats = np.zeros((4, n_numbers))
        self.twins: Floats = np.zeros((n_twins, n))
        self.twin_stats: Floats = np.zeros((n_twins, 4, n_numbers))
        self.counts: Ints = np.zeros(4, np.int64)

    # The compiled line needs no help from outside the loop; see `runtime.lane.LaneState` for one that does.

    block = n_behind = 0
    given: Floats = np.zeros((0, 0))

    def open(self, xs: Floats, cs: Ints, scored: Ints, labelling: Ints) -> None:
        """A batch begins."""

    def look_ahead(self, at: int) -> None:
        """The loop goes on from row `at`."""

    def take(self, judged: Floats, width: int) -> None:
        """The loop has stopped."""

    def publish(self, twin: int) -> None:
        """Give a twin the present weights."""
        self.twins[twin] = self.weights
        self.twin_stats[twin] = self.stats

    @property
    def mark(self) -> int:
        """Another number where something was learnt or refused."""
        return int(self.counts.sum())

    def published(self) -> Floats:
        """What a view shows of the line: statistics, then weights."""
        return np.concatenate([self.stats.reshape(-1), self.weights])

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
