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


@inline
def standardized(x: float, stats: Floats, j: int, clip: float, on: float) -> float:
    """(x - mean) / sd, within +-clip (and +-1e100); 0 while nothing varies."""
    if on == 0.0:
        return x
    var = stats[j, 2]
    if var <= 0.0:
        return 0.0
    z = (x - stats[j, 1]) / np.sqrt(var)
    bound = min(clip, _HUGE)
    return float(min(max(z, -bound), bound))


@inline
def is_number(x: float) -> bool:
    """Whether x is there and can be reckoned with. What is not has its indicator's weight instead."""
    return bool(abs(x) <= _HUGE)


@inline
def predictor(w: Floats, stats: Floats, x: Floats, c: Ints, params: Floats) -> float:
    """The linear predictor; the sums run in the order of the columns, so that bits repeat."""
    d = x.size
    total = w[0]
    for j in range(d):
        if is_number(x[j]):
            total += w[1 + j] * standardized(x[j], stats, j, params[CLIP_Z], params[STANDARDIZE])
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
def _step(w: Floats, i: int, g: float, eta: float, params: Floats, counts: Ints) -> None:
    """One weight, one gradient; a weight that would pass 1e100 stays as it is and is counted."""
    value, acc = w[i, 0], w[i, 1]
    if params[L2] != 0.0 and i > 0:
        g += params[L2] * value
    step = eta
    if params[ADAGRAD]:
        acc = params[FORGET] * acc + g * g
        step = eta / np.sqrt(acc + 1e-8)
    value -= step * g
    if params[L1] != 0.0 and i > 0:
        value = np.sign(value) * max(0.0, abs(value) - step * params[L1])
    if is_number(value) and np.isfinite(acc):
        w[i, 0], w[i, 1] = value, acc
    else:
        counts[BLOCKED] += 1


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
    if params[INTERCEPT] < 0.0:
        _step(w, 0, g, eta, params, counts)
    elif is_number(w[0, 0] - params[INTERCEPT] * g):
        w[0, 0] -= params[INTERCEPT] * g
    else:
        counts[BLOCKED] += 1
    for j in range(d):
        if np.isnan(x[j]):  # greater than 1e100 were refused above
            _step(w, 1 + d + j, g, eta, params, counts)
        else:
            _step(w, 1 + j, g * standardized(x[j], stats, j, params[CLIP_Z], params[STANDARDIZE]), eta, params, counts)
    for j in range(c.size):
        _step(w, c[j], g, eta, params, counts)


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
    d = xs.shape[1]
    for i in range(xs.shape[0]):
        out[i, 0] = w[0]
        for j in range(d):
            if is_number(xs[i, j]):
                out[i, 1 + j] = w[1 + j] * standardized(xs[i, j], stats, j, params[CLIP_Z], params[STANDARDIZE])
            else:
                out[i, 1 + j] = w[1 + d + j]
        for j in range(cs.shape[1]):
            out[i, 1 + d + j] = w[cs[i, j]]
