"""A table as a stream: rows in order, what is known when each is answered, and what the slow model's trees split on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from headwater.assess.encoding import Encoded
from headwater.core.batch import Floats, Ints
from headwater.core.compiled import kernel
from headwater.core.errors import Fatal
from headwater.evaluation.metrics import YES
from headwater.learning.fast_kernels import Rows
from headwater.learning.lags import known_before, label_lags, order_of

LEAST_ROWS = 1_000
POINTS = 150  # decision points of a stream
WARM_UP = 0.05  # the share of rows before anything is judged
_WORD_BUCKETS = 32


@dataclass(slots=True, eq=False)
class Stream:
    """One history, ready to be replayed.

    Attributes:
        rows: What the fast layer takes.
        plain, lagged: float64[n, d]: what trees split on, without and with label lags.
        time_ms, known_ms: int64[n]: when a row happened, when its label was known.
        absolute: Whether labels are numbers.
        edges: int64[POINTS + 1]: the rows at which the decision points lie.
        first: Index of the decision point of the first fit, just before the warm-up ends.
        lag_core_s: What the label lags have cost.
        judged_from: The share of rows before any answer is judged.
    """

    rows: Rows
    plain: Floats
    lagged: Floats
    time_ms: Ints
    known_ms: Ints
    absolute: bool
    edges: Ints
    first: int
    lag_core_s: float
    judged_from: float = WARM_UP

    @property
    def n(self) -> int:
        """Rows."""
        return self.time_ms.size

    @property
    def is_late(self) -> bool:
        """Whether a typical label comes later than its row."""
        return bool(np.median(self.known_ms - self.time_ms) > 0)

    @property
    def n_points(self) -> int:
        """Decision points."""
        return self.edges.size - 1

    def known_at(self, point: int) -> Ints:
        """The rows whose labels are known at a decision point, in the order in which they became known."""
        return self.rows.order[: self.rows.ready[self.edges[point]]]


def stream_of(encoded: Encoded, yes_unless: str | None = None) -> Stream:
    """Make the stream; `yes_unless` is the class that counts as no where a label has more than two.

    Raises:
        Fatal: Too few rows, more than two classes, one class only.
    """
    label = _label(encoded, yes_unless)
    order = order_of(encoded.known_ms)
    order = order[~np.isnan(label[order])]
    ready = known_before(encoded.time_ms, encoded.known_ms, order)
    absolute, n = encoded.task == "regression", label.size
    key, n_keys = _dense_keys(encoded.key)
    _warm(label, key, n_keys, order, ready)
    began = time.thread_time()
    lags = label_lags(label, key, n_keys, order, ready)
    last = np.where(np.isnan(lags[:, 3]), lags[:, 0], lags[:, 3]) if n_keys else lags[:, 0].copy()
    unchanged = last if absolute else repeat_rates(label, last, order, ready)
    core_s = time.thread_time() - began
    plain = np.column_stack([encoded.xs, _codes(encoded), *_words(encoded)])
    sparse_from, sparse = _sparse(encoded)
    dense, base = np.ascontiguousarray(np.column_stack([encoded.xs, lags])), np.nan_to_num(last)
    rows = Rows(dense, sparse_from, sparse, base, unchanged, label, order, ready)
    edges = np.linspace(0, n, min(POINTS, n // 10) + 1).astype(np.int64)
    first = max(1, int(np.searchsorted(edges, WARM_UP * n, side="right")) - 1)
    lagged = np.column_stack([plain, lags])
    return Stream(rows, plain, lagged, encoded.time_ms, encoded.known_ms, absolute, edges, first, core_s)


def _warm(label: Floats, key: Ints, n_keys: int, order: Ints, ready: Ints) -> None:
    """Compile before anything is measured."""
    lags = label_lags(label[:1], key[:1], n_keys, order, ready[:1] * 0)
    repeat_rates(label[:1], lags[:, 0].copy(), order, ready[:1] * 0)


def _label(encoded: Encoded, yes_unless: str | None) -> Floats:
    if encoded.n < LEAST_ROWS:
        raise Fatal(
            "too little history to compare policies on", expected=f"at least {LEAST_ROWS} rows", got=f"{encoded.n}",
            next_step="Give a longer file.",
        )  # fmt: skip
    label = encoded.y.astype(np.float64)
    if encoded.task == "multiclass":
        if yes_unless not in encoded.classes:
            raise Fatal(
                "the label has more than two classes, and policies are compared on a yes/no label or a number", where="--label",
                got=", ".join(encoded.classes[:20]), next_step="Name the class that counts as no with --yes-unless CLASS.",
            )  # fmt: skip
        label = np.where(np.isnan(label), np.nan, (label != encoded.classes.index(yes_unless)).astype(np.float64))
    known = label[~np.isnan(label)]
    if known.size == 0 or known.min() == known.max():
        raise Fatal("all labels are the same", where="--label", next_step="There is nothing to predict; check the column.")
    return label


def _dense_keys(key: Ints | None) -> tuple[Ints, int]:
    if key is None:
        return np.zeros(0, np.int64), 0
    known, codes = np.unique(key, return_inverse=True)
    return codes.astype(np.int64), known.size


@kernel
def repeat_rates(label: Floats, last: Floats, order: Ints, ready: Ints) -> Floats:
    """float64[n]: "no change" as a probability: how often yes has followed the last label's value; NaN before the first."""
    counts, rates, done = np.ones((2, 2)), np.full(label.size, np.nan), 0
    for i in range(label.size):
        while done < ready[i]:
            j = order[done]
            if not np.isnan(last[j]):
                counts[int(last[j] >= YES), int(label[j] >= YES)] += 1.0
            done += 1
        if not np.isnan(last[i]):
            row = counts[int(last[i] >= YES)]
            rates[i] = row[1] / (row[0] + row[1])
    return rates


def _codes(encoded: Encoded) -> Floats:
    """float64[n, categories]: each category's values numbered by when they first came."""
    out = np.empty((encoded.n, len(encoded.categories)))
    for j in range(out.shape[1]):
        _, first, codes = np.unique(encoded.cs[:, j], return_index=True, return_inverse=True)
        rank = np.empty(first.size)
        rank[np.argsort(first)] = np.arange(first.size)
        out[:, j] = rank[codes]
    return out


def _words(encoded: Encoded) -> list[Floats]:
    """For trees, a text is the number of its words, and how many fall into each of 32 buckets."""
    words = encoded.cs[:, len(encoded.categories) :]
    if not encoded.texts:
        return []
    counts = np.zeros((encoded.n, _WORD_BUCKETS))
    for j in range(words.shape[1]):
        there = np.flatnonzero(words[:, j] >= 0)
        counts[there, words[there, j] % _WORD_BUCKETS] += 1.0
    return [counts.sum(axis=1), counts]


def _sparse(encoded: Encoded) -> tuple[Ints, Ints]:
    """Each row's hashed weights, and one weight for each number that it lacks."""
    size = 1 << encoded.bits
    lacks = np.flatnonzero(np.isnan(encoded.xs).any(axis=0))
    missing = np.where(np.isnan(encoded.xs[:, lacks]), size - 1 - lacks, -1)
    slots = np.column_stack([np.where(encoded.cs >= 0, encoded.cs - encoded.base, -1), missing])
    there = slots >= 0
    return np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64), slots[there].astype(np.int32)
