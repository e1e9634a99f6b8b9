"""Several classes in an app: what a user declares, and the line that learns them.

A class has a number from its first label on: the log decides, not a list that somebody would have to keep. Number 0 is
`OTHER`, which all classes share that come after the declared number is used up; it is learnt and judged like any other.
Inside, a class is known by a stand-in for its value (`expressions.STANDS_FOR`), since the walk over a batch knows only
numbers; its name is taken from the batch in which it first occurs, and belongs to the state.
"""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.core.errors import DeclarationError
from headwater.learning.kernels import LEARNT
from headwater.learning.linear import Linear, base_of
from headwater.learning.softmax import MOST_WEIGHTS

OTHER = "(other)"
MOST_CLASSES = 200
MOST_NAME_BYTES = 256  # of a class: a longer text is no name, and is refused
_PUBLISHED, _UNSAVED = 1, 2  # bits of `dirty`, as in `HashedRows`
BEYOND = 3  # of a line's counts: labels of classes beyond the declared number


@dataclass(frozen=True, slots=True)
class Softmax:
    """A softmax regression that learns at every label, and meets classes as they come.

    Attributes:
        classes: How many classes have weights of their own, in order of their first labels; later ones are "(other)".
        bits: The hashed categories share 2^bits weights, of each class; classes * 2^bits may be 2^22 at most.
        optimizer, eta0, forget, alpha, power, intercept_eta, l1, l2, clip_gradient, clip_z, standardize: As `Linear` has them.
    """

    classes: int = 32
    optimizer: Literal["adagrad", "sgd"] = "adagrad"
    eta0: float = 0.05
    forget: float = 1.0
    alpha: float = 0.0
    power: float = 1.0
    intercept_eta: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    clip_gradient: float = 1e12
    clip_z: float = 8.0
    bits: int = 14
    standardize: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.classes, int) or not 2 <= self.classes <= MOST_CLASSES:  # noqa: PLR2004 - one class is no question
            raise _out_of_range("classes", f"an integer 2 .. {MOST_CLASSES}", self.classes)
        if self.optimizer not in ("adagrad", "sgd"):
            raise _out_of_range("optimizer", "'adagrad' or 'sgd'", repr(self.optimizer))
        try:
            self.linear()
        except DeclarationError as error:
            where = error.where.replace("hw.Linear", "hw.Softmax")
            raise DeclarationError(error.what, where=where, expected=error.expected, got=error.got) from None
        if self.classes << self.bits > MOST_WEIGHTS:
            raise _out_of_range("bits", f"classes * 2^bits <= {MOST_WEIGHTS:,}", f"{self.classes} * 2^{self.bits}")

    @property
    def loss(self) -> str:
        """A label names one of several classes."""
        return "classes"

    @property
    def width(self) -> int:
        """Columns of weights: the declared classes, and the others."""
        return 1 + self.classes

    def linear(self) -> Linear:
        """The same steps as a `Linear`'s, whose parameters the kernels take."""
        steps = asdict(self)
        del steps["classes"]
        return Linear(loss="log", **steps)

    def describe(self) -> dict[str, Any]:
        """The hyper-parameters, for recipes."""
        return {"learner": "softmax/1", **asdict(self)}

    def with_(self, **changes: Any) -> Softmax:
        """A copy with some hyper-parameters changed."""
        return replace(self, **changes)


def _out_of_range(name: str, expected: str, got: object) -> DeclarationError:
    return DeclarationError("a hyper-parameter is out of range", where=f"hw.Softmax.{name}", expected=expected, got=str(got))


