"""Score first, judge, then learn: the sequential heart of the fold.

`fold_model` walks a batch in log order. An event of the `on` stream is scored by every expert (the live line, its twins,
no change) and waits in the ring of pending rows. An event of the labelling stream finds its question, judges every
expert's *earlier* score, and teaches the live line. The walk stops before an event at which something is due (midnight,
a count), so that the caller can publish at exactly that place whatever the batches are.

In the event lane (`learning.protocol`) the caller scores: `given` holds the scores of the questions that come next, and the
walk also stops before a question that has none yet, and before the first event after a block of labels is full. A label does
not teach the line: its vector is handed on behind the judged row.

A guarded question may have to abstain (`features.guarding`): everybody says "no change", and its label teaches nobody.

A pending row: time, seq, label (NaN: none yet), baseline value, scores of live, twins, no change; numbers; category rows; and,
where the model has a guard, what became of the question.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.compiled import inline, kernel
from headwater.core.hashing import Hashes
from headwater.evaluation.metrics import LAST_PANE, YES, judge
from headwater.features.guarding import ASKED, QUARANTINED
from headwater.learning.kernels import BLOCKED, REFUSED, SQUARED, TAU, is_label, is_number, learn, link, predictor

TIME, SEQ, LABEL, BASE, SCORES = range(5)
WAITING = 3  # of a learner's counts: labels of a block that is not full

# ints of a model's state
HEAD, SIZE, CLOCK, SCORED, LABELLED, CORRECTED, REPEATED, UNMATCHED, EXPIRED, SUPERSEDED, NULLS, N_INTS = range(12)
# alarms: stop before the first event ...
AT_TIME, AT_SCORED, AT_LABELLED = range(3)
# what a judged row says: place of the question, its time, label, kind, place of the label; then the scores
J_SEQ, J_TIME, J_LABEL, J_KIND, J_BY, J_SCORES = range(6)
FIRST, CORRECTION, BY_EXPIRY = range(3)
_HUGE = 1e100  # as in `learning.kernels`


@inline
def _probe(index: Ints, known: Hashes, key: np.uint64) -> int:
    """Position in the index of a key, or of the free place where it belongs."""
    mask = np.uint64(index.size - 1)
    h = key & mask
    while index[h] != 0 and known[index[h] - 1] != key:
        h = (h + np.uint64(1)) & mask
    return int(h)


@inline
def _forget(index: Ints, known: Hashes, row: int) -> None:
    """Take a ring row out of the index, closing the gap (Knuth 6.4, algorithm R)."""
    mask = np.uint64(index.size - 1)
    h = np.uint64(_probe(index, known, known[row]))
    if index[h] != row + 1:
        return  # a newer question with the same key is there
    hole = h
    while True:
        index[hole] = 0
        while True:
            h = (h + np.uint64(1)) & mask
            if index[h] == 0:
                return
            home = known[index[h] - 1] & mask
            if ((h - home) & mask) >= ((h - hole) & mask):
                break
        index[hole] = index[h]
        hole = h


@inline
def _is_superseded(index: Ints, known: Hashes, row: int) -> bool:
    """Whether a newer question has the same key: a label would have gone to that one, so that silence says nothing."""
    return bool(index[_probe(index, known, known[row])] != row + 1)


@inline
def _no_change(table: Floats, base: float, squared: float) -> float:
    """What "as last time" says: for yes/no the share of yes after this last outcome; else the last value itself."""
    if squared:
        return base if not np.isnan(base) else (table[2, 1] / table[2, 0] if table[2, 0] > 0.0 else 0.0)
    state = 2 if np.isnan(base) else int(base >= YES)
    return float((table[state, 1] + 1.0) / (table[state, 0] + 2.0))


@inline
def _observe_no_change(table: Floats, base: float, y: float, squared: float) -> None:
    state = 2 if np.isnan(base) or squared else int(base >= YES)
    table[state, 0] += 1.0
    table[state, 1] += y


@inline
def _enlist(row: Floats, out: Floats, counts: Ints) -> None:
    """Hand a vector on behind its scores, to be learnt with its block. One with a number beyond 1e100 is refused."""
    n_huge = 0
    for j in range(out.size):
        out[j] = row[j]
        n_huge += abs(row[j]) > _HUGE
    counts[REFUSED if n_huge > 0 else WAITING] += 1


@inline
def _said(given: float, squared: float, counts: Ints) -> float:
    """A learner's own score, if it is a number; else what nobody can be blamed for, counted with the blocked weights."""
    if not is_number(given):
        counts[BLOCKED] += 1
        return link(0.0, squared)
    return given if squared else min(max(given, 0.0), 1.0)


