"""Several classes: a compiled softmax regression that learns one example at a time, and meets classes as they come.

The score of class c is w0_c + sum w_jc z_j + sum w_missing + sum w_category, its probability exp(score) over the sum of all
classes met; one gradient step (AdaGrad or plain, see `linear`) for every class met, on the numbers' running standardisation
of `kernels`. A class is met with its first label: until then its probability is not zero but that of something new,
1 / (2 + labels learnt). The order of events decides, not the list of classes; without AdaGrad, penalties and intercept
this is River's `SoftmaxRegression` to rounding.

The large helpers are called, not compiled into each caller: their loops over classes outweigh the call, and compiling them
into one another takes minutes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import inline, inlined, kernel
from headwater.learning.kernels import (
    ADAGRAD,
    ALPHA,
    CLIP_GRADIENT,
    ETA0,
    FORGET,
    INTERCEPT,
    L1,
    L2,
    LEARNT,
    POWER,
    REFUSED,
    is_number,
    observe,
    standardize,
    stepped,
)
from headwater.learning.linear import Linear, base_of

MOST_WEIGHTS = 1 << 22  # of all classes together


class SoftmaxState:
    """The weights of one line over `n_classes` classes.

    Attributes:
        spec: Its loss is not looked at; `bits` are fewer here where there are many classes.
        weights: float64[rows, classes]; rows as in `LinearState`.
        squares: float64[rows, classes].
        stats: float64[4, d].
        met: int64[classes]: labels learnt of each class.
        counts: int64[4] as in `LinearState`.
    """

    def __init__(self, spec: Linear, n_numbers: int, n_classes: int) -> None:
        self.spec = spec
        self.params = spec.params()
        n = base_of(n_numbers) + (1 << spec.bits)
        self.weights: Floats = np.zeros((n, n_classes))
        self.squares: Floats = np.zeros((n, n_classes))
        self.stats: Floats = np.zeros((4, n_numbers))
        self.met: Ints = np.zeros(n_classes, np.int64)
        self.counts: Ints = np.zeros(4, np.int64)

    def copy(self) -> dict[str, Any]:
        """What scoring needs, as copies."""
        return {"weights": self.weights.copy(), "stats": self.stats.copy(), "met": self.met.copy()}


def bits_for(n_classes: int, bits: int) -> int:
    """log2 of the hashed rows, so that the weights of all classes stay within 32 MB."""
    return max(4, min(bits, int(np.log2(MOST_WEIGHTS / max(1, n_classes)))))


@inlined
def _scores(i: int, w: Floats, xs: Floats, cs: Ints, z: Floats, p: Floats) -> None:
    """The linear predictors of all classes into p, for an example that stands in z."""
    d = z.size
    for c in range(p.size):
        p[c] = w[0, c]
    for j in range(d):
        x, row = z[j], 1 + j
        if not is_number(xs[i, j]):
            x, row = 1.0, 1 + d + j
        if x != 0.0:
            for c in range(p.size):
                p[c] += w[row, c] * x
    for j in range(cs.shape[1]):
        if cs[i, j] >= 0:
            row = cs[i, j]
            for c in range(p.size):
                p[c] += w[row, c]


@inlined
def _to_probabilities(p: Floats, met: Ints) -> None:
    """Softmax in place over the classes met; what is left of 1 is for something new."""
    top, total, n_met = -np.inf, 0.0, 0
    for c in range(p.size):
        n_met += met[c]
        if met[c] > 0:
            top = max(top, p[c])
    for c in range(p.size):
        p[c] = np.exp(p[c] - top) if met[c] > 0 else 0.0
        total += p[c]
    share = (1.0 - 1.0 / (2.0 + n_met)) / total if total > 0.0 else 0.0
    for c in range(p.size):
        p[c] *= share


@inline
def predict(i: int, w: Floats, stats: Floats, met: Ints, xs: Floats, cs: Ints, params: Floats, z: Floats, p: Floats) -> None:
    """Probabilities of example i's classes into p: their sum is less than 1 by that of something new."""
    standardize(i, xs, stats, params, z)
    _scores(i, w, xs, cs, z, p)
    _to_probabilities(p, met)