class SoftmaxLine:
    """The weights of one line over its classes, and of its twins; it has the face of `LinearState`.

    Attributes:
        weights, squares: float64[rows, classes]; rows as in `LinearState`.
        stats: float64[4, d].
        met: int64[classes]: labels learnt of each class.
        keys: float64[classes]: the stand-in of each class's value; NaN where there is none yet, and for the others.
        known: int64[1]: classes that have a number, the others not counted.
        names: Of the known classes, in order.
        twins: float64[t, rows, classes]: the weights that each twin was last given.
        twin_stats, twin_met: float64[t, 4, d], int64[t, classes].
        counts: int64[4]: examples learnt, refused, unused, labels of classes beyond the declared number.
        dirty: uint8[rows], flags of changed rows as in `Pending`; bit 0 is set for hashed rows only.
        twin_dirty: uint8[t * rows].
    """

    block = n_behind = 0
    given: Floats = np.zeros((0, 0))

    def __init__(self, spec: Softmax, n_numbers: int, n_twins: int) -> None:
        self.spec, self.n_numbers, self.bits = spec, n_numbers, spec.bits
        self.base, k = base_of(n_numbers), spec.width
        n = self.base + (1 << spec.bits)
        self.params = spec.linear().params()
        self.weights: Floats = np.zeros((n, k))
        self.squares: Floats = np.zeros((n, k))
        self.stats: Floats = np.zeros((4, n_numbers))
        self.met: Ints = np.zeros(k, np.int64)
        self.keys: Floats = np.full(k, np.nan)
        self.known: Ints = np.zeros(1, np.int64)
        self.names: list[str] = []
        self.twins: Floats = np.zeros((n_twins, n, k))
        self.twin_stats: Floats = np.zeros((n_twins, 4, n_numbers))
        self.twin_met: Ints = np.zeros((n_twins, k), np.int64)
        self.counts: Ints = np.zeros(4, np.int64)
        self.dirty: Bytes = np.full(
            n, _UNSAVED, np.uint8
        )  # a first checkpoint holds all rows; a view lacks those that are zero
        self.twin_dirty: Bytes = np.full(n_twins * n, _UNSAVED, np.uint8)

    def open(self, xs: Floats, cs: Ints, scored: Ints, labelling: Ints) -> None:
        """A batch begins."""

    def look_ahead(self, at: int) -> None:
        """The loop goes on from row `at`."""

    def take(self, judged: Floats, width: int) -> None:
        """The loop has stopped."""

    def publish(self, twin: int) -> None:
        """Give a twin the present weights."""
        n = self.dirty.size
        changed = (self.twins[twin] != self.weights).any(axis=1)
        self.twin_dirty[twin * n : (twin + 1) * n][changed] = _UNSAVED
        self.twins[twin], self.twin_stats[twin], self.twin_met[twin] = self.weights, self.stats, self.met

    @property
    def mark(self) -> int:
        """Another number where something was learnt or refused."""
        return int(self.counts.sum())

    @property
    def n_learnt(self) -> int:
        return int(self.counts[LEARNT])

    def touch(self, bits: int) -> None:
        """See `HashedRows.touch`; other rows are published in one block."""
        self.dirty[: self.base] |= bits & ~_PUBLISHED
        self.dirty[self.base :] |= bits

    def hashed(self, rows: Ints) -> Floats:
        """float64[n, classes]: rows of the weights."""
        return self.weights[rows]

    def published(self) -> Floats:
        """What a view shows of the line beside its hashed rows; see `Published`."""
        names = _packed(self.names)
        head = np.array([len(names), self.known[0]], np.float64)
        body = np.frombuffer(names + b" " * (-len(names) % 8), np.float64)
        dense = self.weights[: self.base].reshape(-1)
        return np.concatenate([head, self.stats.reshape(-1), self.met.astype(np.float64), dense, body])

    def snapshot(self) -> dict[str, Any]:
        """What scoring needs, as copies: of hashed rows only those that are not zero, of classes only those that are known."""
        active = 1 + int(self.known[0])
        hashed = self.weights[self.base :, :active]
        at = np.flatnonzero(hashed.any(axis=1))
        return {
            "dense": self.weights[: self.base, :active].copy(), "hashed_at": at.astype(np.int32), "hashed": hashed[at],
            "stats": self.stats.copy(), "met": self.met[:active].copy(), "names": _as_array(self.names),
        }  # fmt: skip

    def rows(self) -> list[tuple[dict[str, Any], Bytes]]:
        """The arrays that are saved by row, with the flags of the rows that changed."""
        twins = {"twins": self.twins.reshape(-1, self.spec.width)}
        lines: list[tuple[dict[str, Any], Bytes]] = [({"weights": self.weights, "squares": self.squares}, self.dirty)]
        return [*lines, (twins, self.twin_dirty)] if self.twin_dirty.size else lines

    def small_arrays(self) -> dict[str, Any]:
        """The others."""
        return {
            "stats": self.stats, "met": self.met, "keys": self.keys, "known": self.known, "names": _as_array(self.names),
            "twin_stats": self.twin_stats, "twin_met": self.twin_met, "counts": self.counts,
        }  # fmt: skip

    def arrays(self) -> dict[str, Any]:
        """What has to be kept; names are part of the format."""
        large = {name: array for arrays, _ in self.rows() for name, array in arrays.items()}
        return {**self.small_arrays(), **large}

    def restore(self, arrays: dict[str, Any]) -> None:
        for name, mine in self.arrays().items():
            if name != "names":
                mine[...] = arrays[name]
        self.names = list(_names(arrays["names"].tobytes()))
        self.twin_dirty[:] = _UNSAVED
        self.touch(_PUBLISHED | _UNSAVED)


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """A line as a view shows it, all but its hashed rows.

    Attributes:
        names: Of the classes that have a number, `OTHER` first.
        stats: float64[4, d].
        met: int64[classes].
        dense: float64[1 + 2 d, classes].
    """

    names: tuple[str, ...]
    stats: Floats
    met: Ints
    dense: Floats

    @classmethod
    def of(cls, block: Floats, d: int, width: int) -> Published:
        """Read what `SoftmaxLine.published` wrote for d numbers and `width` classes."""
        ends = np.cumsum([2, 4 * d, width, base_of(d) * width])
        stats, met, dense = (block[ends[i] : ends[i + 1]] for i in range(3))
        names = _names(block[ends[3] :].tobytes()[: int(block[0])])
        # Copies: a view's memory is read-only, and kernels are not compiled for that.
        return cls((OTHER, *names), stats.reshape(4, d).copy(), met.astype(np.int64), dense.reshape(-1, width).copy())


def _packed(names: list[str]) -> bytes:
    return json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode()


def _as_array(names: list[str]) -> Bytes:
    return np.frombuffer(_packed(names), np.uint8)


@functools.lru_cache(64)
def _names(packed: bytes) -> tuple[str, ...]:
    return tuple(json.loads(packed))


def names_of(array: Bytes) -> tuple[str, ...]:
    """The names in a version's array `names`, which leaves out `OTHER`."""
    return _names(array.tobytes())
