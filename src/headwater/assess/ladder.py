"""The ladder: the same learner on the same rows, published ever more rarely.

One pass in order of event time. Before a row is scored, every label that was known by then is learnt by the live weights.
Each rung scores with its own copy of them: the live ones, those of the last full 1 % or 5 % of the rows, those of the end of
the first fifth. So rungs differ in freshness and in nothing else, and no score has seen a label that was not known yet.

"No change" says what the last known label said; with a key, the last one of the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headwater.assess.encoding import Encoded
from headwater.assess.table import Progress, ignore
from headwater.assess.times import MISSING
from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.compiled import kernel
from headwater.learning.classes import MOST_CLASSES
from headwater.learning.kernels import SQUARED, learn, link, predictor
from headwater.learning.linear import Linear, LinearState
from headwater.learning.softmax import SoftmaxState, bits_for, learn_class, predict, probability_of

RUNGS = ("every_event", "1%", "5%", "frozen")
NO_CHANGE = "no_change"
SKIPPED = 0.2  # of the rows: nobody is judged on them, and "frozen" learns from them
_FEW_CLASSES = 16  # an app has weights for so many at least
_STEP = 0.1  # of AdaGrad, in standard deviations of the label where that is a number
_FORGET = 0.9999  # steps do not shrink for good: the learner goes on following
_SLOWEST, _FASTEST = 0.001, 0.05  # steps of a number's level
_PARTS = 200  # stretches of rows between two looks at the progress bar


@dataclass(slots=True, eq=False)
class Climbed:
    """What each rung said of each row.

    Attributes:
        first: The first row that is judged.
        said: float64[n, 4]: the score of each rung; of several classes, the probability of the row's class (NaN without one).
        hits: uint8[n, 4]: of several classes, whether the likeliest was the row's.
        last: float64[n], what "no change" says: the last known label; NaN before the first.
        spec: The learner.
    """

    first: int
    said: Floats
    hits: Bytes
    last: Floats
    spec: Linear


def learner_for(encoded: Encoded) -> Linear:
    """One setting for all tables.

    A label that is a number is learnt in its own unit, so that steps have to be of its size; it is looked up among the
    first fifth, on which nobody is judged.
    """
    if encoded.task != "regression":
        bits = bits_for(room_for(len(encoded.classes)), encoded.bits) if encoded.task == "multiclass" else encoded.bits
        return Linear(loss="log", eta0=_STEP, forget=_FORGET, bits=bits)
    m = max(2, int(encoded.n * SKIPPED))
    first = encoded.y[:m][~np.isnan(encoded.y[:m])]
    mean, spread = (abs(float(first.mean())), float(first.std()) or 1.0) if first.size else (0.0, 1.0)
    # The level, from 0 on, has to come within a tenth of the spread in half of the first fifth: each label moves it by
    # the step times twice the error.
    level = float(np.log(max(1.0, 10.0 * mean / spread))) / m
    eta0, intercept_eta = _rounded(_STEP * spread), _rounded(min(max(level, _SLOWEST), _FASTEST))
    return Linear(loss="squared", eta0=eta0, intercept_eta=intercept_eta, forget=_FORGET, bits=encoded.bits)


def room_for(n_classes: int) -> int:
    """How many classes an app gets weights for: half as many again, since new ones come."""
    return min(MOST_CLASSES, max(_FEW_CLASSES, n_classes + n_classes // 2))


def _rounded(value: float) -> float:
    """Two digits: it is going to be read in an app."""
    return float(f"{value:.2g}")


def climb(encoded: Encoded, progress: Progress = ignore, spec: Linear | None = None) -> Climbed:
    """Walk through all rows once.

    Args:
        encoded: The rows.
        progress: Told how far it is.
        spec: The learner; None: `learner_for`.
    """
    spec = spec or learner_for(encoded)
    n, first = encoded.n, int(encoded.n * SKIPPED)
    order, due = _labels_by_time(encoded)
    said, hits = np.full((n, len(RUNGS)), np.nan), np.zeros((n, len(RUNGS)), np.uint8)
    mark = _marks(n, first)
    walk = (_walk_classes if encoded.task == "multiclass" else _walk_line)(encoded, spec, order, due, mark, said, hits)
    bounds = [n * part // _PARTS for part in range(_PARTS + 1)]
    for start, stop in pairwise(bounds):
        walk(start, stop)
        progress("learning", stop, n)
    return Climbed(first, said, hits, _last_known(encoded, order, due), spec)


def _labels_by_time(encoded: Encoded) -> tuple[Ints, Ints]:
    """The labelled rows in order of their labels, and before which row each label is learnt; int64[m] both.

    A label with a time is learnt before the first row of that time or later (at equal time, outcomes precede questions, as
    in a replay), but never before its own row. One without is learnt right after its row.
    """
    rows = np.flatnonzero(~np.isnan(encoded.y) & (encoded.known_ms != MISSING))
    if not encoded.is_delayed:
        return rows, rows + 1
    order = rows[np.argsort(encoded.known_ms[rows], kind="stable")]
    due = np.searchsorted(encoded.time_ms, encoded.known_ms[order], side="left").astype(np.int64)
    due = np.maximum(due, order + 1)
    again = np.argsort(due, kind="stable")  # a label of the very time of its row may have had to wait for it
    return order[again], due[again]


def _marks(n: int, first: int) -> Bytes:
    """uint8[n]: bit r is set where rung r is published before the row: at each full 1 % and 5 % of rows, at the first fifth."""
    mark = np.zeros(n, np.uint8)
    for rung, parts in ((1, 100), (2, 20)):
        at = np.unique(np.arange(parts) * n // parts)
        mark[at] |= np.uint8(1 << rung)
    mark[first] |= np.uint8(1 << 3)
    return mark


def _walk_line(
    encoded: Encoded, spec: Linear, order: Ints, due: Ints, mark: Bytes, said: Floats, _: Bytes
) -> Callable[[int, int], None]:
    state = LinearState(spec, len(encoded.numbers), 0)
    copies = np.zeros((len(RUNGS), state.weights.size))
    copied_stats = np.zeros((len(RUNGS), *state.stats.shape))
    at = np.zeros(1, np.int64)

    def walk(start: int, stop: int) -> None:
        _line(
            start, stop, encoded.xs, encoded.cs, encoded.y, order, due, mark, at, state.weights, state.squares, state.stats,
            state.counts, copies, copied_stats, state.params, said,
        )  # fmt: skip

    return walk


def _walk_classes(
    encoded: Encoded, spec: Linear, order: Ints, due: Ints, mark: Bytes, said: Floats, hits: Bytes
) -> Callable[[int, int], None]:
    state = SoftmaxState(spec, len(encoded.numbers), len(encoded.classes))
    ys = np.where(np.isnan(encoded.y), -1, encoded.y).astype(np.int64)
    # A slot of fewer bits is the upper ones of a longer: what an app's fold makes of the same value (`category_slots`).
    cs = np.where(encoded.cs >= 0, encoded.base + ((encoded.cs - encoded.base) >> (encoded.bits - spec.bits)), encoded.cs)
    copies = np.zeros((len(RUNGS), *state.weights.shape))
    copied_stats = np.zeros((len(RUNGS), *state.stats.shape))
    copied_met = np.zeros((len(RUNGS), *state.met.shape), np.int64)
    at = np.zeros(1, np.int64)

    def walk(start: int, stop: int) -> None:
        _classes(
            start, stop, encoded.xs, cs, ys, order, due, mark, at, state.weights, state.squares, state.stats, state.met,
            state.counts, copies, copied_stats, copied_met, state.params, said, hits,
        )  # fmt: skip

    return walk


@kernel
def _line(
    start: int, stop: int, xs: Floats, cs: Ints, ys: Floats, order: Ints, due: Ints, mark: Bytes, at: Ints, w: Floats,
    squares: Floats, stats: Floats, counts: Ints, copies: Floats, copied_stats: Floats, params: Floats, said: Floats,
) -> None:  # fmt: skip
    """Rows start to stop; at[0] labels have been learnt before them."""
    z = np.empty(xs.shape[1])
    for i in range(start, stop):
        while at[0] < order.size and due[at[0]] <= i:
            row = order[at[0]]
            learn(row, w, squares, stats, counts, xs, cs, ys[row], params, z)
            at[0] += 1
        for r in range(1, said.shape[1]):
            if mark[i] & (1 << r):
                copies[r] = w
                copied_stats[r] = stats
        said[i, 0] = link(predictor(i, w, stats, xs, cs, params, z), params[SQUARED])
        for r in range(1, said.shape[1]):
            said[i, r] = link(predictor(i, copies[r], copied_stats[r], xs, cs, params, z), params[SQUARED])


@kernel
def _classes(
    start: int, stop: int, xs: Floats, cs: Ints, ys: Ints, order: Ints, due: Ints, mark: Bytes, at: Ints, w: Floats,
    squares: Floats, stats: Floats, met: Ints, counts: Ints, copies: Floats, copied_stats: Floats, copied_met: Ints,
    params: Floats, said: Floats, hits: Bytes,
) -> None:  # fmt: skip
    """The same over several classes."""
    z, p = np.empty(xs.shape[1]), np.empty(met.size)
    for i in range(start, stop):
        while at[0] < order.size and due[at[0]] <= i:
            row = order[at[0]]
            learn_class(row, ys[row], w, squares, stats, met, counts, xs, cs, params, z, p)
            at[0] += 1
        for r in range(1, said.shape[1]):
            if mark[i] & (1 << r):
                copies[r] = w
                copied_stats[r] = stats
                copied_met[r] = met
        if ys[i] >= 0:
            for r in range(said.shape[1]):
                if r == 0:
                    predict(i, w, stats, met, xs, cs, params, z, p)
                    said[i, r] = probability_of(ys[i], p, met)
                else:
                    predict(i, copies[r], copied_stats[r], copied_met[r], xs, cs, params, z, p)
                    said[i, r] = probability_of(ys[i], p, copied_met[r])
                hits[i, r] = np.argmax(p) == ys[i]


def _last_known(encoded: Encoded, order: Ints, due: Ints) -> Floats:
    """The last label known before each row, of the same key where there are keys; float64[n]."""
    last = np.full(encoded.n, np.nan)
    keys = np.zeros(encoded.n, np.int64) if encoded.key is None else np.unique(encoded.key, return_inverse=True)[1]
    newest = np.full(int(keys.max()) + 1, np.nan)
    _repeat(order, due, np.asarray(keys, np.int64), encoded.y, newest, last)
    return last


@kernel
def _repeat(order: Ints, due: Ints, keys: Ints, ys: Floats, newest: Floats, last: Floats) -> None:
    at, newest_of_all = 0, np.nan
    for i in range(last.size):
        while at < order.size and due[at] <= i:
            newest_of_all = ys[order[at]]
            newest[keys[order[at]]] = newest_of_all
            at += 1
        own = newest[keys[i]]
        last[i] = newest_of_all if np.isnan(own) else own
