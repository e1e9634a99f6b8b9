"""How well one column alone tells the label: for leaks, and for integers that may be names.

The labels' mean (or most frequent class) of each value, or of each of up to 256 ranges of numbers, is learnt on every
second tenth of the rows and judged on the others. Tenths, not single rows: where labels come in long runs, a neighbour
would give the answer away, and whatever grows with time would look like a leak. "Missing" is a value like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.assess.columns import Form, Held
from headwater.assess.labels import Label
from headwater.core.batch import Bools, Floats, Ints
from headwater.evaluation.metrics import exact_auc

_MOST_ROWS = 200_000
_FEWEST_ROWS = 20_000
_CELLS = 200_000_000  # of all columns together: what looking at 10,000 of them may cost
_TENTHS = 10
_FEWEST_CHANGES = 5  # of each kind, to judge by: what follows runs is wrong at nearly all of them
_PRIOR = 1.0  # labels of the overall mean that each value starts with


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Labelled rows to try columns on.

    Attributes:
        rows: Their places, ascending.
        y: Their labels.
        is_test: Those to be judged on; the others are learnt.
        before: The label of the labelled row before each; NaN before the first.
        task: The label's.
        n_classes: Of a multiclass label.
    """

    rows: Ints
    y: Floats
    is_test: Bools
    before: Floats
    task: str
    n_classes: int


def sample_of(label: Label, n_columns: int, until: int | None = None) -> Sample:
    """Labelled rows, evenly thinned out where there are many; `until` leaves out later rows."""
    every = np.flatnonzero(~np.isnan(label.y[:until]))
    most = max(_FEWEST_ROWS, min(_MOST_ROWS, _CELLS // max(1, n_columns)))
    before = np.concatenate([[np.nan], label.y[every[:-1]]])
    thin = slice(None, None, max(1, -(-every.size // most)))
    rows, before = every[thin], before[thin]
    is_test = (np.arange(rows.size) * _TENTHS // max(1, rows.size)) % 2 == 1
    return Sample(rows, label.y[rows], is_test, before, label.task, len(label.classes))


def tells(sample: Sample, groups: Ints) -> float:
    """How well groups of values tell the label of rows not learnt: AUC, R2, or the mean recall of all classes.

    Args:
        sample: The rows.
        groups: int64[rows], dense numbers from 0.

    Returns:
        0.5 .. 1 for two classes (0.5: not at all), else up to 1 (0: not at all).
    """
    return judged(sample, said_of(sample, groups))


def judged(sample: Sample, said: Floats) -> float:
    """`tells` of what was said already."""
    return _judged(sample, said, sample.is_test)


def tells_changes(sample: Sample, said: Floats) -> float:
    """The same where the label is another one than before; 1 where that is too seldom to tell.

    What is true of a whole run of equal labels tells the label as long as the run lasts: a count over the last seconds,
    the state of a machine. What is filled in with the outcome tells it at the first row of a run as well.
    """
    if sample.task == "regression":
        test = sample.is_test & ~np.isnan(sample.before)
        moved = float(((sample.y[test] - sample.before[test]) ** 2).sum())
        return 1.0 - float(((sample.y[test] - said[test]) ** 2).sum()) / moved if moved > 0 else 1.0
    changed = sample.is_test & ~np.isnan(sample.before) & (sample.y != sample.before)
    counts = np.bincount(sample.y[changed].astype(np.int64), minlength=2)
    is_seldom = min(counts[:2]) < _FEWEST_CHANGES if sample.task == "binary" else counts.sum() < _FEWEST_CHANGES
    return 1.0 if is_seldom else _judged(sample, said, changed)


def said_of(sample: Sample, groups: Ints) -> Floats:
    """What each row's group says: the mean label of the rows learnt, of several classes the most frequent one."""
    learnt = ~sample.is_test
    n = int(groups.max(initial=0)) + 1
    if sample.task == "multiclass":
        k = sample.n_classes
        pairs, counts = np.unique(groups[learnt] * k + sample.y[learnt].astype(np.int64), return_counts=True)
        best = np.full(n, -1.0)
        order = np.argsort(counts, kind="stable")
        best[pairs[order] // k] = pairs[order] % k  # of each group, the most frequent one is written last
        return best[groups]
    mean = float(sample.y[learnt].mean()) if learnt.any() else 0.0
    weight = np.bincount(groups[learnt], minlength=n) + _PRIOR
    total = np.bincount(groups[learnt], weights=sample.y[learnt], minlength=n) + _PRIOR * mean
    said: Floats = (total / weight)[groups]
    return said


def straight_line(held: Held, sample: Sample) -> Floats:
    """What a straight line through the numbers that are there says; the mean label for what is missing, and for other tasks."""
    values = np.asarray(held.values, np.float64)[sample.rows]
    learnt = ~np.isnan(values) & ~sample.is_test
    mean = float(sample.y[~sample.is_test].mean()) if not sample.is_test.all() else 0.0
    x, y = values[learnt], sample.y[learnt]
    spread = float(((x - x.mean()) ** 2).sum()) if x.size else 0.0
    if sample.task != "regression" or spread <= 0.0:
        return np.full(values.size, mean)
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    return np.where(np.isnan(values), mean, y.mean() + slope * (values - x.mean()))


def _judged(sample: Sample, said: Floats, test: Bools) -> float:
    true, said = sample.y[test], said[test]
    if true.size == 0:
        return 0.5 if sample.task == "binary" else 0.0
    if sample.task == "binary":
        area = exact_auc(true, said)
        return 0.5 if np.isnan(area) else area
    if sample.task == "multiclass":
        k = sample.n_classes
        total = np.bincount(true.astype(np.int64), minlength=k)
        hit = np.bincount(true.astype(np.int64), weights=said == true, minlength=k)
        return float((hit[total > 0] / total[total > 0]).mean())
    spread = float(((true - true.mean()) ** 2).sum())
    return max(0.0, 1.0 - float(((true - said) ** 2).sum()) / spread) if spread > 0 else 0.0


def values_of(held: Held, sample: Sample) -> Ints:
    """Groups of equal values."""
    assert held.values is not None
    values = held.values[sample.rows]
    return np.asarray(np.unique(values[:, 0] if held.form is Form.WORDS else values, return_inverse=True)[1], np.int64)


def ranges_of(held: Held, sample: Sample, bins: int) -> Ints:
    """Groups of numbers: up to `bins` ranges of about equally many rows, and one for what is missing."""
    assert held.values is not None
    values = np.asarray(held.values[sample.rows], np.float64)
    there = values[~np.isnan(values)]
    if there.size == 0:
        return np.zeros(values.size, np.int64)
    edges = np.unique(np.quantile(there, np.arange(1, bins) / bins))
    return np.where(np.isnan(values), edges.size + 1, np.searchsorted(edges, values, side="right")).astype(np.int64)
