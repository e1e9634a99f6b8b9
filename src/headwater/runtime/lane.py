"""The event lane in the fold: a learner that is no compiled loop, with the face of `LinearState`.

The compiled walk stays the only one: it asks for scores before it comes to a question, and stops when a block of labels is
full. What is scored ahead is what no label can change before: the questions up to the row that may fill the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal, HeadwaterError
from headwater.evaluation.prequential import J_LABEL, WAITING
from headwater.learning.kernels import LEARNT, N_PARAMS, SQUARED
from headwater.learning.protocol import HUGE, BlockLearner, LearnerSpec, LearnerState
from headwater.registry.artifact import canonical, decode, encode


class LaneState:
    """A line in the event lane, and its twins.

    Attributes:
        counts: int64[4]: examples learnt, refused, scores that were no number, examples that wait in the block.
        waiting: float64[n, 1 + d + k]: label, numbers and categories of the examples of the block that is not full.
        n_behind: Numbers and categories that the walk hands on behind a judged row.
        given: float64[n, 1 + twins]: scores of the batch's questions that come next.
    """

    base = 0  # categories are hashes, not rows of weights

    def __init__(self, spec: LearnerSpec, numbers: tuple[str, ...], categories: tuple[str, ...], n_twins: int) -> None:
        self._spec, self.block = spec, spec.block
        self._lines: list[BlockLearner] = [spec.start(numbers, categories) for _ in range(1 + n_twins)]
        self._packed: list[bytes | None] = [None] * (1 + n_twins)
        self._d, self.counts = len(numbers), np.zeros(4, np.int64)
        self.n_behind = len(numbers) + len(categories)
        self.waiting: Floats = np.zeros((0, 1 + self.n_behind))
        self.given: Floats = np.zeros((0, 1 + n_twins))
        self.params = np.zeros(N_PARAMS)
        self.params[SQUARED] = spec.loss != "log"
        # The compiled learner's arrays, which the walk takes and does not look at.
        self.weights, self.squares, self.stats = np.zeros(0), np.zeros(0), np.zeros((4, 0))
        self.twins, self.twin_stats = np.zeros((n_twins, 0)), np.zeros((n_twins, 4, 0))

    def open(self, xs: Floats, cs: Ints, scored: Ints, labelling: Ints) -> None:
        """A batch begins: vectors of its rows, places of its questions and labels."""
        self._xs, self._cs, self._scored, self._labelling = xs, cs, scored, labelling
        self.given = np.full((xs.shape[0], len(self._lines)), np.nan)
        self._n_taken = 0

    def look_ahead(self, at: int) -> None:
        """Score the questions from row `at` up to the row that may fill the block; what was scored beyond may be outdated."""
        self.given[at:] = np.nan
        missing = self.block - int(self.counts[WAITING])
        first = int(np.searchsorted(self._labelling, at))
        last = first + missing - 1
        stop = int(self._labelling[last]) if last < self._labelling.size else self.given.shape[0]
        begin, end = np.searchsorted(self._scored, [at, stop + 1])
        rows = self._scored[begin:end]
        if rows.size:
            for i in range(len(self._lines)):
                self.given[rows, i] = self.scores(self._xs[rows], self._cs[rows], i)

    def scores(self, xs: Floats, cs: Ints, line_number: int = 0) -> Floats:
        """A line's scores, inf where one is no number: NaN means that there is none yet."""
        line = self._lines[line_number]
        try:
            scores = np.asarray(line.score_many(xs, cs), np.float64)
        except HeadwaterError:
            raise
        except Exception as error:
            raise _broken("score", self._spec, error) from error
        if scores.shape != (xs.shape[0],):
            raise Fatal("a learner gave other scores than it was asked for", where=type(line).__name__,
                        expected=f"shape {(xs.shape[0],)}", got=str(scores.shape))  # fmt: skip
        return np.where(np.isnan(scores), np.inf, scores)

    def take(self, judged: Floats, width: int) -> None:
        """The walk has stopped: learn the blocks that are full of what it judged since the batch began.

        Args:
            judged: float64[n, width + d + k]; behind a verdict stands the vector that it is about.
            width: Columns of the verdict.
        """
        new = judged[self._n_taken :]
        self._n_taken = judged.shape[0]
        if new.shape[0]:
            examples = np.column_stack([new[:, J_LABEL], new[:, width:]])
            self.waiting = np.concatenate([self.waiting, examples[~(np.abs(examples) > HUGE).any(axis=1)]])
        while self.counts[WAITING] >= self.block:
            block, self.waiting = self.waiting[: self.block], self.waiting[self.block :]
            self._learn(block)
            self.counts[WAITING] -= self.block
            self.counts[LEARNT] += self.block

    def _learn(self, block: Floats) -> None:
        ys, xs, cs = block[:, 0].copy(), block[:, 1 : 1 + self._d].copy(), block[:, 1 + self._d :].astype(np.int64)
        self._packed[0] = None
        try:
            self._lines[0].learn_block(xs, cs, ys)
        except HeadwaterError:
            raise
        except Exception as error:
            raise _broken("learn", self._spec, error) from error

    def publish(self, twin: int) -> None:
        """Give a twin the present state."""
        self._lines[1 + twin].load(self._lines[0].state())
        self._packed[1 + twin] = None

    @property
    def mark(self) -> int:
        """Another number where something was learnt."""
        return int(self.counts[LEARNT])

    def packed(self) -> bytes:
        """The line's whole state, as a view shows it."""
        return self._pack(0)

    def states(self) -> dict[str, bytes]:
        """What a learner will be given to load: array -> bytes, as in `arrays`."""
        return {f"line.{i}": self._pack(i) for i in range(len(self._lines))}

    def snapshot(self) -> dict[str, Any]:
        """The arrays of a version; the header is one of them."""
        state = self._lines[0].state()
        header = np.frombuffer(canonical(dict(state.header)).encode(), np.uint8)
        return {"header": header, **{f"learner.{name}": np.array(array) for name, array in state.arrays.items()}}

    def _pack(self, line: int) -> bytes:
        """A line's whole state as bytes; equal states, equal bytes."""
        packed = self._packed[line]
        if packed is None:
            state = self._lines[line].state()
            packed = self._packed[line] = encode(state.arrays, state.header)
        return packed

    def arrays(self) -> dict[str, Any]:
        """What has to be kept; names are part of the format."""
        lines = {name: np.frombuffer(packed, np.uint8) for name, packed in self.states().items()}
        return {"counts": self.counts, "waiting": self.waiting, **lines}

    def restore(self, arrays: dict[str, Any]) -> None:
        self.counts[...] = arrays["counts"]
        self.waiting = np.array(arrays["waiting"]).reshape(-1, 1 + self.n_behind)
        for i, line in enumerate(self._lines):
            packed = arrays[f"line.{i}"].tobytes()
            artifact = decode(packed, f"line.{i}")
            line.load(LearnerState(artifact.header, artifact.arrays))
            self._packed[i] = packed


def _broken(what: str, spec: LearnerSpec, error: Exception) -> Fatal:
    return Fatal(
        f"a learner could not {what} ({type(error).__name__}: {error})", where=type(spec).__name__,
        expected="a learner that takes any numbers, missing ones and unseen categories",
        next_step="Run headwater.testing.LearnerConformance on it.",
    )  # fmt: skip
