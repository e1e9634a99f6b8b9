"""Scoring and learning of the linear learner, one example at a time.

`params` is `Linear.params()`; `xs` float64[n, d] with NaN where missing; `cs` int64[n, k], rows of the weights, negative
where there is none (a text with fewer words than others); `w` float64[w]; `squares` float64[w], sums of squared gradients
(FTRL: float64[2 * w], the second half its sums z); `stats` float64[4, d]; `z` float64[d], room for a standardised vector.

Loops over an example's numbers hold no branch, so that the compiler works on several at once; it may not reorder a sum, so
that bits repeat: where a sum would wait for itself, it is written as four.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import inline, inlined, kernel

SQUARED, ADAGRAD, ETA0, ALPHA, POWER, INTERCEPT, L1, L2, CLIP_GRADIENT, CLIP_Z, STANDARDIZE, FORGET, TAU, FTRL, BETA = range(15)
N_PARAMS = 15
# SQUARED: 1 where labels are numbers, with TAU > 0 for the quantile's loss in place of the square; 0 for yes/no
LEARNT, REFUSED, BLOCKED = range(3)
COUNT, MEAN, VARIANCE, SCALE = range(4)  # rows of stats; the scale is 1 / sd, and 0 while nothing varies
_HUGE = 1e100  # greatest number, weight and score: squares and sums of squares of such stay finite


# Helpers that run for every weight take and return numbers: handing an array over costs numba tens of nanoseconds.


@inline
def is_number(x: float) -> bool:
    """Whether x is there and can be reckoned with. What is not has its indicator's weight instead."""
    return bool(abs(x) <= _HUGE)


@inline
def standardized(x: float, mean: float, scale: float, bound: float) -> float:
    """(x - mean) / sd, within +-bound; 0 while nothing varies, and for what is no number."""
    z = (x - mean) * scale
    z = bound if z > bound else (max(z, -bound))
    return z if abs(x) <= _HUGE else 0.0


@inlined
def standardize(i: int, xs: Floats, stats: Floats, params: Floats, z: Floats) -> None:
    """Write example i into z."""
    if params[STANDARDIZE] == 0.0:
        for j in range(z.size):
            x = xs[i, j]
            z[j] = x if abs(x) <= _HUGE else 0.0
        return
    bound = min(params[CLIP_Z], _HUGE)
    mean, scale = stats[MEAN], stats[SCALE]
    for j in range(z.size):
        z[j] = standardized(xs[i, j], mean[j], scale[j], bound)


@inlined
def _linear(i: int, w: Floats, xs: Floats, cs: Ints, z: Floats) -> float:
    """The linear predictor of an example that stands in z."""
    d = z.size
    a, b, c, e, n_missing = 0.0, 0.0, 0.0, 0.0, 0
    numbers = w[1 : 1 + d]
    whole = d - d % 4
    for j in range(0, whole, 4):
        a += numbers[j] * z[j]
        b += numbers[j + 1] * z[j + 1]
        c += numbers[j + 2] * z[j + 2]
        e += numbers[j + 3] * z[j + 3]
    total = w[0] + ((a + b) + (c + e))
    for j in range(whole, d):
        total += numbers[j] * z[j]
    for j in range(d):
        n_missing += not abs(xs[i, j]) <= _HUGE
    if n_missing:
        for j in range(d):
            if not is_number(xs[i, j]):
                total += w[1 + d + j]
    for j in range(cs.shape[1]):
        if cs[i, j] >= 0:
            total += w[cs[i, j]]
    return float(total)


@inlined
def predictor(i: int, w: Floats, stats: Floats, xs: Floats, cs: Ints, params: Floats, z: Floats) -> float:
    """The linear predictor of example i; leaves its standardised vector in z."""
    standardize(i, xs, stats, params, z)
    return _linear(i, w, xs, cs, z)


@inline
def link(z: float, squared: float) -> float:
    """Linear predictor -> score: a probability, or the number itself (within +-1e100)."""
    if squared:
        return min(max(z, -_HUGE), _HUGE)
    return float(1.0 / (1.0 + np.exp(-z)))


@inline
def slope(z: float, y: float, squared: float, tau: float) -> float:
    """The loss's derivative by the linear predictor; where the quantile's loss has a kink, that from above, as in River."""
    if tau > 0.0:
        return float((z > y) - tau)
    if squared:
        return 2.0 * (z - y)
    return link(z, 0.0) - y


