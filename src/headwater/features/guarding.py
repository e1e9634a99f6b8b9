"""The guard's arithmetic: one question after the other, a row of state for each feature.

What is usual is learnt from accepted values: a running middle and spread (Huber's weights, so that a far value moves them
little), the greatest step from one value to the next, how often values repeat and how often they are missing. Sensors fail in
jumps, and the world moves in steps that are known: a value is held against the one before, not against a fixed band, so that
a season is no alarm. After a jump the guard follows the value through the conversion that explains it best (a unit that was
mistaken, else a constant offset): its stand-in keeps moving with what is measured, and shows when the failure is over.

`state` is float64[d + k + 1, N_STATE]: numbers, categories, and the whole vector as if it were one feature. Nothing here
reads anything else, so that a state and the questions after it give the same verdicts everywhere.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.compiled import inline, kernel
from headwater.features.limits import DOING, HIGH, LEARNT, LOW, MOST_STEP, SETTLE, STUCK

# columns of the state; the last six belong to a burst
(
    N, NULLS, MIDDLE, SPREAD, STEP, USUAL, SIGNS, RAW, RUN, EQUAL, LONGEST, REST, ABSENT, STAND_IN, GAP, GAIN, SHIFT, UNIT,
    AWAY, FAR, KIND, FIRST, LATEST, VALUES, GOOD, N_STATE,
) = range(26)  # fmt: skip
KINDS = (
    "accepted", "not finite", "missing", "out of range", "stuck", "jump", "unit change", "unseen", "missing together",
)  # fmt: skip
ACCEPTED, INFINITE, MISSING, RANGE, REPEATED, JUMP, CONVERTED, UNSEEN, EVERYTHING = range(9)
IMPUTE, CLIP, DROP, ABSTAIN, QUARANTINE = range(5)
ASKED, ABSTAINED, QUARANTINED = range(3)  # what becomes of a question
BEGAN, ENDED, SETTLED = range(3)
# columns of what is told of a burst
T_FEATURE, T_PHASE, T_KIND, T_FIRST, T_LATEST, T_VALUES, T_UNIT, T_ROW, N_TOLD = range(9)
N_SEEN = 1 << 16  # places for a category's values; two that share one are taken for each other
UNITS = (
    "F for C", "C for F", "K for C", "C for K", "1000 times", "1/1000", "100 times", "1/100", "10 times", "1/10",
    "km/h for m/s", "m/s for km/h", "miles for km", "km for miles", "lb for kg", "kg for lb", "mmHg for hPa", "hPa for mmHg",
)  # fmt: skip
_GAINS = np.array([
    1.8, 1 / 1.8, 1.0, 1.0, 1e3, 1e-3, 100.0, 0.01, 10.0, 0.1, 3.6, 1 / 3.6, 0.621371, 1.609344, 2.204623, 0.453592, 0.750062,
    1.333224,
])  # fmt: skip
_SHIFTS = np.array([32.0, -32 / 1.8, 273.15, -273.15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])

_HUGE = 1e100  # as in `learning.kernels`
_RARE = np.log(1e-9)  # chance of a run that is too long for what was learnt
_SELDOM = 0.02  # share of missing or unseen values below which a single one is a failure
_SLACK = 1.5  # times the greatest step
_FADE = 1.0 - 1.0 / 32768.0  # of the greatest step, by value
_HORIZON = 500.0  # values that the middle and the spread remember
_HUBER = 4.0  # spreads beyond which a value's distance counts no more
_FORGET = 0.97  # a stand-in without news goes to the middle
_CHANGES = 30  # so many must have been seen before a jump can be one
_LEAST_RUN = 8
_RESTS = 0.5  # share of repeated values above which a feature has a value at which it rests, such as no rain
_TOGETHER = 3
_MOST_GAP = 64.0  # values without news over which room grows: where nothing is said a value may wander ...
_MOST_WILD = 16.0  # ... and where nonsense is said, less of it is to pass by chance
_PATIENCE = 4.0  # a jump that is hardly one settles soon, one of 5/4 of what is accepted and beyond after `settle` values
_FIT = 3.0  # usual steps that a conversion may miss by ...
_BOTH = 3.0  # negative and positive values were accepted
_EXPLAINED = 0.5  # ... and the share of the jump that it may leave unexplained
_KNOWN = 255  # a category's value that is taken; one that came unasked counts up to _OFTEN first
_OFTEN = 20


@inline
def _is_rare(count: float, n: float, run: float) -> bool:
    """Whether a run of what happened `count` times in n is a failure: it hardly ever happens, or never for so long."""
    p = (count + 1.0) / (n + 2.0)
    return bool(p < _SELDOM or run * np.log(p) < _RARE)


@inline
def _step(s: Floats, limit: Floats, learns: bool) -> float:
    """How far a value may be from the one before."""
    if not np.isnan(limit[MOST_STEP]):
        return float(limit[MOST_STEP])
    return float(_SLACK * s[STEP]) if learns and s[N] - s[EQUAL] >= _CHANGES else np.inf


@inline
def _room(s: Floats, step: float) -> float:
    """How far from its stand-in a value is accepted: further, the longer nothing was heard."""
    return step * float(np.sqrt(1.0 + min(s[GAP], _MOST_GAP)))


@inline
def _count_run(x: float, s: Floats) -> None:
    """Equal values, and missing ones, in a row."""
    if np.isnan(x):
        s[ABSENT] += 1.0
        return
    s[ABSENT] = 0.0
    if x == s[RAW]:
        s[RUN] += 1.0
        return
    was_accepted = s[KIND] == 0.0 or s[GOOD] > 0.0
    if was_accepted and s[RUN] > s[LONGEST]:
        s[LONGEST], s[REST] = s[RUN], s[RAW]
    s[RAW], s[RUN] = x, 1.0


@inline
def _verdict(  # noqa: PLR0911 - one return for each verdict
    x: float, s: Floats, limit: Floats, warm_up: float
) -> int:
    """What is wrong with a number, if anything."""
    learns = limit[LEARNT] > 0.0 and s[N] >= warm_up
    if np.isnan(x):
        return MISSING if learns and _is_rare(s[NULLS], s[N] + s[NULLS], s[ABSENT]) else ACCEPTED
    if not abs(x) <= _HUGE:
        return INFINITE
    if x < limit[LOW] or x > limit[HIGH]:
        return RANGE
    if limit[STUCK] > 0.0:
        if s[RUN] >= limit[STUCK]:
            return REPEATED
    elif learns and s[RUN] >= _LEAST_RUN and s[RUN] > 2.0 * s[LONGEST]:
        p = (s[EQUAL] + 1.0) / (s[N] + 2.0)
        rests = p > _RESTS and x == s[REST]
        if not rests and s[RUN] * np.log(p) < _RARE:
            return REPEATED
    step = _step(s, limit, learns)
    if s[N] > 0.0 and abs(x - s[STAND_IN]) > _room(s, step):
        # A value from the very middle of what is usual is no failure by itself; one that the conversion explains may be.
        explained = s[GAIN] != 0.0 and abs((x - s[SHIFT]) / s[GAIN] - s[STAND_IN]) <= step
        width = s[SPREAD] if s[GAIN] == 0.0 else _HUBER * s[SPREAD]
        usual = not explained and np.isnan(limit[MOST_STEP]) and abs(x - s[MIDDLE]) <= width
        return ACCEPTED if usual else JUMP
    return ACCEPTED


@inline
def _accept(x: float, s: Floats) -> None:
    """Learn from a value."""
    if np.isnan(x):
        s[NULLS] += 1.0
        s[GAP] += 1.0
        s[AWAY] = 0.0
        return
    s[SIGNS] = float(int(s[SIGNS]) | (1 if x < 0.0 else 2 if x > 0.0 else 0))
    if s[N] == 0.0:
        s[MIDDLE] = x
    elif s[GAP] == 0.0:
        step = abs(x - s[STAND_IN])
        s[EQUAL] += step == 0.0
        s[STEP] = max(step, s[STEP] * _FADE)
        s[USUAL] += (step - s[USUAL]) / min(s[N] + 1.0, _HORIZON)
    s[N] += 1.0
    share, off = 1.0 / min(s[N], _HORIZON), x - s[MIDDLE]
    if s[N] > _CHANGES:
        bound = _HUBER * s[SPREAD]
        off = min(max(off, -bound), bound) if bound > 0.0 else off
    s[MIDDLE] += share * off
    s[SPREAD] += share * (abs(off) - s[SPREAD])
    s[STAND_IN], s[GAP], s[GAIN], s[SHIFT], s[AWAY], s[FAR] = x, 0.0, 0.0, 0.0, 0.0, 0.0


@inline
def _settle(x: float, s: Floats) -> None:
    """What was not usual has lasted: it is, from now on."""
    if np.isnan(x):
        s[NULLS], s[ABSENT], s[AWAY] = max(s[NULLS], s[N]), -np.inf, 0.0  # this run is never too long again
        return
    if s[GAIN] == 0.0:
        s[RUN] = -np.inf  # likewise
    s[GAP] = 1.0  # the step to here says nothing of usual ones
    s[MIDDLE] = x
    _accept(x, s)


@inline
def _follow(x: float, s: Floats, step: float) -> int:
    """After a jump: the stand-in by the conversion that explains the value; which kind of failure that is."""
    if s[GAIN] != 0.0:
        true = (x - s[SHIFT]) / s[GAIN]
        if abs(true - s[STAND_IN]) <= step:
            s[STAND_IN] = true
            return CONVERTED if s[UNIT] > 0.0 else JUMP
        s[STAND_IN] = s[MIDDLE] + (s[STAND_IN] - s[MIDDLE]) * _FORGET
        s[GAP] = max(s[GAP], min(s[GAP] + 1.0, _MOST_WILD))
    s[FAR] = max(s[FAR], abs(x - s[STAND_IN]) / step)
    least, s[UNIT] = min(_FIT * s[USUAL], step), 0.0
    for u in range(_GAINS.size):
        off = abs((x - _SHIFTS[u]) / _GAINS[u] - s[STAND_IN])
        expected = _GAINS[u] * s[STAND_IN] + _SHIFTS[u]
        if _SHIFTS[u] == 0.0 and s[SIGNS] == _BOTH:
            continue  # what is measured from an arbitrary zero is not converted by a factor
        if off <= least and _GAINS[u] * off <= _EXPLAINED * abs(expected - s[STAND_IN]):
            least, s[UNIT] = off, u + 1.0
    if s[UNIT] > 0.0:
        u = int(s[UNIT]) - 1
        s[GAIN], s[SHIFT] = _GAINS[u], _SHIFTS[u]
        s[STAND_IN] = (x - s[SHIFT]) / s[GAIN]
        return CONVERTED
    s[GAIN], s[SHIFT] = 1.0, x - s[STAND_IN]
    return JUMP


@inline
def _replace(x: float, kind: int, followed: bool, s: Floats, limit: Floats, room: float) -> float:
    """Bring the stand-in up to date, and return what is used in a value's place."""
    before = s[STAND_IN]
    if not followed:
        s[STAND_IN] = s[MIDDLE] + (s[STAND_IN] - s[MIDDLE]) * _FORGET
        s[GAP] += 1.0
        s[GAIN] = 0.0
    s[STAND_IN] = min(max(s[STAND_IN], limit[LOW]), limit[HIGH])
    if limit[DOING] == DROP or s[N] == 0.0:
        return np.nan
    if limit[DOING] == CLIP and kind == RANGE:
        return float(limit[LOW] if x < limit[LOW] else limit[HIGH])
    if limit[DOING] == CLIP and kind in (JUMP, CONVERTED):
        return float(before + room if x > before else before - room)
    return float(s[STAND_IN])