@inline
def _settle(
    row: Floats, y: float, kind: int, by: float, d: int, e: int, weights: Floats, squares: Floats, stats: Floats, learnt: Ints,
    table: Floats, params: Floats, sums: Floats, hist: Ints, panes: Floats, pane_hist: Ints, ints: Ints,
    judged: Floats, n_judged: int, x: Floats, c: Ints, z: Floats,
) -> int:  # fmt: skip
    """Judge every expert on one label, then learn it; x, c and z are room for its vector."""
    squared, pane = params[SQUARED], -1
    if kind == CORRECTION:
        judge(row[LABEL], row, BASE, SCORES, e, squared, params[TAU], -1.0, sums, hist, panes, pane_hist, -1)
    else:
        pane = (ints[LABELLED] // LAST_PANE) % panes.shape[0]
        if ints[LABELLED] % LAST_PANE == 0:
            panes[pane] = 0.0
            pane_hist[pane] = 0
        ints[LABELLED] += 1
        _observe_no_change(table, row[BASE], y, squared)
    row[LABEL] = y
    judge(y, row, BASE, SCORES, e, squared, params[TAU], 1.0, sums, hist, panes, pane_hist, pane)
    out = judged[n_judged]
    out[J_SEQ], out[J_TIME], out[J_LABEL], out[J_KIND], out[J_BY] = row[SEQ], row[TIME], y, kind, by
    out[J_SCORES : J_SCORES + e] = row[SCORES : SCORES + e]
    if row.size > SCORES + e + d + c.size and row[row.size - 1] != ASKED:
        out[J_SCORES + e :] = np.inf  # no example for a learner of the event lane
        return n_judged + 1
    if out.size > J_SCORES + e:
        _enlist(row[SCORES + e :], out[J_SCORES + e :], learnt)
        return n_judged + 1
    for j in range(d):
        x[0, j] = row[SCORES + e + j]
    for j in range(c.size):
        c[0, j] = int(row[SCORES + e + d + j])
    learn(0, weights, squares, stats, learnt, x, c, y, params, z)
    return n_judged + 1


@kernel
def fold_model(  # noqa: C901, PLR0912, PLR0915, D417 - one walk over a batch; the arrays are described in groups
    start: int, stream: Bytes, skip: Bytes, time: Ints, seq0: int, on: int, by: int, xs: Floats, cs: Ints, bases: Floats,
    on_keys: Hashes, label_keys: Hashes, ys: Floats, weights: Floats, squares: Floats, stats: Floats, twins: Floats,
    twin_stats: Floats, learnt: Ints, params: Floats, rows: Floats, known: Hashes, index: Ints, dirty: Bytes,
    table: Floats, sums: Floats, hist: Ints, panes: Floats, pane_hist: Ints, ints: Ints, alarms: Ints, horizon: Ints,
    judged: Floats, done: Ints, given: Floats, fates: Bytes,
) -> int:  # fmt: skip
    """Walk rows start .. n of a batch; returns the row before which it stopped, n if at the end.

    Args:
        start, stream, skip, time, seq0: The batch; see `features.engine.Bound`.
        on, by: Codes of the scored and the labelling stream.
        xs, cs, bases: float64[n, d], int64[n, k], float64[n]: vectors of the scored rows.
        on_keys, label_keys: uint64[n], the join's hashes.
        ys: float64[n], labels; NaN where a row is no label. A label that the loss cannot take is refused and counted.
        weights .. params: `LinearState`.
        rows, known, index, dirty: The ring of pending rows, `Pending`.
        table: float64[3, 2], outcomes after each last outcome.
        sums .. pane_hist: `Metrics`.
        ints, alarms: int64 state; see the constants above.
        horizon: int64[4]: time allowed for a label ms, lateness ms, 1 if a missing label means 0, labels of a block; 0 of
            these where the line is compiled.
        judged: float64[room, 5 + experts], written from done[0] on; in the event lane each row's vector follows.
        done: int64[1], rows of judged written so far.
        given: float64[n, 1 + twins], scores of the event lane, NaN where there is none yet; no rows for a compiled line.
        fates: uint8[n], what the guard makes of each question; empty where there is none.
    """
    d, e, n = xs.shape[1], twins.shape[0] + 2, stream.size
    capacity = rows.shape[0]
    x, c, z = np.empty((1, d)), np.empty((1, cs.shape[1]), np.int64), np.empty(d)
    in_lane = horizon[3] > 0
    for i in range(start, n):
        if skip[i]:
            continue
        s = stream[i]
        if s not in (on, by):
            continue
        if ints[LABELLED] >= alarms[AT_LABELLED]:
            return i
        if in_lane and (learnt[WAITING] >= horizon[3] or (s == on and np.isnan(given[i, 0]))):
            return i
        if s == on and (time[i] >= alarms[AT_TIME] or ints[SCORED] >= alarms[AT_SCORED]):
            return i
        if s == by:
            if np.isnan(ys[i]):
                ints[NULLS] += 1
            elif not is_label(ys[i], params):
                learnt[REFUSED] += 1
            else:
                h = _probe(index, known, label_keys[i])
                if index[h] == 0 or time[i] > rows[index[h] - 1, TIME] + horizon[0]:
                    ints[UNMATCHED] += 1
                else:
                    r = index[h] - 1
                    before = rows[r, LABEL]
                    if before == ys[i]:
                        ints[REPEATED] += 1
                    else:
                        kind = FIRST if np.isnan(before) else CORRECTION
                        ints[CORRECTED] += kind
                        done[0] = _settle(
                            rows[r], ys[i], kind, float(seq0 + i), d, e, weights, squares, stats, learnt, table, params,
                            sums, hist, panes, pane_hist, ints, judged, done[0], x, c, z,
                        )  # fmt: skip
                        dirty[r] = 3
        if s == on:
            ints[CLOCK] = max(ints[CLOCK], time[i])
            while ints[SIZE] > 0 and rows[ints[HEAD], TIME] + horizon[0] < ints[CLOCK] - horizon[1]:
                r = ints[HEAD]
                if np.isnan(rows[r, LABEL]):
                    ints[EXPIRED] += 1
                    if horizon[2] and not _is_superseded(index, known, r):
                        done[0] = _settle(
                            rows[r], 0.0, BY_EXPIRY, float(seq0 + i), d, e, weights, squares, stats, learnt, table, params,
                            sums, hist, panes, pane_hist, ints, judged, done[0], x, c, z,
                        )  # fmt: skip
                _forget(index, known, r)
                dirty[r] = 3
                ints[HEAD] = (r + 1) % capacity
                ints[SIZE] -= 1
            if fates.size > 0 and fates[i] == QUARANTINED:
                continue
            r = (ints[HEAD] + ints[SIZE]) % capacity
            row = rows[r]
            row[TIME], row[SEQ], row[LABEL], row[BASE] = float(time[i]), float(seq0 + i), np.nan, bases[i]
            if in_lane:
                for t in range(e - 1):
                    row[SCORES + t] = _said(given[i, t], params[SQUARED], learnt)
            else:
                row[SCORES] = link(predictor(i, weights, stats, xs, cs, params, z), params[SQUARED])
                for t in range(twins.shape[0]):
                    row[SCORES + 1 + t] = link(predictor(i, twins[t], twin_stats[t], xs, cs, params, z), params[SQUARED])
            row[SCORES + e - 1] = _no_change(table, bases[i], params[SQUARED])
            if fates.size > 0:
                row[row.size - 1] = fates[i]
                if fates[i] != ASKED:
                    row[SCORES : SCORES + e] = row[SCORES + e - 1]
            for j in range(d):
                row[SCORES + e + j] = xs[i, j]
            for j in range(cs.shape[1]):
                row[SCORES + e + d + j] = float(cs[i, j])
            h = _probe(index, known, on_keys[i])
            if index[h] != 0:
                ints[SUPERSEDED] += 1
            known[r] = on_keys[i]
            index[h] = r + 1
            dirty[r] = 3
            ints[SIZE] += 1
            ints[SCORED] += 1
    return n
