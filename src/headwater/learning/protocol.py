"""Learners that are no compiled loop: what a user declares, and what then learns.

The compiled line learns at each label. Others learn a block of labels at a time, here called the event lane: River,
scikit-learn, LightGBM, or a class of your own. A block is cut at a declared number of labels, never where a batch happens
to end, and a question is scored by what stood after the last whole block. So any split of the log and any restart give the
same bits, as long as `learn_block` is a function of the state and the block, and `score_many` of the state and each row
alone. `headwater.testing.LearnerConformance` checks just that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.errors import DeclarationError, Fatal

Array = npt.NDArray[Any]
HUGE = 1e100  # a greater number is no measurement
_MOST_LABELS = 1_000_000  # of a block: they are kept, and saved, until it is full


@dataclass(frozen=True, slots=True, eq=False)
class LearnerState:
    """Everything that a learner has to keep: what `load` needs to go on with the same bits.

    Attributes:
        header: What JSON can hold, without NaN.
        arrays: Arrays of numbers or bytes, by name.
    """

    header: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class BlockLearner(Protocol):
    """A learner as it runs. One thread at a time calls it."""

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        """Score each row by itself: float64[n], a probability for loss "log", else a number. The state stays as it is.

        Args:
            xs: float64[n, d], the numbers; NaN where missing.
            cs: int64[n, k], each category's hash, 0 .. 2^bits - 1; a value that was never learnt has a hash too.
        """

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        """Learn the rows of one block, in order; `ys` float64[n] are labels.

        Raises:
            Fatal: A label is none: not finite, or not within 0 .. 1 for loss "log". Nothing is learnt.
        """

    def state(self) -> LearnerState:
        """What `load` needs."""

    def load(self, state: LearnerState) -> None:
        """Go on from a state; equal states give equal scores, and after equal blocks equal states."""


@runtime_checkable
class LearnerSpec(Protocol):
    """A learner as it is declared: `hw.Model(..., learner=spec)`.

    Attributes:
        loss: "log" for yes/no labels, "squared" for numbers.
        block: Labels that are learnt together.
        bits: Categories are hashed to 0 .. 2^bits - 1; at most 52.
    """

    @property
    def loss(self) -> Literal["log", "squared"]: ...

    @property
    def block(self) -> int: ...

    @property
    def bits(self) -> int: ...

    def describe(self) -> dict[str, Any]:
        """What the learner's arithmetic depends on, as plain data: equal descriptions, equal bits."""

    def start(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> BlockLearner:
        """A learner that has learnt nothing, for features of these names; equal each time."""


class HashedRows(Protocol):
    """Hashed weights that are published by row.

    Attributes:
        dirty: uint8[rows], flags of rows that have changed; bit 0 is for who publishes, bit 1 for who saves.
        n_learnt: Labels learnt: before the first, all rows are zero.
    """

    @property
    def dirty(self) -> Bytes: ...

    @property
    def n_learnt(self) -> int: ...

    def touch(self, bits: int) -> None:
        """Have every row published, or saved, anew."""

    def hashed(self, rows: Ints) -> Floats:
        """float64[n, width]: those rows."""


def check_block(xs: Floats, ys: Floats, loss: str) -> None:
    """Refuse a block with a label or number that cannot be learnt. The fold refuses and counts them before a block has any.

    Raises:
        Fatal: As `BlockLearner.learn_block`.
    """
    fits = (ys >= 0) & (ys <= 1) if loss == "log" else np.abs(ys) <= HUGE
    if not fits.all():
        expected = "0 .. 1" if loss == "log" else "numbers up to 1e100"
        raise Fatal("a block has a label that is none", where="learn_block", expected=expected, got=str(ys[~fits][0]))
    if (np.abs(xs) > HUGE).any():
        raise Fatal("a block has a number that is no measurement", where="learn_block", expected="numbers up to 1e100, or NaN")


def check_option(ok: bool, where: str, expected: str, got: object) -> None:
    """Refuse an option of a declaration."""
    if not ok:
        raise DeclarationError("an option is out of range", where=where, expected=expected, got=repr(got))


def check_spec(spec: LearnerSpec) -> None:
    """Refuse a declaration with a loss, block or number of bits that no learner can have."""
    where = type(spec).__name__
    check_option(spec.loss in {"log", "squared"}, f"{where}.loss", "'log' or 'squared'", spec.loss)
    check_shape(where, spec.block, spec.bits, 52)


def check_shape(where: str, block: object, bits: object, most: int) -> None:
    """Refuse a block or a number of bits that no learner can have."""
    check_option(
        isinstance(block, int) and 1 <= block <= _MOST_LABELS, f"{where}.block", f"an integer 1 .. {_MOST_LABELS:,}", block
    )
    check_option(isinstance(bits, int) and 1 <= bits <= most, f"{where}.bits", f"an integer 1 .. {most}", bits)


def library(module: str, extra: str, where: str) -> Any:
    """An optional library.

    Raises:
        DeclarationError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DeclarationError(
            f"this learner needs a library that is not installed ({error})", where=where, expected=module.partition(".")[0],
            next_step=f"Install headwater[{extra}].",
        ) from error  # fmt: skip


def versioned(*distributions: str) -> str:
    """Names and versions of the libraries that a learner's bits depend on."""
    return ", ".join(f"{name} {version(name)}" for name in distributions)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a learner's parts have lost since the last decision point.

    Attributes:
        n: Labels since then.
        n_known: Labels learnt in all.
        losses: Part -> mean loss on them; NaN where it had nothing to say.
    """

    n: int
    n_known: int
    losses: Mapping[str, float]


@runtime_checkable
class Remembering(Protocol):
    """A block learner of parts, which are judged by what each said when a question was asked, as the whole is.

    Labels come late, and neighbours' labels come together: judged by what it would say now, the part that follows the newest
    labels most eagerly would look best. Its declaration has `n_memos`, how many numbers are kept with each question.
    """

    def say_many(self, xs: Floats, cs: Ints) -> Floats:
        """float64[n, n_memos]: what is kept of each row, by itself; the last is its score. The state stays as it is."""

    def learn_judged(self, xs: Floats, cs: Ints, ys: Floats, said: Floats) -> None:
        """`learn_block`, given what was kept, float64[n, n_memos]."""


def n_memos(spec: object) -> int:
    """How many numbers are kept with each question for a learner of a declaration."""
    return int(getattr(spec, "n_memos", 0))


@runtime_checkable
class Refittable(Protocol):
    """A block learner with a slow part, which is fitted outside of the fold and exchanged at a recorded place.

    Attributes:
        has_slow: Whether this one has such a part, and decision points.
    """

    has_slow: bool

    def take_tally(self) -> Tally | None:
        """At a decision point: what was lost since the one before. None where none is due; asked after each block."""

    def exchange(self, fitted: Mapping[str, Array]) -> None:
        """Go on with another slow part.

        Raises:
            Fatal: It is not of this learner's features.
        """