@inline
def is_label(y: float, params: Floats) -> bool:
    """Whether a label can be judged and learnt: 0 .. 1 for log loss, a number up to 1e100 for the others."""
    if params[SQUARED]:
        return is_number(y)
    return bool(y >= 0.0 and y <= 1.0)


@inline
def _observed(x: float, share: float, mean: float, variance: float) -> tuple[float, float, float]:
    """Mean, variance and 1 / sd after one more number (Welford 1962); share is 1 / their count."""
    m = mean + (x - mean) * share
    v = variance + ((x - mean) * (x - m) - variance) * share
    inverse = 1.0 / np.sqrt(v)
    return m, v, inverse if v > 0.0 else 0.0


@inlined
def observe(i: int, xs: Floats, stats: Floats) -> None:
    """Take the numbers that are there into their running means and variances."""
    count, mean, variance, scale = stats[COUNT], stats[MEAN], stats[VARIANCE], stats[SCALE]
    d, n_others = count.size, 0
    for j in range(d):
        n_others += np.isnan(xs[i, j]) or count[j] != count[0]
    if n_others == 0 and d > 0:  # all are there, as often: one division does for all of them
        n = count[0] + 1.0
        share = 1.0 / n
        for j in range(d):
            mean[j], variance[j], scale[j] = _observed(xs[i, j], share, mean[j], variance[j])
            count[j] = n
        return
    for j in range(d):
        if not np.isnan(xs[i, j]):
            count[j] += 1.0
            mean[j], variance[j], scale[j] = _observed(xs[i, j], 1.0 / count[j], mean[j], variance[j])


