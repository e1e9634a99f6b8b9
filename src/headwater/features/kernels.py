"""The loops that keep and read entities' memories: one pass over a batch for each table, in log order.

A table is float64[slots, width], a row an entity. An op is a row of `ops` (integers) and `params` (floats):

    ops:    stream, action (0 read, 1 update), memory, read, key column, value column, filter column, offset, n, parts, out
            column, members
    params: half-life or size ms, slide ms, beta, prior, prior weight

Decayed memories that every event of their stream updates together are a *clan*: one reference time for all, one weight for
each half-life, one sum for each value. Of these, `offset` is where the reference time is, `n` the weight and `parts` the sum
(-1 where it is the weight: a count). The updates of a clan follow one another, half-life by half-life; the first says in
`members` how many there are, and does the work of all.

All state is float64; times in ms and sequence numbers are exact up to 2^53.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.compiled import inline, kernel
from headwater.features.sessions import add_session, gather, read_session
from headwater.features.sketches import add_distinct, read_distinct

STREAM, ACTION, MEMORY, READ, KEY, VALUE, WHERE, OFFSET, N, PARTS, OUT, MEMBERS = range(12)
SPAN, SLIDE, BETA, PRIOR, PRIOR_WEIGHT = range(5)
N_OPS, N_PARAMS = 12, 5
WEIGHT_AT, SUM_AT = N, PARTS  # what these columns hold for a decayed memory
DECAY, SPREAD, WINDOW, LAST, EWMA, SESSION, DISTINCT = range(7)  # `aggregates.Memory`
READ_COUNT, READ_SUM, READ_MEAN, READ_MIN, READ_MAX, READ_VAR, READ_STD, READ_ZSCORE, READ_VALUE, READ_SINCE = range(
    10
)  # `Read`

# parts of a pane, in their order in the row; bit i of PARTS says whether part i is kept (with the last, the first two are)
COUNT, SUM, MIN, MAX, SQUARES = range(5)  # SQUARES: sum of squared deviations from the mean
_STILL = 1e-24  # a variance below this is rounding: nothing varies
_HUGE = 1e100  # a greater value is no measurement; the squares of smaller ones can be added up

# tally
OVERFLOW, REFUSED, REVISED = range(3)


@inline
def _weight(delta_ms: float, half_life_ms: float) -> float:
    """2^(-delta/half_life); 1 without a half-life."""
    if half_life_ms == 0.0:
        return 1.0
    return float(2.0 ** (-delta_ms / half_life_ms))


# The commonest memory takes and returns numbers: handing an array to a helper costs numba ten times the arithmetic.


@inline
def _is_reckoned(values: Floats, i: int, ops: Ints, o: int, stop: int) -> bool:
    """Whether every value of a clan can be added up; if one cannot, none of them is."""
    for m in range(o, stop):  # noqa: SIM110 - compiled: a generator is not
        if ops[m, VALUE] >= 0 and not abs(values[i, ops[m, VALUE]]) <= _HUGE:
            return False
    return True


@inline
def _update_clan(
    rows: Floats, slot: int, values: Floats, i: int, ops: Ints, params: Floats, o: int, stop: int, t: float
) -> None:
    """Add one event to the ops o .. stop of a clan. Commutative up to rounding: an older event is discounted itself."""
    ref_at = ops[o, OFFSET]
    ref, is_first = rows[slot, ref_at], rows[slot, ops[o, WEIGHT_AT]] == 0.0
    is_newer = is_first or t >= ref
    fade, gain, span = 1.0, 1.0, -1.0
    for m in range(o, stop):
        weight_at, sum_at = ops[m, WEIGHT_AT], ops[m, SUM_AT]
        if params[m, SPAN] != span:
            span = params[m, SPAN]
            if is_first:
                fade = 0.0
            elif is_newer:
                fade = _weight(t - ref, span)
            else:
                gain = _weight(ref - t, span)
            rows[slot, weight_at] = rows[slot, weight_at] * fade + gain
        if sum_at >= 0:
            rows[slot, sum_at] = rows[slot, sum_at] * fade + gain * values[i, ops[m, VALUE]]
    if is_newer:
        rows[slot, ref_at] = t


@inline
def _read_decay(
    what: int, ref: float, weight: float, total: float, t: float, half_life: float, prior: float, prior_weight: float
) -> float:
    """As of t, or as of the newest event if that is later."""
    f = _weight(t - ref, half_life) if t > ref else 1.0
    if what == READ_COUNT:
        return float(weight * f)
    if what == READ_SUM:
        return float(total * f)
    if prior_weight > 0.0:
        return float((total * f + prior_weight * prior) / (weight * f + prior_weight))
    return float(total / weight) if weight > 0.0 else np.nan


@inline
def _add_spread(row: Floats, at: int, t: float, x: float, half_life: float) -> None:
    """West's (1979) weighted update of mean and squared deviations, with weights that halve."""
    g = 1.0
    if row[at + 1] == 0.0:
        row[at] = t
    elif t >= row[at]:
        f = _weight(t - row[at], half_life)
        row[at] = t
        row[at + 1] *= f
        row[at + 3] *= f
    else:
        g = _weight(row[at] - t, half_life)
    row[at + 1] += g
    delta = x - row[at + 2]
    row[at + 2] += delta * g / row[at + 1]
    row[at + 3] += g * delta * (x - row[at + 2])


