"""Scoring and learning of the linear learner, one example at a time.

`params` is `Linear.params()`; `x` float64[d] with NaN where missing; `c` int64[k], rows of the weights.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import inline, kernel

SQUARED, ADAGRAD, ETA0, ALPHA, POWER, INTERCEPT, L1, L2, CLIP_GRADIENT, CLIP_Z, STANDARDIZE, FORGET = range(12)
LEARNT, REFUSED, BLOCKED = range(3)
_HUGE = 1e100  # greatest number, weight and score: squares and sums of squares of such stay finite


# Helpers that run for every weight take and return numbers: handing an array over costs numba tens of nanoseconds.


@inline
def standardized(x: float, mean: float, var: float, clip: float, on: float) -> float:
    """(x - mean) / sd, within +-clip (and +-1e100); 0 while nothing varies."""
    if on == 0.0:
        return x
    if var <= 0.0:
        return 0.0
    z = (x - mean) / np.sqrt(var)
    bound = min(clip, _HUGE)
    return float(min(max(z, -bound), bound))


@inline
def is_number(x: float) -> bool:
    """Whether x is there and can be reckoned with. What is not has its indicator's weight instead."""
    return bool(abs(x) <= _HUGE)


@inline
def predictor(w: Floats, stats: Floats, x: Floats, c: Ints, params: Floats) -> float:
    """The linear predictor; the sums run in the order of the columns, so that bits repeat."""
    d, clip, on = x.size, params[CLIP_Z], params[STANDARDIZE]
    total = w[0]
    for j in range(d):
        if is_number(x[j]):
            total += w[1 + j] * standardized(x[j], stats[j, 1], stats[j, 2], clip, on)
        else:
            total += w[1 + d + j]
    for j in range(c.size):
        total += w[c[j]]
    return float(total)


@inline
def link(z: float, squared: float) -> float:
    """Linear predictor -> score: a probability, or the number itself (within +-1e100)."""
    if squared:
        return min(max(z, -_HUGE), _HUGE)
    return float(1.0 / (1.0 + np.exp(-z)))


@inline
def is_label(y: float, params: Floats) -> bool:
    """Whether a label can be judged and learnt: 0 .. 1 for log loss, a number up to 1e100 for squared loss."""
    if params[SQUARED]:
        return is_number(y)
    return bool(y >= 0.0 and y <= 1.0)


@inline
def _observe(stats: Floats, x: Floats) -> None:
    for j in range(x.size):
        if np.isnan(x[j]):
            continue
        stats[j, 0] += 1.0
        before = stats[j, 1]
        stats[j, 1] += (x[j] - before) / stats[j, 0]
        stats[j, 2] += ((x[j] - before) * (x[j] - stats[j, 1]) - stats[j, 2]) / stats[j, 0]


@inline
def _stepped(
    value: float, acc: float, g: float, eta: float, adagrad: float, forget: float, l1: float, l2: float
) -> tuple[float, float]:
    """One weight and its sum of squared gradients after one gradient."""
    if l2 != 0.0:
        g += l2 * value
    step = eta
    if adagrad:
        acc = forget * acc + g * g
        step = eta / np.sqrt(acc + 1e-8)
    value -= step * g
    if l1 != 0.0:
        value = np.sign(value) * max(0.0, abs(value) - step * l1)
    return value, acc


@inline
def learn(w: Floats, stats: Floats, counts: Ints, x: Floats, c: Ints, y: float, params: Floats) -> None:
    """Learn one example; one with a number beyond 1e100 is refused and counted, and changes nothing."""
    d = x.size
    for j in range(d):
        if abs(x[j]) > _HUGE:
            counts[REFUSED] += 1
            return
    if not is_label(y, params):
        counts[REFUSED] += 1
        return
    _observe(stats, x)
    z = predictor(w[:, 0], stats, x, c, params)
    g = 2.0 * (z - y) if params[SQUARED] else link(z, 0.0) - y
    g = min(max(g, -params[CLIP_GRADIENT]), params[CLIP_GRADIENT])
    eta = params[ETA0] / (1.0 + params[ALPHA] * counts[LEARNT]) ** params[POWER]
    counts[LEARNT] += 1
    adagrad, forget, clip, on = params[ADAGRAD], params[FORGET], params[CLIP_Z], params[STANDARDIZE]
    for k in range(1 + d + c.size):  # the intercept, the numbers, the categories
        i, gradient, l1, l2 = k, g, params[L1], params[L2]
        if k == 0:
            l1 = l2 = 0.0
        elif k > d:
            i = c[k - 1 - d]
        elif np.isnan(x[k - 1]):  # greater than 1e100 were refused above
            i = d + k
        else:
            gradient = g * standardized(x[k - 1], stats[k - 1, 1], stats[k - 1, 2], clip, on)
        value, acc = _stepped(w[i, 0], w[i, 1], gradient, eta, adagrad, forget, l1, l2)
        if k == 0 and params[INTERCEPT] >= 0.0:
            value, acc = w[0, 0] - params[INTERCEPT] * g, w[0, 1]
        if is_number(value) and np.isfinite(acc):
            w[i, 0], w[i, 1] = value, acc
        else:  # a weight that would pass 1e100 stays as it is
            counts[BLOCKED] += 1


@kernel
def score_rows(w: Floats, stats: Floats, xs: Floats, cs: Ints, params: Floats, out: Floats) -> None:
    """Score float64[n, d], int64[n, k] with plain weights float64[w]; the fold's own arithmetic, bit for bit."""
    for i in range(xs.shape[0]):
        out[i] = link(predictor(w, stats, xs[i], cs[i], params), params[SQUARED])


@kernel
def learn_rows(w: Floats, stats: Floats, counts: Ints, xs: Floats, cs: Ints, ys: Floats, params: Floats, out: Floats) -> None:
    """Score, then learn, each example in turn; out[i] is the score before learning."""
    for i in range(xs.shape[0]):
        out[i] = link(predictor(w[:, 0], stats, xs[i], cs[i], params), params[SQUARED])
        learn(w, stats, counts, xs[i], cs[i], ys[i], params)


@kernel
def share_rows(w: Floats, stats: Floats, xs: Floats, cs: Ints, params: Floats, out: Floats) -> None:
    """Each feature's exact share of the linear predictor; out float64[n, 1 + d + k], intercept first."""
    d, clip, on = xs.shape[1], params[CLIP_Z], params[STANDARDIZE]
    for i in range(xs.shape[0]):
        out[i, 0] = w[0]
        for j in range(d):
            if is_number(xs[i, j]):
                out[i, 1 + j] = w[1 + j] * standardized(xs[i, j], stats[j, 1], stats[j, 2], clip, on)
            else:
                out[i, 1 + j] = w[1 + d + j]
        for j in range(cs.shape[1]):
            out[i, 1 + d + j] = w[cs[i, j]]
