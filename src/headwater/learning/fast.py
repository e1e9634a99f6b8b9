"""The fast layer: what learns between two fits of the slow model, at every label.

It races four linear members: a corrector of the slow model that forgets; one that goes on from the leaves of the slow
model's trees; and, without the trees, a bold and a careful one. Beside them stand the slow model itself, "no change", and a
stack of all; a `mixture` fuses them. Whatever fails, the answer loses no more than the mixture's bound to the best of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import DeclarationError
from headwater.learning.fast_kernels import POINTER, SCALE, VERSION, Rows, Slow, Weights, run
from headwater.learning.forest import Forest, descend

MEMBERS = ("corrector", "leaves", "bold", "careful")
EXPERTS = (*MEMBERS, "slow", "no change", "stack")
MAX_LEAVES = 120 * 63  # of all trees of a slow model


@dataclass(frozen=True, slots=True)
class Race:
    """The race's settings; the defaults were chosen on five public streams: see docs/update-economy.md.

    Attributes:
        eta, careful_eta: Steps of AdaGrad, of three members and of the careful one.
        forget: How much of its squared gradients the corrector keeps at each label.
        leaf_eta: Step of the leaves' weights.
        start: What squared gradients start from: how much the first steps are held back.
        leaf_start: The same for leaves.
        stack_eta: Step of the stack.
        share, rate: Of the mixture.
        floor: A member does not learn a label that it missed by less: probability, or share of the usual change.
        clip: Greatest size of a standardised number.
        bits: The hashed categories share 2^bits weights.
    """

    eta: float = 0.3
    careful_eta: float = 0.05
    forget: float = 0.99
    leaf_eta: float = 0.3
    start: float = 30.0
    leaf_start: float = 60.0
    stack_eta: float = 0.1
    share: float = 0.001
    rate: float = 0.3
    floor: float = 0.0
    clip: float = 8.0
    bits: int = 16

    def members(self) -> Floats:
        """float64[members, 4]: step, forgetting, whether it sees the slow model's margin, and its leaves."""
        return np.array([
            [self.eta, self.forget, 1.0, 0.0], [self.eta, 1.0, 0.0, 1.0],
            [self.eta, 1.0, 0.0, 0.0], [self.careful_eta, 1.0, 0.0, 0.0],
        ])  # fmt: skip


class FastLayer:
    """A fast layer that goes through the rows of one stream in order.

    Args:
        spec: The race's settings.
        rows: The stream; see `fast_kernels.Rows`.
        numbers: float64[n, t], what the slow model's trees split on.
        absolute: Whether labels are numbers, judged by their distance.
        trees: Most trees that a slow model will have.

    Attributes:
        answers: float64[n, K], each expert's; NaN where it slept. `EXPERTS` names them.
        fused: float64[n], what was served.
    """

    def __init__(self, spec: Race, rows: Rows, numbers: Floats, *, absolute: bool, trees: int) -> None:
        rows = Rows._make(np.ascontiguousarray(array) for array in rows)  # one layout, hence one compiled pass
        self.spec, self.rows, self.numbers, self.absolute = spec, rows, np.ascontiguousarray(numbers), absolute
        n, self.forest = rows.label.size, None
        if rows.sparse.size and not 0 <= rows.sparse.min() <= rows.sparse.max() < 1 << spec.bits:
            raise DeclarationError(
                "a hashed category lies outside the weights", where="FastLayer", expected=f"bits={spec.bits}"
            )
        self.answers: Floats = np.full((n, len(EXPERTS)), np.nan)
        self.fused: Floats = np.full(n, np.nan)
        self.most_trees = trees
        self.slow = Slow(np.full(n, -1, np.int64), np.zeros(n), np.zeros((n, trees), np.int16))
        self.weights = weights_of(spec, rows.dense.shape[1], absolute=absolute)

    forest: Forest | None

    @property
    def version(self) -> int:
        """How often the slow model has been exchanged."""
        return int(self.weights.place[VERSION])

    @property
    def n_learnt(self) -> int:
        """Labels that have been learnt."""
        return int(self.weights.place[POINTER])

    def exchange(self, forest: Forest, at: int) -> None:
        """Serve another slow model from row `at` on: leaves start at the trees' own values.

        Rows that still wait for their label are looked up in the new trees, so that their labels are learnt there.

        Raises:
            DeclarationError: It has more trees or leaves than there is room for.
        """
        if forest.roots.size > self.most_trees or forest.values.size > MAX_LEAVES:
            raise DeclarationError(
                "the slow model is too large for its fast layer", where="FastLayer.exchange",
                expected=f"at most {self.most_trees} trees and {MAX_LEAVES} leaves",
                got=f"{forest.roots.size} trees and {forest.values.size} leaves",
            )  # fmt: skip
        self.forest = forest
        self.weights.place[VERSION] += 1.0
        if forest.roots.size != self.slow.leaves.shape[1]:  # a tree that is not there must not count as leaf 0
            self.slow = self.slow._replace(leaves=np.zeros((self.answers.shape[0], forest.roots.size), np.int16))
        unit = self.weights.place[SCALE] if self.absolute else 1.0
        self.weights.leaf[:, : forest.values.size] = forest.values / unit
        self.weights.leaf_squares[:] = self.spec.leaf_start
        waiting = self.rows.order[self.n_learnt :]
        self._look_up(np.sort(waiting[waiting < at]))

    def rest(self) -> None:
        """Answer without the slow model from now on, until another one is exchanged for it."""
        self.forest = None
        self.weights.place[VERSION] += 1.0

    def reset(self) -> None:
        """Forget everything that was learnt, the slow model too; labels that were learnt are not learnt again."""
        before = self.weights.place
        self.weights = weights_of(self.spec, self.rows.dense.shape[1], absolute=self.absolute)
        self.weights.place[[POINTER, SCALE]] = before[[POINTER, SCALE]]
        self.weights.place[VERSION] = before[VERSION]
        self.rest()

    def advance(self, first: int, last: int) -> None:
        """Answer rows first .. last - 1, learning every label that becomes known on the way."""
        if self.forest is not None:
            self._look_up(np.arange(first, last))
        run(first, last, self.rows, self.slow, self.weights, self.answers, self.fused)

    def _look_up(self, rows: Ints) -> None:
        assert self.forest is not None
        descend(self.forest, self.numbers, rows, self.slow.leaves, self.slow.margins)
        self.slow.version[rows] = self.version


def weights_of(spec: Race, d: int, *, absolute: bool, leaves: int = MAX_LEAVES) -> Weights:
    """Weights that have learnt nothing, with room for so many leaves."""
    members = spec.members()
    m, size, k = len(members), 1 << spec.bits, len(EXPERTS)
    dense, stack = np.zeros((m, 2 + d)), np.zeros((2, k))
    dense[:, 1] = members[:, 2]  # a corrector starts from what the slow model says
    stack[0, :m] = 1.0 / m
    stack[1] = 1.0
    return Weights(
        members, np.array([absolute, spec.stack_eta, spec.floor, spec.clip, spec.leaf_eta], np.float64), np.zeros((3, d)),
        dense, np.full((m, 2 + d), spec.start), np.zeros((m, size)), np.full((m, size), spec.start),
        np.zeros((m, leaves)), np.full((m, leaves), spec.leaf_start), stack, np.full(k, 1.0 / k), np.zeros(k),
        np.array([spec.share, 0.0, 0.0, 0.0, spec.rate]), np.array([0.0, 0.0, 1.0, 0.0, -1.0]),
    )  # fmt: skip
