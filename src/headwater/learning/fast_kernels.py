"""The fast layer's pass: answer each row, after learning the labels that have become known; one row at a time.

A member is a linear learner with steps of AdaGrad (Duchi, Hazan & Singer 2011) over the row's dense vector (1, standardised
numbers and label lags, the slow model's margin), its hashed categories and, for some, the leaves of the slow model's trees.
Its margin is a log-odds; or, for a number, the distance from `base` in units of `scale`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import inline, inlined, kernel
from headwater.learning.forest import Narrow
from headwater.learning.mixture import fuse, reward_absolute, reward_log

ETA, FORGET, SLOW, LEAVES = range(4)  # columns of `members`
ABSOLUTE, STACK_ETA, FLOOR, CLIP, LEAF_ETA = range(5)  # of `params`
POINTER, SCALED, SCALE, VERSION, TAG = range(5)  # of `place`
_REACH = 15.0  # greatest size of a log-odds
_SCALE_MEMORY, _LEAST_SCALE = 10_000.0, 1e-12  # labels that the unit of numbers remembers, and its least


class Rows(NamedTuple):
    """What is known of rows when they are answered, and their labels.

    Attributes:
        dense: float64[n, d]: numbers and label lags, NaN where missing.
        sparse_from, sparse: int64[n + 1], int32[...]: each row's hashed categories, in [0, 2^bits).
        base: float64[n]: where a number's answer starts from: the last known label.
        unchanged: float64[n]: the answer of "no change"; NaN before the first label.
        label: float64[n]; NaN is a label that never comes.
        order: int64[m]: rows by when their labels become known.
        ready: int64[n]: how many of them are known when a row is answered.
    """

    dense: Floats
    sparse_from: Ints
    sparse: Ints
    base: Floats
    unchanged: Floats
    label: Floats
    order: Ints
    ready: Ints


class Slow(NamedTuple):
    """What the slow model says of rows.

    Attributes:
        version: int64[n]: which version has scored a row; only rows of the present one (`place[VERSION]`) count.
        margins: float64[n]: log-odds, or the distance from `base` in the label's unit.
        leaves: int16[n, trees].
    """

    version: Ints
    margins: Floats
    leaves: Narrow


class Weights(NamedTuple):
    """What a fast layer has learnt; M members over d numbers."""

    members: Floats  # [M, 4]
    params: Floats
    stats: Floats  # [3, d]: count, mean, sum of squared distances
    dense: Floats  # [M, 2 + d]: intercept, slow margin, numbers
    dense_squares: Floats
    sparse: Floats  # [M, 2^bits]
    sparse_squares: Floats
    leaf: Floats  # [M, leaves]
    leaf_squares: Floats
    stack: Floats  # [2, K]: weights and squares over the experts' margins; the last is the intercept
    mixed: Floats  # [K]: weights of the mixture over the members, the slow model, no change and the stack
    potentials: Floats  # [K]
    mixture: Floats  # state of the mixture
    place: Floats


@inlined
def _vector(i: int, rows: Rows, slow: Slow, w: Weights, z: Floats) -> None:
    """Write row i's dense vector: 1, the slow margin, standardised numbers."""
    d, clip, scale = rows.dense.shape[1], w.params[CLIP], w.place[SCALE]
    z[0], z[1] = 1.0, 0.0
    if slow.version[i] == w.place[VERSION]:
        m = slow.margins[i]
        z[1] = m / scale if w.params[ABSOLUTE] else min(max(m, -_REACH), _REACH)
    for j in range(d):
        x, n = rows.dense[i, j], w.stats[0, j]
        value = 0.0
        if not np.isnan(x) and n > 1.0 and w.stats[2, j] > 0.0:
            value = (x - w.stats[1, j]) * np.sqrt(n / w.stats[2, j])
            value = min(max(value, -clip), clip)
        z[2 + j] = value


@inlined
def _observe(i: int, rows: Rows, w: Weights) -> None:
    """Take row i's numbers into their running means (Welford 1962)."""
    for j in range(rows.dense.shape[1]):
        x = rows.dense[i, j]
        if not np.isnan(x):
            w.stats[0, j] += 1.0
            before = x - w.stats[1, j]
            w.stats[1, j] += before / w.stats[0, j]
            w.stats[2, j] += before * (x - w.stats[1, j])


