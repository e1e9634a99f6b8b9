"""What a fast layer says of questions: the half of it that only reads.

A learner has the weights of all hashed categories at hand. Who answers from a view has not: of some half a megabyte, a question
needs a few rows. So the state is shown by parts: a small head, which every block of labels changes; the trees, which a refit
changes; the rows of hashed weights, of which a block changes those of its own categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData
from headwater.learning.fast import EXPERTS, Race, weights_of
from headwater.learning.fast_kernels import VERSION, Rows, Slow, answer, repeat
from headwater.learning.forest import Forest, descend
from headwater.learning.protocol import Array
from headwater.learning.slow_fit import last_of

SAID = (*EXPERTS, "served")  # what is kept with a question; the last is the answer itself
LEAVES = EXPERTS.index("leaves")
_HEAD = ("stats", "dense", "stack", "mixed", "place")  # of the weights, what an answer needs beside hashed rows and leaves
_NONE = np.zeros(0, np.int64)

LookUp = Callable[[Ints], Floats]
"""The rows float64[n, members] of some places of the hashed weights."""


class Layout(NamedTuple):
    """What a declaration says of a fast layer over features of some names.

    Attributes:
        bits: The hashed categories share 2^bits weights.
        absolute: Whether labels are numbers.
        d: Numbers of a vector.
        bases: Where a vector has the last label: of the entity, then of all.
        columns: Positions, in a vector, of what trees split on.
    """

    bits: int
    absolute: bool
    d: int
    bases: tuple[int, ...]
    columns: tuple[int, ...]


class FastAnswers:
    """Weights and trees of a fast layer, and its answers.

    Args:
        layout: Of the declaration.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout, self._absolute, self._d = layout, layout.absolute, layout.d
        self._race = Race(bits=layout.bits)
        self._weights = weights_of(self._race, layout.d, absolute=layout.absolute, leaves=1)
        self._forest: Forest | None = None
        self._repeats: Floats = np.ones((2, 2))

    def _say(self, xs: Floats, cs: Ints, slots: Ints) -> Floats:
        """float64[n, experts + 1] answers; `slots` are those of the rows."""
        n, last = xs.shape[0], last_of(xs, self._layout.bases)
        said = np.empty((n, len(SAID)))
        if n:
            none = np.full(n, np.nan)
            rates = last if self._absolute else self._rates(last, none, self._repeats.copy())
            answer(self._rows(xs, slots, last, rates, none), self._slow(xs, cs), self._weights, said)
        return said

    @staticmethod
    def _rates(last: Floats, labels: Floats, counts: Floats) -> Floats:
        rates = np.empty(last.size)
        repeat(last, labels, counts, rates)
        return rates

    def _slots(self, xs: Floats, cs: Ints) -> Ints:
        """int64[n, k or k + d]: places in the hashed weights, -1 for none.

        A category has its weight, and each number that is missing has one too, from the far end.
        """
        missing = np.isnan(xs)
        if not missing.any():
            return cs
        top = (1 << self._layout.bits) - 1
        return np.hstack([cs, np.where(missing, top - np.arange(self._d), -1)])

    @staticmethod
    def _rows(xs: Floats, slots: Ints, last: Floats, unchanged: Floats, labels: Floats) -> Rows:
        """The rows of a block."""
        there = slots >= 0
        sparse_from = np.zeros(xs.shape[0] + 1, np.int64)
        np.cumsum(there.sum(axis=1), out=sparse_from[1:])
        return Rows(
            np.ascontiguousarray(xs), sparse_from, slots[there].astype(np.int32), np.nan_to_num(last), unchanged, labels,
            _NONE, _NONE,
        )  # fmt: skip

    def _slow(self, xs: Floats, cs: Ints) -> Slow:
        """What the slow model says of rows."""
        n, forest = xs.shape[0], self._forest
        if forest is None:
            return Slow(np.full(n, -1, np.int64), np.zeros(n), np.zeros((n, 0), np.int16))
        numbers = np.ascontiguousarray(np.hstack([xs, cs])[:, list(self._layout.columns)])
        leaves, margins = np.zeros((n, forest.roots.size), np.int16), np.zeros(n)
        descend(forest, numbers, np.arange(n), leaves, margins)
        return Slow(np.full(n, int(self._weights.place[VERSION]), np.int64), margins, leaves)

    def _set_forest(self, forest: Forest) -> None:
        """Make room for the leaves of another forest."""
        shape = (len(self._weights.members), forest.values.size)
        self._forest = forest
        self._weights = self._weights._replace(leaf=np.zeros(shape), leaf_squares=np.full(shape, self._race.leaf_start))

    def head(self) -> dict[str, Array]:
        """What every block of labels changes, but for the rows of hashed weights."""
        parts: dict[str, Array] = {name: getattr(self._weights, name) for name in _HEAD}
        parts["repeats"] = self._repeats
        if self._forest is not None:
            parts["leaf"] = self._weights.leaf[LEAVES]
        return parts

    def trees(self) -> dict[str, Array] | None:
        """What a refit changes; None before the first."""
        return None if self._forest is None else dict(self._forest._asdict())


class ShownAnswers(FastAnswers):
    """Answers from the parts that are shown; the bits are those of the learner that showed them.

    Hashed rows are looked up when they are first asked for, and kept until the next head: they change with it, never alone.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._weights = self._weights._replace(sparse_squares=np.zeros((0, 0)))  # only who learns needs them
        self._is_here = np.zeros(1 << layout.bits, np.bool_)

    def take_trees(self, parts: Mapping[str, Array]) -> None:
        """Other trees; their head has to follow."""
        self._set_forest(Forest(**{name: np.array(parts[name]) for name in Forest._fields}))

    def take_head(self, parts: Mapping[str, Array]) -> None:
        """The newest head.

        Raises:
            CorruptData: It is of other trees.
        """
        self._weights = self._weights._replace(**{name: np.array(parts[name]) for name in _HEAD})
        self._repeats = np.array(parts["repeats"])
        self._is_here[:] = False
        n_leaves = 0 if self._forest is None else self._forest.values.size
        if n_leaves != (parts["leaf"].size if "leaf" in parts else 0):
            raise CorruptData(
                "a fast layer's head and trees do not belong together", where="view", expected=f"{n_leaves} leaves"
            )
        if n_leaves:
            self._weights.leaf[LEAVES] = parts["leaf"]

    def score_many(self, xs: Floats, cs: Ints, look_up: LookUp) -> Floats:
        """float64[n] scores; the hashed rows that they need are looked up."""
        slots = self._slots(xs, cs)
        asked = slots[slots >= 0]
        new = asked[~self._is_here[asked]]
        if new.size:
            new = np.unique(new)
            self._weights.sparse[:, new] = look_up(new).T
            self._is_here[new] = True
        return self._say(xs, cs, slots)[:, -1].copy()
