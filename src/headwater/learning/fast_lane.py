"""The fast layer in a running app: `learner=hw.Fast(slow=...)`.

It learns every block of labels by the race of `fast`; what each expert said of a row is kept until its label comes, and judges
it. The slow model's trees come from outside, at a mark in the log: nothing here is fitted. The state is arrays, so that who
answers by it needs no LightGBM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.errors import Fatal
from headwater.learning.fast import EXPERTS, MAX_LEAVES
from headwater.learning.fast_answers import LEAVES, SAID, FastAnswers, Layout
from headwater.learning.fast_kernels import SCALE, VERSION, Weights, learn
from headwater.learning.forest import Forest
from headwater.learning.lightgbm import LightGBM
from headwater.learning.mixture import Mixture, losses
from headwater.learning.protocol import Array, LearnerState, Tally, check_block, check_option, check_shape
from headwater.learning.slow_fit import YES, SlowFit, last_of

_WHERE = "hw.Fast"
_MOST_BITS = 20
_ALL = (*SAID, "bare")  # whose losses are kept; the last is a mixture of the experts that need no slow model
_BARE = [EXPERTS.index(name) for name in ("bold", "careful", "no change")]


@dataclass(frozen=True, eq=False)
class Fast:
    """An online learner that goes on from a slow model's trees, at every block of labels.

        learner=hw.Fast(slow=hw.LightGBM(trees=60, num_leaves=15), update=hw.Planner(budget="5% of a core"))

    Four linear learners over numbers, hashed categories, label lags and the leaves of the slow model's trees race each other;
    beside them stand the slow model itself, "no change" and a stack of all. Whatever fails, the answer loses no more than the
    mixture's bound to the best of them (see `mixture`).

    Args:
        slow: Trees that are refitted beside serving: `trees`, `num_leaves`, `learning_rate`, `min_data_in_leaf` and `window`,
            the most labels that a refit learns from, count; None has the fast layer alone.
        update: When the slow model is refitted: `hw.Planner(...)`, a rule such as `hw.every("1d")`, or a list of them.
            None is `hw.Planner()`.
        loss: "log" for yes/no labels; "squared" for numbers, which are judged by their distance all the same. None is that
            of the slow model, or "log".
        block: Labels that are learnt together.
        bits: Categories share 2^bits weights; each bit more doubles the state (0.5 MB at 13).
        lags: Whether the last label and decayed averages of the labels before, of all and of `baseline_by`, become features.
        decide_every: Labels from one decision point to the next, rounded up to whole blocks.
        lag_names: The features that are label lags; the model says so.

    Raises:
        DeclarationError: An option is out of range.
    """

    slow: LightGBM | None = None
    update: Any = None
    loss: Literal["log", "squared"] = None  # type: ignore[assignment]  # `__post_init__` sets it
    block: int = 32
    bits: int = 13
    lags: bool = True
    decide_every: int = 1_000
    lag_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_option(self.slow is None or isinstance(self.slow, LightGBM), f"{_WHERE}.slow", "hw.LightGBM(...)", self.slow)
        loss = self.loss or (self.slow.loss if self.slow is not None else "log")
        check_option(loss in {"log", "squared"}, f"{_WHERE}.loss", "'log' or 'squared'", self.loss)
        check_option(self.slow is None or self.slow.loss == loss, f"{_WHERE}.slow", f"one with loss={loss!r}", self.slow)
        check_shape(_WHERE, self.block, self.bits, _MOST_BITS)
        every = self.decide_every
        check_option(isinstance(every, int) and every > 0, f"{_WHERE}.decide_every", "a number of labels", every)
        most = MAX_LEAVES if self.slow is None else self.slow.trees * self.slow.num_leaves
        check_option(most <= MAX_LEAVES, f"{_WHERE}.slow", f"at most {MAX_LEAVES} leaves of all trees", most)
        object.__setattr__(self, "loss", loss)

    def describe(self) -> dict[str, Any]:
        """`update` is left out: what it leads to stands in the log as marks, so that another budget needs no other state."""
        slow = None if self.slow is None else {**self.slow.params(), "trees": self.slow.trees}
        return {
            "learner": "fast/1", "loss": self.loss, "block": self.block, "bits": self.bits, "lags": list(self.lag_names),
            "decide_every": self.decide_every, "slow": slow,
        }  # fmt: skip

    @property
    def is_compiled(self) -> bool:
        """It is our own code over arrays: nothing that has to be kept apart."""
        return True

    @property
    def n_memos(self) -> int:
        """What is kept with each question: the answers of all experts, and the one that was given."""
        return len(SAID)

    def lagged(self, names: tuple[str, ...]) -> Fast:
        """The same, told which features are label lags: three of all labels, then three of an entity's if there is one."""
        return replace(self, lag_names=names)

    def slow_fit(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> SlowFit | None:
        """How the slow model is fitted on features of these names; None without one. Words of texts are not for trees."""
        if self.slow is None:
            return None
        slow, d = self.slow, len(numbers)
        kept = tuple(d + j for j, name in enumerate(categories) if not name.startswith("words("))
        return SlowFit(
            slow.loss, slow.trees, slow.num_leaves, slow.learning_rate, slow.min_data_in_leaf, (*range(d), *kept),
            self.bases(numbers),
        )  # fmt: skip

    def bases(self, numbers: tuple[str, ...]) -> tuple[int, ...]:
        """Where a vector has the last label: of the entity, then of all."""
        return tuple(numbers.index(self.lag_names[place]) for place in (3, 0) if place < len(self.lag_names))

    def start(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> FastLearner:
        check_option(len(numbers) < 1 << self.bits, f"{_WHERE}.bits", "more weights than numbers", self.bits)
        return FastLearner(self, numbers, categories)

    def layout(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> Layout:
        """What its answers depend on, for features of these names."""
        fit = self.slow_fit(numbers, categories)
        columns = () if fit is None else fit.columns
        return Layout(self.bits, self.loss != "log", len(numbers), self.bases(numbers), columns)


class FastLearner(FastAnswers):
    """A `BlockLearner` and `Refittable`: weights, the slow model's trees, and what its parts have lost.

    Attributes:
        has_slow: Whether it may be given trees.
        n_learnt: Labels learnt.
        dirty: uint8[2^bits]: flags of the hashed rows that have changed; each who wants to know takes a bit of its own.
        trees_mark: Another number where the trees are others.
    """

    def __init__(self, spec: Fast, numbers: tuple[str, ...], categories: tuple[str, ...]) -> None:
        super().__init__(spec.layout(numbers, categories))
        self._spec, self.has_slow, self.trees_mark = spec, spec.slow is not None, 0
        self.dirty: Bytes = np.zeros(1 << spec.bits, np.uint8)
        loss: Literal["log", "absolute"] = "absolute" if self._absolute else "log"
        self._bare = Mixture(len(_BARE), loss=loss, share=self._race.share, rate=self._race.rate)
        self._losses: Floats = np.zeros((2, len(_ALL)))  # sums, labels
        self._counts: Ints = np.zeros(2, np.int64)  # labels learnt; labels since the last decision point

    @property
    def n_learnt(self) -> int:
        return int(self._counts[0])

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        return self.say_many(xs, cs)[:, -1].copy()

    def say_many(self, xs: Floats, cs: Ints) -> Floats:
        return self._say(xs, cs, self._slots(xs, cs))

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        self._learn(xs, cs, ys, np.empty((ys.size, len(SAID))), is_said=False)

    def learn_judged(self, xs: Floats, cs: Ints, ys: Floats, said: Floats) -> None:
        self._learn(xs, cs, ys, np.ascontiguousarray(said), is_said=True)  # one layout, hence one compiled pass

    def _learn(self, xs: Floats, cs: Ints, ys: Floats, said: Floats, *, is_said: bool) -> None:
        check_block(xs, ys, "log" if not self._absolute else "squared")
        labels = ys if self._absolute else (ys >= YES).astype(np.float64)
        last = last_of(xs, self._layout.bases)
        rates = last if self._absolute else self._rates(last, labels, self._repeats)
        rows = self._rows(xs, self._slots(xs, cs), last, rates, labels)
        learn(rows, self._slow(xs, cs), self._weights, said, is_said)
        self.dirty[rows.sparse] = _CHANGED
        bare = self._bare.learn(said[:, _BARE], labels)
        lost = losses(np.column_stack([said, bare]), labels[:, None], absolute=self._absolute)
        self._losses += [np.nansum(lost, axis=0), (~np.isnan(lost)).sum(axis=0)]
        self._counts += ys.size

    def take_tally(self) -> Tally | None:
        if self._counts[1] < self._spec.decide_every:
            return None
        sums, counts = self._losses
        means = np.divide(sums, counts, out=np.full(sums.size, np.nan), where=counts > 0)
        tally = Tally(int(self._counts[1]), self.n_learnt, dict(zip(_ALL, means.tolist(), strict=True)))
        self._losses[:], self._counts[1] = 0.0, 0
        return tally

    def exchange(self, fitted: Mapping[str, Array]) -> None:
        forest = Forest(**{name: np.ascontiguousarray(fitted[name]) for name in Forest._fields})
        n_columns = len(self._layout.columns)
        if forest.values.size > MAX_LEAVES or (forest.column.size and int(forest.column.max()) >= n_columns):
            raise Fatal(
                "a slow model is not of this learner's features", where=_WHERE,
                expected=f"at most {MAX_LEAVES} leaves over {n_columns} columns",
                got=f"{forest.values.size} leaves over {int(forest.column.max(initial=-1)) + 1} columns",
            )  # fmt: skip
        self._set_forest(forest)
        self.trees_mark += 1
        place, weights = self._weights.place, self._weights
        place[VERSION] += 1.0
        weights.leaf[:] = forest.values / (place[SCALE] if self._absolute else 1.0)

    def head(self) -> dict[str, Array]:
        """With the labels learnt: after each block it is another one, and what was kept beside the one before is outdated."""
        return {**super().head(), "counts": self._counts}

    def touch(self, bits: int) -> None:
        """See `HashedRows.touch`."""
        self.dirty |= np.uint8(bits)

    def hashed(self, slots: Ints) -> Floats:
        """float64[n, members]: rows of the hashed weights."""
        return np.ascontiguousarray(self._weights.sparse[:, slots].T)

    def state(self) -> LearnerState:
        weights = self._weights
        arrays = {name: getattr(weights, name) for name in _KEPT}
        arrays |= {"repeats": self._repeats, "losses": self._losses, "counts": self._counts}
        arrays |= {f"bare.{name}": getattr(self._bare, name) for name in _MIXED}
        if self._forest is not None:
            arrays |= {f"forest.{name}": part for name, part in self._forest._asdict().items()}
            arrays |= {"leaf": weights.leaf[LEAVES], "leaf_squares": weights.leaf_squares[LEAVES]}
        return LearnerState(arrays={name: array.copy() for name, array in arrays.items()})

    def load(self, state: LearnerState) -> None:
        arrays = state.arrays
        self._repeats, self._losses, self._counts = (np.array(arrays[name]) for name in ("repeats", "losses", "counts"))
        self._weights = self._weights._replace(**{name: np.array(arrays[name]) for name in _KEPT})
        for name in _MIXED:
            setattr(self._bare, name, np.array(arrays[f"bare.{name}"]))
        self._forest, self.trees_mark = None, self.trees_mark + 1
        self.dirty[:] = _CHANGED
        if "leaf" in arrays:
            self._set_forest(Forest(**{name: np.array(arrays[f"forest.{name}"]) for name in Forest._fields}))
            # Of the members, one alone has leaves.
            self._weights.leaf[LEAVES], self._weights.leaf_squares[LEAVES] = arrays["leaf"], arrays["leaf_squares"]


_CHANGED = 255  # all bits
_MIXED = ("weights", "potentials", "state")
_KEPT = tuple(name for name in Weights._fields if name not in {"members", "params", "leaf", "leaf_squares"})
