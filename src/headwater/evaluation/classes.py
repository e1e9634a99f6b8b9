"""Score first, judge, then learn, where a label names a class: the same walk as `prequential`, over distributions.

A question keeps what every expert said of *every* class, since classes come up between a question and its label. A class
that an expert had not met has the probability that it gave to something new, so that the verdict on a label is the
probability that was said of it, whatever it was.

A pending row: time, seq, number of the label's class (NaN: none yet), stand-in of the last outcome; for live, twins and no
change the class that it said (-1: none) and a probability of each; numbers; category rows.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.compiled import inline, kernel
from headwater.core.hashing import Hashes
from headwater.evaluation.class_metrics import judge_classes
from headwater.evaluation.metrics import LAST_PANE
from headwater.evaluation.prequential import (
    AT_LABELLED,
    AT_SCORED,
    AT_TIME,
    BASE,
    CLOCK,
    CORRECTED,
    CORRECTION,
    EXPIRED,
    FIRST,
    HEAD,
    J_BY,
    J_KIND,
    J_LABEL,
    J_SCORES,
    J_SEQ,
    J_TIME,
    LABEL,
    LABELLED,
    NULLS,
    REPEATED,
    SCORED,
    SCORES,
    SEQ,
    SIZE,
    SUPERSEDED,
    TIME,
    UNMATCHED,
    _forget,
    _probe,
)
from headwater.learning.classes import BEYOND
from headwater.learning.kernels import REFUSED, is_number
from headwater.learning.softmax import learn_class, predict

NONE, OTHERS = -1, 0  # numbers of classes: of one that has none yet, of the ones beyond the declared number


@inline
def class_of(key: float, keys: Floats, n_known: int) -> int:
    """The number of the class with this stand-in; where all numbers are taken, an unknown one is of the others."""
    for c in range(1, 1 + n_known):
        if keys[c] == key:
            return c
    return OTHERS if n_known == keys.size - 1 else NONE


@inline
def _numbered(key: float, row: int, keys: Floats, known: Ints, first_at: Ints, learnt: Ints) -> int:
    """The number of a label's class; a new one gets the next, and the row says where its name is."""
    c = class_of(key, keys, known[0])
    if c == NONE:
        known[0] += 1
        c = known[0]
        keys[c] = key
        first_at[c] = row
    if c == OTHERS:
        learnt[BEYOND] += 1
    return int(c)


@inline
def _say(
    i: int, said: Floats, w: Floats, stats: Floats, met: Ints, n_known: int, xs: Floats, cs: Ints, params: Floats, z: Floats
) -> None:
    """What a line says of question i: the likeliest class, then a probability of each, met or not."""
    active, n_met = 1 + n_known, 0
    p = said[1 : 1 + active]
    predict(i, w, stats, met, xs, cs, params, z, p)
    for c in range(active):
        n_met += met[c]
    said[0] = float(np.argmax(p)) if n_met > 0 else float(NONE)
    for c in range(met.size):
        if c >= active or met[c] == 0:
            said[1 + c] = 1.0 / (2.0 + n_met)


@inline
def _say_no_change(said: Floats, state: int, table: Floats, n_known: int) -> None:
    """What "as last time" says: each class's share of the labels after such an outcome, and one share for something new."""
    k = table.shape[1] - 1
    row = state if state >= 0 else k
    total, best = table[row, k] + n_known + 2.0, 0.0
    said[0] = float(NONE)
    for c in range(k):
        said[1 + c] = (table[row, c] + 1.0) / total
        if table[row, c] > best:
            best = table[row, c]
            said[0] = float(c)


@inline
def _observe_no_change(table: Floats, state: int, y: int) -> None:
    k = table.shape[1] - 1
    row = state if state >= 0 else k
    table[row, y] += 1.0
    table[row, k] += 1.0