@inlined
def _margins(i: int, rows: Rows, slow: Slow, w: Weights, z: Floats, margins: Floats) -> None:
    """The members' margins; NaN where a member needs the slow model and there is none."""
    awake, size = slow.version[i] == w.place[VERSION], z.size
    for m in range(w.members.shape[0]):
        total = 0.0
        if not awake and (w.members[m, SLOW] > 0.0 or w.members[m, LEAVES] > 0.0):
            margins[m] = np.nan
            continue
        if w.members[m, LEAVES] > 0.0:
            for tree in range(slow.leaves.shape[1]):
                total += w.leaf[m, slow.leaves[i, tree]]
        for j in range(size):
            total += w.dense[m, j] * z[j]
        for s in range(rows.sparse_from[i], rows.sparse_from[i + 1]):
            total += w.sparse[m, rows.sparse[s]]
        margins[m] = total


@inline
def _gradient(margin: float, label: float, base: float, scale: float, absolute: float) -> float:
    if absolute:
        return min(max(margin - (label - base) / scale, -1.0), 1.0)
    return float(1.0 / (1.0 + np.exp(-min(max(margin, -_REACH), _REACH))) - label)


@inlined
def _step(i: int, rows: Rows, slow: Slow, w: Weights, z: Floats, margins: Floats) -> None:
    """One step of every member that was awake."""
    label, base, scale = rows.label[i], rows.base[i], w.place[SCALE]
    for m in range(w.members.shape[0]):
        if np.isnan(margins[m]):
            continue
        g = _gradient(margins[m], label, base, scale, w.params[ABSOLUTE])
        if abs(g) < w.params[FLOOR]:
            continue
        eta, forget = w.members[m, ETA], w.members[m, FORGET]
        weights, squares = w.dense[m], w.dense_squares[m]
        for j in range(z.size):
            step = g * z[j]
            square = forget * squares[j] + step * step
            squares[j] = square
            weights[j] -= eta * step / np.sqrt(square + 1e-8)
        if w.members[m, SLOW] == 0.0:
            weights[1] = 0.0
        for s in range(rows.sparse_from[i], rows.sparse_from[i + 1]):
            k = rows.sparse[s]
            square = forget * w.sparse_squares[m, k] + g * g
            w.sparse_squares[m, k] = square
            w.sparse[m, k] -= eta * g / np.sqrt(square + 1e-8)
        if w.members[m, LEAVES] > 0.0:
            for tree in range(slow.leaves.shape[1]):
                k = slow.leaves[i, tree]
                w.leaf_squares[m, k] += g * g
                w.leaf[m, k] -= w.params[LEAF_ETA] * g / np.sqrt(w.leaf_squares[m, k])


@inlined
def _answers(i: int, rows: Rows, slow: Slow, w: Weights, margins: Floats, answers: Floats) -> None:
    """All experts' answers: members, the slow model, no change, the stack."""
    n, absolute, base, scale = w.members.shape[0], w.params[ABSOLUTE], rows.base[i], w.place[SCALE]
    stacked = w.stack[0, n + 2]
    for k in range(n + 1):
        if k < n:
            margin = margins[k]
        else:
            margin = np.nan
            if slow.version[i] == w.place[VERSION]:
                margin = slow.margins[i]
                if absolute:
                    margin /= scale
        if np.isnan(margin):
            answers[k] = np.nan
            continue
        if absolute:
            answers[k] = base + scale * margin
        else:
            margin = min(max(margin, -_REACH), _REACH)
            answers[k] = 1.0 / (1.0 + np.exp(-margin))
        stacked += w.stack[0, k] * margin
    answers[n + 1] = rows.unchanged[i]
    if absolute:
        answers[n + 2] = base + scale * stacked
    else:
        answers[n + 2] = 1.0 / (1.0 + np.exp(-min(max(stacked, -_REACH), _REACH)))


@inlined
def _step_stack(i: int, rows: Rows, w: Weights, answers: Floats) -> None:
    """One step of the stack, over the margins that it had when it answered."""
    n, absolute, base, scale = w.members.shape[0], w.params[ABSOLUTE], rows.base[i], w.place[SCALE]
    g = answers[n + 2] - rows.label[i]
    if absolute:
        g = min(max(g / scale, -1.0), 1.0)
    for k in range(n + 3):
        if k == n + 1:
            continue
        z = 1.0
        if k < n + 1:
            if np.isnan(answers[k]):
                continue
            if absolute:
                z = (answers[k] - base) / scale
            else:
                p = min(max(answers[k], 3e-7), 1.0 - 3e-7)
                z = np.log(p / (1.0 - p))
        step = g * z
        w.stack[1, k] += step * step
        w.stack[0, k] -= w.params[STACK_ETA] * step / np.sqrt(w.stack[1, k])