@inline
def _tell(feature: int, phase: int, s: Floats, told: Ints, n_told: Ints, row: int) -> None:
    if n_told[0] < told.shape[0]:
        t = told[n_told[0]]
        t[T_FEATURE], t[T_PHASE], t[T_KIND], t[T_FIRST] = feature, phase, int(s[KIND]), int(s[FIRST])
        t[T_LATEST], t[T_VALUES], t[T_UNIT], t[T_ROW] = int(s[LATEST]), int(s[VALUES]), int(s[UNIT]), row
        n_told[0] += 1


@inline
def _mark(feature: int, kind: int, s: Floats, seq: float, told: Ints, n_told: Ints, row: int) -> None:
    """A value was not accepted: a burst begins, or goes on."""
    begins = s[KIND] == 0.0
    if begins:
        s[KIND], s[FIRST], s[VALUES] = kind, seq, 0.0
    elif kind == CONVERTED:
        s[KIND] = kind
    s[LATEST], s[GOOD] = seq, 0.0
    s[VALUES] += 1.0
    if begins:
        _tell(feature, BEGAN, s, told, n_told, row)


@inline
def _clear(feature: int, phase: int, s: Floats, quiet: float, told: Ints, n_told: Ints, row: int) -> None:
    """A value was accepted: a burst ends after enough of them, or at once where it has settled."""
    if s[KIND] == 0.0:
        return
    s[GOOD] += 1.0
    if phase == SETTLED or s[GOOD] >= quiet:
        _tell(feature, phase, s, told, n_told, row)
        s[KIND], s[FIRST], s[LATEST], s[VALUES], s[GOOD] = 0.0, 0.0, 0.0, 0.0, 0.0