@inlined
def probability_of(y: int, p: Floats, met: Ints) -> float:
    """What was said of class y: of one that was never met, that of something new."""
    n_met = 0
    for c in range(met.size):
        n_met += met[c]
    return p[y] if met[y] > 0 else 1.0 / (2.0 + n_met)


@inline
def _step(row: int, x: float, w: Floats, squares: Floats, met: Ints, g: Floats, eta: float, params: Floats) -> None:
    """One gradient step of one row, for every class met."""
    for c in range(g.size):
        if met[c] > 0:
            value, acc = stepped(
                w[row, c], squares[row, c], g[c] * x, eta, params[ADAGRAD], params[FORGET], params[L1], params[L2]
            )
            if is_number(value) and np.isfinite(acc):
                w[row, c], squares[row, c] = value, acc


@inlined
def _step_rows(
    i: int, w: Floats, squares: Floats, met: Ints, xs: Floats, cs: Ints, z: Floats, g: Floats, eta: float, params: Floats
) -> None:
    """Steps of the rows of an example's numbers and categories; a standardised number of 0 has no gradient."""
    d = z.size
    for j in range(d):
        if np.isnan(xs[i, j]):
            _step(1 + d + j, 1.0, w, squares, met, g, eta, params)
        elif z[j] != 0.0:
            _step(1 + j, z[j], w, squares, met, g, eta, params)
    for j in range(cs.shape[1]):
        if cs[i, j] >= 0:
            _step(cs[i, j], 1.0, w, squares, met, g, eta, params)


@inlined
def _slopes(y: int, p: Floats, bound: float) -> None:
    """Probabilities to the gradient of the loss, in place: among the classes met they add up to 1."""
    total = 0.0
    for c in range(p.size):
        total += p[c]
    for c in range(p.size):
        slope = p[c] / total - (1.0 if c == y else 0.0)
        p[c] = min(max(slope, -bound), bound)


@inline
def learn_class(
    i: int, y: int, w: Floats, squares: Floats, stats: Floats, met: Ints, counts: Ints, xs: Floats, cs: Ints, params: Floats,
    z: Floats, p: Floats,
) -> None:  # fmt: skip
    """Learn that example i was of class y; one with a number beyond 1e100 is refused and counted."""
    n_huge = 0
    for j in range(z.size):
        n_huge += abs(xs[i, j]) > 1e100  # noqa: PLR2004 - as in `kernels`
    if n_huge > 0:
        counts[REFUSED] += 1
    else:
        observe(i, xs, stats)
        met[y] += 1
        predict(i, w, stats, met, xs, cs, params, z, p)
        _slopes(y, p, params[CLIP_GRADIENT])
        eta = params[ETA0]
        if params[ALPHA] != 0.0:
            eta /= (1.0 + params[ALPHA] * counts[LEARNT]) ** params[POWER]
        counts[LEARNT] += 1
        if params[INTERCEPT] < 0.0:
            _step(0, 1.0, w, squares, met, p, eta, params)
        else:
            for c in range(p.size):
                w[0, c] -= params[INTERCEPT] * p[c]
        _step_rows(i, w, squares, met, xs, cs, z, p, eta, params)


@kernel
def score_classes(w: Floats, stats: Floats, met: Ints, xs: Floats, cs: Ints, params: Floats, out: Floats) -> None:
    """Probabilities float64[n, classes] of float64[n, d], int64[n, k]; `out` may have fewer classes than the weights."""
    z = np.empty(xs.shape[1])
    for i in range(xs.shape[0]):
        predict(i, w, stats, met, xs, cs, params, z, out[i])


@kernel
def learn_classes(
    w: Floats, squares: Floats, stats: Floats, met: Ints, counts: Ints, xs: Floats, cs: Ints, ys: Ints, params: Floats,
    out: Floats,
) -> None:  # fmt: skip
    """Score, then learn, each example in turn; out[i] float64[classes] is what was said before learning."""
    z, p = np.empty(xs.shape[1]), np.empty(met.size)
    for i in range(xs.shape[0]):
        predict(i, w, stats, met, xs, cs, params, z, p)
        out[i] = p
        learn_class(i, ys[i], w, squares, stats, met, counts, xs, cs, params, z, p)