@inlined
def _learn(j: int, rows: Rows, slow: Slow, w: Weights, answers: Floats, z: Floats, margins: Floats, losses: Floats) -> None:
    """Row j's label has become known: judge, then learn."""
    if w.params[ABSOLUTE] > 0.0:
        reward_absolute(answers[j], rows.label[j], w.mixed, w.potentials, losses, w.mixture)
    else:
        reward_log(answers[j], rows.label[j], w.mixed, w.mixture)
    _step_stack(j, rows, w, answers[j])
    if w.place[TAG] != j:  # else the vector and margins of j, just answered, still stand
        _vector(j, rows, slow, w, z)
        _margins(j, rows, slow, w, z, margins)
    _step(j, rows, slow, w, z, margins)
    w.place[TAG] = -1.0
    if w.params[ABSOLUTE] > 0.0:
        w.place[SCALED] = min(w.place[SCALED] + 1.0, _SCALE_MEMORY)
        w.place[SCALE] += (abs(rows.label[j] - rows.base[j]) - w.place[SCALE]) / (w.place[SCALED] + 1.0)
        w.place[SCALE] = max(w.place[SCALE], _LEAST_SCALE)


@kernel
def run(first: int, last: int, rows: Rows, slow: Slow, w: Weights, answers: Floats, fused: Floats) -> None:
    """Answer rows first .. last - 1 into `answers` float64[n, K] and `fused` float64[n], learning in between what is known.

    `w.place[POINTER]` is how many labels of `rows.order` have been learnt before.
    """
    z, margins, losses = np.zeros(2 + rows.dense.shape[1]), np.zeros(w.members.shape[0]), np.empty(answers.shape[1])
    w.place[TAG] = -1.0
    for i in range(first, last):
        while w.place[POINTER] < rows.ready[i]:
            j = rows.order[int(w.place[POINTER])]
            w.place[POINTER] += 1.0
            if not np.isnan(rows.label[j]) and not np.isnan(fused[j]):
                _learn(j, rows, slow, w, answers, z, margins, losses)
        _observe(i, rows, w)
        _vector(i, rows, slow, w, z)
        _margins(i, rows, slow, w, z, margins)
        w.place[TAG] = i
        _answers(i, rows, slow, w, margins, answers[i])
        fused[i] = fuse(answers[i], w.mixed)


@kernel
def answer(rows: Rows, slow: Slow, w: Weights, said: Floats) -> None:
    """Answer every row by itself into float64[n, K + 1]: all experts, then the fused answer. Nothing is learnt or observed."""
    z, margins = np.zeros(2 + rows.dense.shape[1]), np.zeros(w.members.shape[0])
    for i in range(said.shape[0]):
        _vector(i, rows, slow, w, z)
        _margins(i, rows, slow, w, z, margins)
        _answers(i, rows, slow, w, margins, said[i])
        said[i, w.mixed.size] = fuse(said[i], w.mixed)


@kernel
def learn(rows: Rows, slow: Slow, w: Weights, said: Floats, is_said: bool) -> None:
    """Learn every row's label in turn; experts are judged by `said`, or, where that is not given, by their answers now.

    Args:
        rows: Each with its label.
        slow: What the slow model says of them now.
        w: What is learnt.
        said: float64[n, K + 1]: what experts said when the rows were asked; else written here.
        is_said: Whether `said` is given.
    """
    n_experts = w.mixed.size
    z, margins, losses = np.zeros(2 + rows.dense.shape[1]), np.zeros(w.members.shape[0]), np.empty(n_experts)
    for i in range(said.shape[0]):
        _observe(i, rows, w)
        _vector(i, rows, slow, w, z)
        _margins(i, rows, slow, w, z, margins)
        w.place[TAG] = i
        if not is_said:
            _answers(i, rows, slow, w, margins, said[i])
            said[i, n_experts] = fuse(said[i], w.mixed)
        _learn(i, rows, slow, w, said, z, margins, losses)
    w.place[TAG] = -1.0


@kernel
def repeat(last: Floats, labels: Floats, counts: Floats, rates: Floats) -> None:
    """Write float64[n] rates, how often yes has followed the last label's value; NaN without one. Labels count in `counts`.

    Args:
        last: float64[n], each row's last known label; NaN where there is none.
        labels: float64[n], 0 or 1; NaN counts nowhere.
        counts: float64[2, 2]: how often no and yes have followed no and yes.
        rates: float64[n].
    """
    for i in range(last.size):
        if np.isnan(last[i]):
            rates[i] = np.nan
            continue
        row = counts[int(last[i] >= 0.5)]  # noqa: PLR2004 - yes or no
        rates[i] = row[1] / (row[0] + row[1])
        if not np.isnan(labels[i]):
            row[int(labels[i])] += 1.0