@inline
def _number(
    j: int, x: float, s: Floats, limit: Floats, pace: Floats, seq: float, is_all: bool, told: Ints, n_told: Ints, row: int,
    kinds: Bytes,
) -> float:  # fmt: skip
    """One number: what is used of it."""
    _count_run(x, s)
    kind = _verdict(x, s, limit, pace[0])
    if kind == ACCEPTED:
        _accept(x, s)
        _clear(j, ENDED, s, pace[1], told, n_told, row)
        return x
    settles = kind not in (INFINITE, RANGE)
    s[AWAY] = s[AWAY] + 1.0 if settles else 0.0
    patience = min(_PATIENCE * (s[FAR] - 1.0), 1.0) if kind == JUMP and s[FAR] > 0.0 else 1.0
    if settles and s[AWAY] > limit[SETTLE] * patience:
        _settle(x, s)
        _clear(j, SETTLED, s, pace[1], told, n_told, row)
        return x
    step = _step(s, limit, limit[LEARNT] > 0.0 and s[N] >= pace[0])
    room = _room(s, step)
    followed = kind == JUMP or (kind == RANGE and abs(x - s[STAND_IN]) > room)
    if followed:
        found = _follow(x, s, step)
        kind = found if kind == JUMP or found == CONVERTED else kind
    kinds[j] = kind
    if not is_all or s[KIND] > 0.0:
        _mark(j, kind, s, seq, told, n_told, row)
    return _replace(x, kind, followed, s, limit, room)


