"""The compiled learner as one of the event lane: what a learner of one's own has to do, in fifty lines.

It is here to be copied, and for tests that want a quick learner that learns by blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.learning.kernels import learn_rows, score_rows
from headwater.learning.linear import Linear, LinearState
from headwater.learning.protocol import LearnerState, check_block


@dataclass(frozen=True)
class InBlocks:
    """A linear learner that learns `block` labels at a time. Attributes as in `LearnerSpec`."""

    block: int = 8
    bits: int = 6
    loss: Literal["log", "squared"] = "log"

    def linear(self) -> Linear:
        """Who does the work."""
        return Linear(loss=self.loss, bits=self.bits)

    def describe(self) -> dict[str, Any]:
        return {**self.linear().describe(), "learner": "in blocks/1", "block": self.block}

    def start(self, numbers: tuple[str, ...], categories: tuple[str, ...]) -> InBlocksLearner:  # noqa: ARG002 - told by `cs`
        return InBlocksLearner(self, len(numbers))


class InBlocksLearner:
    """A `BlockLearner`."""

    def __init__(self, spec: InBlocks, n_numbers: int) -> None:
        self._loss, self._line = spec.loss, LinearState(spec.linear(), n_numbers, 0)

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        line, out = self._line, np.zeros(xs.shape[0])
        score_rows(line.weights, line.stats, xs, cs + line.base, line.params, out)
        return out

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        check_block(xs, ys, self._loss)
        line = self._line
        at, before = cs + line.base, np.zeros(ys.size)
        learn_rows(line.weights, line.squares, line.stats, line.counts, xs, at, ys, line.params, before)

    def state(self) -> LearnerState:
        return LearnerState(arrays={name: array.copy() for name, array in self._line.arrays().items()})

    def load(self, state: LearnerState) -> None:
        self._line.restore(dict(state.arrays))