@inline
def _settle(
    row: Floats, y: int, kind: int, by: float, d: int, e: int, weights: Floats, squares: Floats, stats: Floats, met: Ints,
    learnt: Ints, touched: Bytes, keys: Floats, n_known: int, table: Floats, params: Floats, sums: Floats, by_class: Floats,
    panes: Floats, pane_by_class: Floats, ints: Ints, out: Floats, x: Floats, c: Ints, z: Floats, p: Floats,
) -> None:  # fmt: skip
    """Judge every expert on one label into `out`, then learn it; x, c, z and p are room for its vector."""
    k, pane = met.size, -1
    if kind == CORRECTION:
        judge_classes(int(row[LABEL]), row, SCORES, e, k, -1.0, sums, by_class, panes, pane_by_class, -1)
    else:
        state = NONE
        if not np.isnan(row[BASE]):  # no change repeats the last outcome, which may have got its number since
            state = class_of(row[BASE], keys, n_known)
            row[SCORES + (e - 1) * (1 + k)] = float(state)
        pane = (ints[LABELLED] // LAST_PANE) % panes.shape[0]
        if ints[LABELLED] % LAST_PANE == 0:
            panes[pane] = 0.0
            pane_by_class[pane] = 0.0
        ints[LABELLED] += 1
        _observe_no_change(table, state, y)
    row[LABEL] = float(y)
    judge_classes(y, row, SCORES, e, k, 1.0, sums, by_class, panes, pane_by_class, pane)
    out[J_SEQ], out[J_TIME], out[J_LABEL], out[J_KIND], out[J_BY] = row[SEQ], row[TIME], float(y), float(kind), by
    for i in range(e):
        out[J_SCORES + i] = row[SCORES + i * (1 + k) + 1 + y]
    at = SCORES + e * (1 + k)
    for j in range(d):
        x[0, j] = row[at + j]
    for j in range(c.size):
        c[0, j] = int(row[at + d + j])
        if c[0, j] >= 0:
            touched[c[0, j]] = 3
    for j in range(1 + 2 * d):
        touched[j] = 2
    learn_class(0, y, weights, squares, stats, met, learnt, x, c, params, z, p[: 1 + n_known])


@kernel
def fold_classes(  # noqa: C901, PLR0912, PLR0915, D417 - one walk over a batch; the arrays are described in groups
    start: int, stream: Bytes, skip: Bytes, time: Ints, seq0: int, on: int, by: int, xs: Floats, cs: Ints, bases: Floats,
    on_keys: Hashes, label_keys: Hashes, ys: Floats, weights: Floats, squares: Floats, stats: Floats, met: Ints, twins: Floats,
    twin_stats: Floats, twin_met: Ints, learnt: Ints, params: Floats, touched: Bytes, keys: Floats, known: Ints, first_at: Ints,
    rows: Floats, known_keys: Hashes, index: Ints, dirty: Bytes, table: Floats, sums: Floats, by_class: Floats, panes: Floats,
    pane_by_class: Floats, ints: Ints, alarms: Ints, horizon: Ints, judged: Floats, done: Ints,
) -> int:  # fmt: skip
    """Walk rows start .. n of a batch; returns the row before which it stopped, n if at the end.

    Args:
        start .. label_keys: As `prequential.fold_model` has them; `bases` are stand-ins of last outcomes.
        ys: float64[n], stand-ins of labels; NaN where a row is no label, infinite where it names no class: refused and counted.
        weights .. known: `SoftmaxLine`.
        first_at: int64[classes], written: of each class that gets its number here, the row of its first label.
        rows, known_keys, index, dirty: The ring of pending rows, `Pending`.
        table: float64[classes + 1, classes + 1], outcomes after each last outcome; the last row is for an unknown one, the
            last column a row's sum.
        sums .. pane_by_class: `ClassMetrics`.
        ints, alarms, horizon: As `fold_model` has them.
        judged: float64[room, 5 + experts], written from done[0] on; scores are what was said of the label's class.
        done: int64[1], rows of judged written so far.
    """
    d, e, k, n = xs.shape[1], twins.shape[0] + 2, met.size, stream.size
    capacity, width = rows.shape[0], 1 + met.size
    x, c, z, p = np.empty((1, d)), np.empty((1, cs.shape[1]), np.int64), np.empty(d), np.empty(k)
    for i in range(start, n):
        if skip[i]:
            continue
        s = stream[i]
        if s not in (on, by):
            continue
        if ints[LABELLED] >= alarms[AT_LABELLED]:
            return i
        if s == on and (time[i] >= alarms[AT_TIME] or ints[SCORED] >= alarms[AT_SCORED]):
            return i
        if s == by:
            if np.isnan(ys[i]):
                ints[NULLS] += 1
            elif not is_number(ys[i]):
                learnt[REFUSED] += 1
            else:
                h = _probe(index, known_keys, label_keys[i])
                if index[h] == 0 or time[i] > rows[index[h] - 1, TIME] + horizon[0]:
                    ints[UNMATCHED] += 1
                else:
                    r = index[h] - 1
                    before = rows[r, LABEL]
                    y = _numbered(ys[i], i, keys, known, first_at, learnt)
                    if before == y:
                        ints[REPEATED] += 1
                    else:
                        kind = FIRST if np.isnan(before) else CORRECTION
                        ints[CORRECTED] += kind
                        _settle(
                            rows[r], y, kind, float(seq0 + i), d, e, weights, squares, stats, met, learnt, touched, keys,
                            known[0], table, params, sums, by_class, panes, pane_by_class, ints, judged[done[0]], x, c, z, p,
                        )  # fmt: skip
                        done[0] += 1
                        dirty[r] = 3
        if s == on:
            ints[CLOCK] = max(ints[CLOCK], time[i])
            while ints[SIZE] > 0 and rows[ints[HEAD], TIME] + horizon[0] < ints[CLOCK] - horizon[1]:
                r = ints[HEAD]
                ints[EXPIRED] += np.isnan(rows[r, LABEL])
                _forget(index, known_keys, r)
                dirty[r] = 3
                ints[HEAD] = (r + 1) % capacity
                ints[SIZE] -= 1
            r = (ints[HEAD] + ints[SIZE]) % capacity
            row = rows[r]
            row[TIME], row[SEQ], row[LABEL], row[BASE] = float(time[i]), float(seq0 + i), np.nan, bases[i]
            at = SCORES
            _say(i, row[at : at + width], weights, stats, met, known[0], xs, cs, params, z)
            for t in range(twins.shape[0]):
                at += width
                _say(i, row[at : at + width], twins[t], twin_stats[t], twin_met[t], known[0], xs, cs, params, z)
            at += width
            state = NONE if np.isnan(bases[i]) else class_of(bases[i], keys, known[0])
            _say_no_change(row[at : at + width], state, table, known[0])
            at += width
            for j in range(d):
                row[at + j] = xs[i, j]
            for j in range(cs.shape[1]):
                row[at + d + j] = float(cs[i, j])
            h = _probe(index, known_keys, on_keys[i])
            if index[h] != 0:
                ints[SUPERSEDED] += 1
            known_keys[r] = on_keys[i]
            index[h] = r + 1
            dirty[r] = 3
            ints[SIZE] += 1
            ints[SCORED] += 1
    return n