@inline
def _category(
    j: int, c: int, s: Floats, limit: Floats, pace: Floats, seq: float, seen: Bytes, came: Ints, told: Ints, n_told: Ints,
    row: int, kinds: Bytes,
) -> int:  # fmt: skip
    """One category: its place, or -1 where its value is not taken. `came` is told what its value's place is to hold."""
    came[0] = -1
    if c < 0:
        return c
    place = int((np.uint64(c) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48))
    times = seen[place]
    s[ABSENT] = s[ABSENT] + 1.0 if times == 0 else 0.0
    is_odd = 0 < times < _OFTEN
    if times == 0:
        is_odd = limit[LEARNT] > 0.0 and s[N] >= pace[0] and _is_rare(s[NULLS], s[N], s[ABSENT])
    s[NULLS] += times != _KNOWN and not is_odd  # whatever changes `seen` is counted here or as unseen
    s[N] += 1.0
    came[0], came[1] = place, min(times + 1, _OFTEN) if is_odd else _KNOWN
    if not is_odd:
        _clear(j, ENDED, s, pace[1], told, n_told, row)
        return c
    kinds[j] = UNSEEN
    _mark(j, UNSEEN, s, seq, told, n_told, row)
    return -1


@inline
def _fail_together(x: Floats, state: Floats, limits: Floats, pace: Floats) -> bool:
    """Whether half of the numbers, three or more, are missing that hardly ever are: something before the sensors has failed."""
    n = 0
    for j in range(x.size):
        s = state[j]
        learns = limits[j, LEARNT] > 0.0 and s[N] >= pace[0]
        n += learns and np.isnan(x[j]) and (s[NULLS] + 1.0) / (s[N] + s[NULLS] + 2.0) < _SELDOM
    return n >= _TOGETHER and 2 * n >= x.size