@inline
def _add_window(  # noqa: C901 - a part kept or not, five times
    row: Floats, at: int, t: float, x: float, slide: float, panes: int, parts: int
) -> int:
    """Add to the pane of t. Returns 0 done, 1 the pane is older than the ring reaches (or than 1970)."""
    width = 1
    for p in range(5):
        width += (parts >> p) & 1
    number = np.floor(t / slide) + 1.0  # 0 marks a pane never used, so pane numbers start at 1 in 1970
    a = at + (int(number) % panes) * width
    if row[a] > number or number < 1.0:
        return 1
    if row[a] < number:
        row[a] = number
        for j in range(1, width):
            row[a + j] = 0.0
        j = 1
        for p in range(5):
            if (parts >> p) & 1:
                row[a + j] = np.inf if p == MIN else (-np.inf if p == MAX else 0.0)
                j += 1
    if parts & 16 and row[a + 1] > 0.0:  # West (1979), with the count and sum as they were
        n, delta = row[a + 1], x - row[a + 2] / row[a + 1]
        row[a + width - 1] += delta * delta * n / (n + 1.0)
    j = a + 1
    if parts & 1:
        row[j] += 1.0
        j += 1
    if parts & 2:
        row[j] += x
        j += 1
    if parts & 4:
        row[j] = min(row[j], x)
        j += 1
    if parts & 8:
        row[j] = max(row[j], x)
    return 0


@inline
def _add_last(row: Floats, at: int, t: float, seq: float, x: float, n: int) -> None:
    """Insert into n entries (time, seq + 1, value), newest first; seq + 1 = 0 marks an empty one."""
    for i in range(n):
        a = at + 3 * i
        if row[a + 1] == 0.0 or t > row[a] or (t == row[a] and seq + 1.0 > row[a + 1]):
            for j in range(n - 1, i, -1):
                b = at + 3 * j
                row[b], row[b + 1], row[b + 2] = row[b - 3], row[b - 2], row[b - 1]
            row[a], row[a + 1], row[a + 2] = t, seq + 1.0, x
            return


@inline
def _add_ewma(row: Floats, at: int, x: float, beta: float) -> None:
    if row[at] == 0.0:
        row[at], row[at + 1], row[at + 2] = 1.0, x, 0.0
    else:
        delta = x - row[at + 1]
        row[at + 1] += (1.0 - beta) * delta
        row[at + 2] = beta * (row[at + 2] + (1.0 - beta) * delta * delta)


@inline
def _read_window(row: Floats, at: int, t: float, size: float, slide: float, panes: int, parts: int, out: Floats) -> None:
    """Gather the size / slide panes up to the one that holds t into out[5] = count, sum, min, max, squared deviations.

    Panes are [start, end) at multiples of the slide since 1970, so that the window ends with the pane that holds t.
    """
    out[:] = 0.0
    out[MIN], out[MAX] = np.inf, -np.inf
    width = 1
    for p in range(5):
        width += (parts >> p) & 1
    newest = np.floor(t / slide) + 1.0
    for back in range(int(size / slide)):
        number = newest - back
        a = at + (int(number) % panes) * width
        if number < 1.0 or row[a] != number:
            continue
        gather(row, a + 1, parts, out)