@inline
def stepped(
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


@inlined
def _is_plain(params: Floats) -> bool:
    """Whether a step is the gradient times one step size, without squares and penalties."""
    return bool(params[ADAGRAD] == 0.0 and params[L1] == 0.0 and params[L2] == 0.0)


@inlined
def _step_numbers(i: int, w: Floats, xs: Floats, z: Floats, g: float, eta: float) -> int:
    """Plain gradient steps of the numbers' weights: what `stepped` does without adagrad and penalties, bit for bit."""
    d, blocked = z.size, 0
    numbers = w[1 : 1 + d]
    for j in range(d):
        value = numbers[j] - eta * (g * z[j])
        is_there = xs[i, j] == xs[i, j]
        fits = abs(value) <= _HUGE
        numbers[j] = value if is_there and fits else numbers[j]
        blocked += is_there and not fits
    return blocked


@inlined
def _step_each(
    i: int, w: Floats, squares: Floats, counts: Ints, xs: Floats, cs: Ints, z: Floats, g: float, eta: float, params: Floats
) -> None:
    """Steps of an example's weights one by one; the numbers' own only where `_step_numbers` has not taken them."""
    d, is_plain = z.size, _is_plain(params)
    for k in range(1, 1 + d + cs.shape[1]):  # the numbers, the categories
        at, gradient = k, g
        if k > d:
            at = cs[i, k - 1 - d]
            if at < 0:
                continue
        elif np.isnan(xs[i, k - 1]):  # greater than 1e100 were refused before
            at = d + k
        elif is_plain:
            continue
        else:
            gradient = g * z[k - 1]
        value, acc = stepped(w[at], squares[at], gradient, eta, params[ADAGRAD], params[FORGET], params[L1], params[L2])
        if is_number(value) and np.isfinite(acc):
            w[at], squares[at] = value, acc
        else:  # a weight that would pass 1e100 stays as it is
            counts[BLOCKED] += 1


@inlined
def _step_intercept(w: Floats, squares: Floats, counts: Ints, g: float, eta: float, params: Floats) -> None:
    value, acc = stepped(w[0], squares[0], g, eta, params[ADAGRAD], params[FORGET], 0.0, 0.0)
    if params[INTERCEPT] >= 0.0:
        value, acc = w[0] - params[INTERCEPT] * g, squares[0]
    if is_number(value) and np.isfinite(acc):
        w[0], squares[0] = value, acc
    else:
        counts[BLOCKED] += 1


@inline
def _followed(
    w: float, n: float, z: float, g: float, eta: float, beta: float, l1: float, l2: float
) -> tuple[float, float, float]:
    """A weight, its sum of squared gradients and its z after one gradient of FTRL-proximal."""
    more = n + g * g
    z += g - (np.sqrt(more) - np.sqrt(n)) / eta * w
    weight = -(z - np.sign(z) * l1) / ((beta + np.sqrt(more)) / eta + l2)
    return (0.0 if abs(z) <= l1 else weight), more, z


@inline
def _step_ftrl(i: int, w: Floats, squares: Floats, xs: Floats, cs: Ints, z: Floats, g: float, params: Floats) -> int:
    """FTRL-proximal steps (McMahan et al. 2013, algorithm 1) of an example's weights; returns how many were blocked."""
    d, blocked, eta, beta = z.size, 0, params[ETA0], params[BETA]
    first = 0
    if params[INTERCEPT] >= 0.0:
        first, value = 1, w[0] - params[INTERCEPT] * g
        w[0], blocked = (value, 0) if is_number(value) else (w[0], 1)
    for k in range(first, 1 + d + cs.shape[1]):  # the intercept, the numbers, the categories
        at, gradient, penalised = k, g, 1.0 if k else 0.0
        if k > d:
            at = cs[i, k - 1 - d]
            if at < 0:  # a text has no such word
                continue
        elif k and np.isnan(xs[i, k - 1]):
            at = d + k
        elif k:
            gradient = g * z[k - 1]
        l1, l2 = penalised * params[L1], penalised * params[L2]
        value, n, total = _followed(w[at], squares[at], squares[w.size + at], gradient, eta, beta, l1, l2)
        if is_number(value) and np.isfinite(n) and np.isfinite(total):
            w[at], squares[at], squares[w.size + at] = value, n, total
        else:
            blocked += 1
    return blocked


@inlined
def learn(
    i: int, w: Floats, squares: Floats, stats: Floats, counts: Ints, xs: Floats, cs: Ints, y: float, params: Floats, z: Floats
) -> None:
    """Learn example i; one with a number beyond 1e100 is refused and counted, and changes nothing."""
    n_huge, n_missing = 0, 0
    for j in range(z.size):
        n_huge += abs(xs[i, j]) > _HUGE
        n_missing += xs[i, j] != xs[i, j]
    if n_huge > 0 or not is_label(y, params):
        counts[REFUSED] += 1
    else:
        observe(i, xs, stats)
        total = predictor(i, w, stats, xs, cs, params, z)
        g = slope(total, y, params[SQUARED], params[TAU])
        g = min(max(g, -params[CLIP_GRADIENT]), params[CLIP_GRADIENT])
        eta = params[ETA0]
        if params[ALPHA] != 0.0:
            eta /= (1.0 + params[ALPHA] * counts[LEARNT]) ** params[POWER]
        counts[LEARNT] += 1
        if params[FTRL] != 0.0:
            counts[BLOCKED] += _step_ftrl(i, w, squares, xs, cs, z, g, params)
        else:
            _step_intercept(w, squares, counts, g, eta, params)
            if _is_plain(params):
                counts[BLOCKED] += _step_numbers(i, w, xs, z, g, eta)
            if n_missing > 0 or cs.shape[1] > 0 or not _is_plain(params):
                _step_each(i, w, squares, counts, xs, cs, z, g, eta, params)


@kernel
def score_rows(w: Floats, stats: Floats, xs: Floats, cs: Ints, params: Floats, out: Floats) -> None:
    """Score float64[n, d], int64[n, k]; the fold's own arithmetic, bit for bit."""
    z = np.empty(xs.shape[1])
    for i in range(xs.shape[0]):
        out[i] = link(predictor(i, w, stats, xs, cs, params, z), params[SQUARED])


@kernel
def learn_rows(
    w: Floats, squares: Floats, stats: Floats, counts: Ints, xs: Floats, cs: Ints, ys: Floats, params: Floats, out: Floats
) -> None:
    """Score, then learn, each example in turn; out[i] is the score before learning."""
    z = np.empty(xs.shape[1])
    for i in range(xs.shape[0]):
        out[i] = link(predictor(i, w, stats, xs, cs, params, z), params[SQUARED])
        learn(i, w, squares, stats, counts, xs, cs, ys[i], params, z)


@kernel
def share_rows(w: Floats, stats: Floats, xs: Floats, cs: Ints, params: Floats, out: Floats) -> None:
    """Each feature's exact share of the linear predictor; out float64[n, 1 + d + k], intercept first."""
    d = xs.shape[1]
    z = np.empty(d)
    for i in range(xs.shape[0]):
        standardize(i, xs, stats, params, z)
        out[i, 0] = w[0]
        for j in range(d):
            out[i, 1 + j] = w[1 + j] * z[j] if is_number(xs[i, j]) else w[1 + d + j]
        for j in range(cs.shape[1]):
            out[i, 1 + d + j] = w[cs[i, j]] if cs[i, j] >= 0 else 0.0