@inline
def _row(
    x: Floats, c: Ints, state: Floats, seen: Bytes, limits: Floats, pace: Floats, seq: float, came: Ints, told: Ints,
    n_told: Ints, row: int, kinds: Bytes,
) -> int:  # fmt: skip
    """Guard one vector in its place; what becomes of the question."""
    d, k, fate = x.size, c.size, ASKED
    is_all = _fail_together(x, state, limits, pace)
    whole = state[d + k]
    if is_all:
        fate = int(pace[2])
        kinds[d + k] = EVERYTHING
        _mark(d + k, EVERYTHING, whole, seq, told, n_told, row)
    else:
        _clear(d + k, ENDED, whole, pace[1], told, n_told, row)
    for j in range(d):
        x[j] = _number(j, x[j], state[j], limits[j], pace, seq, is_all, told, n_told, row, kinds)
    for j in range(k):
        c[j] = _category(
            d + j, c[j], state[d + j], limits[d + j], pace, seq, seen[j], came[j], told, n_told, row, kinds
        )  # fmt: skip
    for j in range(d + k):
        if kinds[j] > ACCEPTED and limits[j, DOING] >= ABSTAIN:
            fate = max(fate, ABSTAINED if limits[j, DOING] == ABSTAIN else QUARANTINED)
    return int(fate)


@kernel
def guard_in_order(  # noqa: D417 - xs and cs are described together
    start: int, places: Ints, xs: Floats, cs: Ints, limits: Floats, pace: Floats, state: Floats, seen: Bytes, counts: Ints,
    seq0: int, fates: Bytes, told: Ints, n_told: Ints,
) -> int:  # fmt: skip
    """Guard the questions from `places[start]` on, each after the one before; where it stopped for want of room in `told`.

    Args:
        start: Which question is the next.
        places: int64[m], ascending rows of the questions.
        xs, cs: float64[n, d], int64[n, k]: vectors, which are changed in their place.
        limits: float64[d + k, N_LIMITS].
        pace: float64[3]: `Guard.warm_up`, `Guard.quiet`, what becomes of a question whose numbers are missing together.
        state: See above.
        seen: uint8[k, N_SEEN], how often each category's values came.
        counts: int64[d + k + 1, kinds], which grows.
        seq0: The batch's place in the log.
        fates: uint8[n], what becomes of each question.
        told: int64[room, N_TOLD], bursts that began or ended, written from n_told[0] on.
        n_told: int64[1].
    """
    kinds, came = np.empty(state.shape[0], np.uint8), np.empty((cs.shape[1], 2), np.int64)
    for m in range(start, places.size):
        if n_told[0] + 2 * state.shape[0] > told.shape[0]:
            return m
        i = places[m]
        kinds[:] = 0
        fates[i] = _row(xs[i], cs[i], state, seen, limits, pace, float(seq0 + i), came, told, n_told, i, kinds)
        for j in range(came.shape[0]):
            if came[j, 0] >= 0:
                seen[j, came[j, 0]] = came[j, 1]
        for j in range(kinds.size):
            counts[j, kinds[j]] += 1
    return places.size


@kernel
def guard_alone(  # noqa: D417 - as above
    xs: Floats, cs: Ints, limits: Floats, pace: Floats, state: Floats, seen: Bytes, fates: Bytes, kinds: Bytes
) -> None:
    """Guard each question as if it were the next one; nothing is learnt. See `guard_in_order`.

    Args:
        xs, cs, limits, pace, state, seen, fates: As there.
        kinds: uint8[n, d + k + 1], written: what was wrong with each feature.
    """
    told, n_told = np.zeros((0, N_TOLD), np.int64), np.zeros(1, np.int64)
    mine, came = np.empty(state.shape), np.empty((cs.shape[1], 2), np.int64)
    for i in range(xs.shape[0]):
        mine[:] = state
        fates[i] = _row(xs[i], cs[i], mine, seen, limits, pace, 0.0, came, told, n_told, i, kinds[i])