@inline
def _read_moments(what: int, n: float, total: float, low: float, high: float, squares: float) -> float:
    if what == READ_COUNT:
        return n
    if what == READ_SUM:
        return total
    if what == READ_MIN:  # a pane for the least value alone has no count
        return low if low < np.inf else np.nan
    if what == READ_MAX:
        return high if high > -np.inf else np.nan
    if n == 0.0:
        return np.nan
    return total / n if what == READ_MEAN else squares / n


@inline
def _read_spread(what: int, row: Floats, at: int, x: float) -> float:
    if row[at + 1] == 0.0 or (what == READ_ZSCORE and np.isnan(x)):
        return np.nan
    var = max(float(row[at + 3] / row[at + 1]), 0.0)
    if what == READ_VAR:
        return var
    if what == READ_STD:
        return float(np.sqrt(var))
    return 0.0 if var < _STILL else float((x - row[at + 2]) / np.sqrt(var))


@inline
def _read_panes(what: int, row: Floats, op: Ints, par: Floats, t: float, panes: Floats) -> float:
    _read_window(row, op[OFFSET], t, par[SPAN], par[SLIDE], op[N], op[PARTS], panes)
    if what == READ_MEAN and par[PRIOR_WEIGHT] > 0.0:
        return float((panes[SUM] + par[PRIOR_WEIGHT] * par[PRIOR]) / (panes[COUNT] + par[PRIOR_WEIGHT]))
    return float(_read_moments(what, panes[COUNT], panes[SUM], panes[MIN], panes[MAX], panes[SQUARES]))


@inline
def _read_sessions(what: int, row: Floats, op: Ints, par: Floats, t: float, panes: Floats) -> float:
    read_session(row, op[OFFSET], t, par[SPAN], op[N], op[PARTS], panes)
    if what == READ_MEAN and par[PRIOR_WEIGHT] > 0.0:
        return float((panes[SUM] + par[PRIOR_WEIGHT] * par[PRIOR]) / (panes[COUNT] + par[PRIOR_WEIGHT]))
    return float(_read_moments(what, panes[COUNT], panes[SUM], panes[MIN], panes[MAX], panes[SQUARES]))


@inline
def _read_last(what: int, row: Floats, at: int, t: float) -> float:
    if row[at + 1] == 0.0:
        return np.nan
    return float(row[at + 2] if what == READ_VALUE else (t - row[at]) / 3_600_000.0)


@inline
def _read(  # noqa: PLR0911 - one for each memory
    row: Floats, op: Ints, par: Floats, t: float, x: float, panes: Floats
) -> float:
    at, memory, what = op[OFFSET], op[MEMORY], op[READ]
    if memory == SPREAD:
        return float(_read_spread(what, row, at, x))
    if memory == WINDOW:
        return float(_read_panes(what, row, op, par, t, panes))
    if memory == LAST:
        return float(_read_last(what, row, at + 3 * op[PARTS], t))
    if memory == SESSION:
        return float(_read_sessions(what, row, op, par, t, panes))
    if memory == DISTINCT:
        return float(read_distinct(row, at, t, par[SPAN], par[SLIDE], op[N], op[PARTS]))
    if row[at] == 0.0:
        return np.nan
    return float(row[at + 1] if what == READ_MEAN else row[at + 2])


@inline
def _update(row: Floats, op: Ints, par: Floats, t: float, seq: float, x: float, panes: Floats) -> int:
    memory, at = op[MEMORY], op[OFFSET]
    if memory == SPREAD:
        _add_spread(row, at, t, x, par[SPAN])
    elif memory == WINDOW:
        return _add_window(row, at, t, x, par[SLIDE], op[N], op[PARTS])
    elif memory == LAST:
        _add_last(row, at, t, seq, x, op[N])
    elif memory == SESSION:
        return add_session(row, at, t, x, par[SPAN], op[N], op[PARTS], panes)
    elif memory == DISTINCT:
        return add_distinct(row, at, t, x, par[SLIDE], op[N], op[PARTS])
    else:
        _add_ewma(row, at, x, par[BETA])
    return 0


@kernel
def fold_table(  # noqa: C901, PLR0912 - one loop, with the commonest memory written out
    rows: Floats, dirty: Bytes, slots: Ints, ops: Ints, params: Floats, ranges: Ints, stream: Bytes, late: Bytes,
    time: Ints, behind: Ints, seq0: int, values: Floats, out: Floats, tally: Ints,
) -> None:  # fmt: skip
    """Read, then update, one table for every event of a batch, in order.

    Args:
        rows: float64[slots, width], the memories.
        dirty: uint8[slots], set where a row changes.
        slots: int64[n, key columns], the row of each event's key; -1 if the entity is unknown.
        ops: int64[n_ops, N_OPS], sorted by stream, reads first.
        params: float64[n_ops, N_PARAMS].
        ranges: int64[streams + 1]; the ops of stream s are ranges[s] .. ranges[s + 1].
        stream: uint8[n], codes.
        late: uint8[n], not 0 where a row takes no part.
        time: int64[n], ms.
        behind: int64[n], ms behind the newest event of its stream.
        seq0: The first event's place in the log.
        values: float64[n, columns], each event's evaluated expressions.
        out: float64[n, features], written where an event is scored.
        tally: int64[3], counts updates older than a window's ring, values beyond 1e100, which no memory takes, and
            revisions: updates of a pane whose end the stream's newest event has passed.
    """
    panes = np.zeros(5)
    unknown = np.zeros(rows.shape[1])
    for i in range(stream.size):
        if late[i]:
            continue
        t, seq = float(time[i]), float(seq0 + i)
        for o in range(ranges[stream[i]], ranges[stream[i] + 1]):
            x = values[i, ops[o, VALUE]] if ops[o, VALUE] >= 0 else 1.0
            slot, at = slots[i, ops[o, KEY]], ops[o, OFFSET]
            if ops[o, ACTION] == 0:
                if ops[o, MEMORY] == DECAY:
                    ref, weight, total = 0.0, 0.0, 0.0
                    if slot >= 0:
                        ref, weight = rows[slot, at], rows[slot, ops[o, WEIGHT_AT]]
                        total = rows[slot, ops[o, SUM_AT]] if ops[o, SUM_AT] >= 0 else weight
                    out[i, ops[o, OUT]] = _read_decay(
                        ops[o, READ], ref, weight, total, t, params[o, SPAN], params[o, PRIOR], params[o, PRIOR_WEIGHT]
                    )
                else:
                    row = rows[slot] if slot >= 0 else unknown
                    out[i, ops[o, OUT]] = _read(row, ops[o], params[o], t, x, panes)
                continue
            if ops[o, MEMORY] == DECAY:
                if ops[o, MEMBERS] == 0 or np.isnan(x) or (ops[o, WHERE] >= 0 and not values[i, ops[o, WHERE]] > 0.0):
                    continue
                stop = o + ops[o, MEMBERS]
                if not _is_reckoned(values, i, ops, o, stop):
                    tally[REFUSED] += ops[o, MEMBERS]
                    continue
                dirty[slot] = 3
                _update_clan(rows, slot, values, i, ops, params, o, stop, t)
                continue
            if np.isnan(x) or (ops[o, WHERE] >= 0 and not values[i, ops[o, WHERE]] > 0.0):
                continue
            if abs(x) > _HUGE:
                tally[REFUSED] += 1
                continue
            dirty[slot] = 3
            beyond = _update(rows[slot], ops[o], params[o], t, seq, x, panes)
            tally[OVERFLOW] += beyond
            slide = params[o, SLIDE]
            is_ring = ops[o, MEMORY] == WINDOW or (ops[o, MEMORY] == DISTINCT and slide > 0.0)
            if is_ring and not beyond and (np.floor(t / slide) + 1.0) * slide <= t + behind[i]:
                tally[REVISED] += 1
