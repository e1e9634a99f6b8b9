"""The event lane in the fold: a learner that is no compiled loop, with the face of `LinearState`.

The compiled walk stays the only one: it asks for scores before it comes to a question, and stops when a block of labels is
full. What is scored ahead is what no label can change before: the questions up to the row that may fill the block.

A learner that runs apart may fail: the line then stands still (see `stopping`). One that runs here takes the fold with it.

A learner with a slow part (`Refittable`) comes to decision points here: places in the log, whatever the batches are. What was
learnt and lost since the last one is handed on; whether the slow part is fitted anew is decided and done by others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal, HeadwaterError
from headwater.evaluation.prequential import J_BY, J_LABEL, J_SCORES, WAITING
from headwater.learning.fast_lane import FastLearner
from headwater.learning.kernels import LEARNT, N_PARAMS, SQUARED
from headwater.learning.protocol import (
    HUGE,
    Array,
    BlockLearner,
    LearnerSpec,
    LearnerState,
    Refittable,
    Remembering,
    Tally,
    n_memos,
)
from headwater.registry.artifact import canonical, decode, encode
from headwater.runtime.stopping import LEARN, SCORE, CarefulLearner, Stop, Stops
from headwater.serving.isolation import IsolatedLearner, ModelFailed
from headwater.serving.lanes import as_block


@dataclass(frozen=True, slots=True)
class Point:
    """A decision point of one model.

    Attributes:
        seq: The fold had learnt all labels before this place.
        time_ms: Event time of the label that brought it.
        tally: What was lost since the one before.
        asked: A person has asked for a refit here.
    """

    seq: int
    time_ms: int
    tally: Tally
    asked: bool = False


class LaneState:
    """A line in the event lane, and its twins.

    Attributes:
        counts: int64[4]: examples learnt, refused, scores that were no number, examples that wait in the block.
        waiting: float64[n, 1 + d + m + k]: label, numbers, memos and categories of the examples of the block that is not full;
            with a slow part, the score follows the label. Memos are what a `Remembering` learner keeps with a question.
        n_behind: Numbers, memos and categories that the walk hands on behind a judged row.
        given: float64[n, 1 + twins]: scores of the batch's questions that come next.
        fresh: Blocks that were learnt since `drain`, without memos, where there is a slow part.
        mark: Another number where something was learnt or exchanged.
        on_point: Called at a decision point with the examples since `drain`; what it returns is exchanged at once.
        stops: Where it stands still.
        fast: The line's learner where it is the fast layer, which is published by parts.
    """

    base = 0  # categories are hashes, not rows of weights

    def __init__(
        self, spec: LearnerSpec, numbers: tuple[str, ...], categories: tuple[str, ...], n_twins: int,
        start: Callable[[], BlockLearner] | None = None,
    ) -> None:  # fmt: skip
        self._spec, self.block, self.stops = spec, spec.block, Stops()
        start = start or (lambda: spec.start(numbers, categories))
        self._lines: list[BlockLearner] = [start() for _ in range(1 + n_twins)]
        self._packed: list[bytes | None] = [None] * (1 + n_twins)
        self._d, self.counts = len(numbers), np.zeros(4, np.int64)
        first, self._m = self._lines[0], n_memos(spec)
        self.n_behind = self._d + self._m + len(categories)
        self._remembering = first if isinstance(first, Remembering) and self._m else None
        self._slow = first if isinstance(first, Refittable) and first.has_slow else None
        self._lead = 1 if self._slow is None else 2
        self.fast = first if isinstance(first, FastLearner) else None
        self.waiting: Floats = np.zeros((0, self._lead + self.n_behind))
        self.given: Floats = np.zeros((0, 1 + n_twins))
        self.params = np.zeros(N_PARAMS)
        self.params[SQUARED] = spec.loss != "log"
        self.fresh: list[Floats] = []
        self.points: list[Point] = []
        self.on_point: Callable[[Point, list[Floats]], Mapping[str, Array] | None] | None = None
        self.mark = 0
        # The compiled learner's arrays, which the walk takes and does not look at.
        self.weights, self.squares, self.stats = np.zeros(0), np.zeros(0), np.zeros((4, 0))
        self.twins, self.twin_stats = np.zeros((n_twins, 0)), np.zeros((n_twins, 4, 0))

    def open(self, xs: Floats, cs: Ints, scored: Ints, labelling: Ints) -> None:
        """A batch begins: vectors of its rows, with room for memos behind the numbers; places of its questions and labels."""
        self._xs, self._cs, self._scored, self._labelling = xs, cs, scored, labelling
        self.given = np.full((xs.shape[0], len(self._lines)), np.nan)
        self._n_taken = 0

    def stand(self, seq: int, time: Ints) -> None:
        """Where in the log the batch begins, and its rows' event times."""
        self._seq, self._time = seq, time

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
            self.stops.come_to(SCORE, self._seq + int(rows[-1]))
            rows = self._scorable(rows)
        if rows.size:
            xs, cs = np.ascontiguousarray(self._xs[rows, : self._d]), self._cs[rows]
            if self._remembering is not None:
                self._xs[rows, self._d :] = self._remembering.say_many(xs, cs)
                self.given[rows, 0] = self._xs[rows, -1]
            try:
                for i in range(self._remembering is not None, len(self._lines)):
                    self.given[rows, i] = self.scores(xs, cs, i)
            except ModelFailed as error:
                self.stops.fail(Stop(SCORE, self._seq + int(rows[0])), str(error))
                self._scorable(rows)

    def _scorable(self, rows: Ints) -> Ints:
        """The questions that the line may be asked; the others get no score."""
        before = self.stops.scores_before()
        if before is None:
            return rows
        n = int(np.searchsorted(rows, before - self._seq))
        self.given[rows[n:]] = np.inf
        return rows[:n]

    def scores(self, xs: Floats, cs: Ints, line_number: int = 0) -> Floats:
        """A line's scores, inf where one is no number: NaN means that there is none yet."""
        line = self._lines[line_number]
        try:
            scores = np.asarray(line.score_many(xs, cs), np.float64)
        except (HeadwaterError, ModelFailed):
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
            judged: float64[n, width + d + m + k]; behind a verdict stands the vector that it is about.
            width: Columns of the verdict.
        """
        new = judged[self._n_taken :]
        self._n_taken = judged.shape[0]
        by = np.full(self.waiting.shape[0], -1.0)  # labels that filled no block
        if new.shape[0]:
            lead = [new[:, J_LABEL], new[:, J_SCORES]][: self._lead]
            examples = np.column_stack([*lead, new[:, width:]])
            fits = ~(np.abs(examples) > HUGE).any(axis=1)
            self.waiting, by = np.concatenate([self.waiting, examples[fits]]), np.concatenate([by, new[fits, J_BY]])
        while self.counts[WAITING] >= self.block:
            block, self.waiting = self.waiting[: self.block], self.waiting[self.block :]
            last, by = int(by[self.block - 1]), by[self.block :]
            is_learnt = self._learn_or_stop(block, last)
            self.counts[WAITING] -= self.block
            self.counts[LEARNT] += self.block if is_learnt else 0
            self.stops.n_dropped += 0 if is_learnt else self.block
            if self._slow is not None and is_learnt:
                self._look_back(self._slow, block, last)

    def _learn_or_stop(self, block: Floats, by: int) -> bool:
        """Whether a block was learnt, the last of whose labels came at a place in the log."""
        learnt = int(self.counts[LEARNT])
        self.stops.come_to(LEARN, learnt)
        if not self.stops.may_learn(by):
            return False
        try:
            self._learn(block)
        except ModelFailed as error:
            self.stops.fail(Stop(LEARN, learnt), str(error))
            return False
        return True

    def _learn(self, block: Floats) -> None:
        ys = block[:, 0].copy()
        xs, said, cs = self._parts(block)
        self._changed()
        try:
            if self._remembering is not None:
                self._remembering.learn_judged(xs, cs, ys, said)
            else:
                self._lines[0].learn_block(xs, cs, ys)
        except (HeadwaterError, ModelFailed):
            raise
        except Exception as error:
            raise _broken("learn", self._spec, error) from error

    def _parts(self, block: Floats) -> tuple[Floats, Floats, Ints]:
        """Numbers, memos and categories of examples."""
        vectors, d, m = block[:, self._lead :], self._d, self._m
        return vectors[:, :d].copy(), vectors[:, d : d + m].copy(), vectors[:, d + m :].astype(np.int64)

    def _changed(self) -> None:
        self._packed[0] = None
        self.mark += 1

    def _look_back(self, slow: Refittable, block: Floats, by: int) -> None:
        """A block has been learnt, the last of whose labels came at a place in the log."""
        xs, _, cs = self._parts(block)
        self.fresh.append(np.hstack([block[:, : self._lead], xs, cs]))
        tally = slow.take_tally()
        if tally is not None:
            self._come_to(Point(by + 1, int(self._time[by - self._seq]), tally))

    def ask(self, seq: int, time_ms: int) -> None:
        """A person asks for a refit."""
        if self._slow is not None:
            self._come_to(Point(seq, time_ms, Tally(0, int(self.counts[LEARNT]), {}), asked=True))

    def _come_to(self, point: Point) -> None:
        self.points.append(point)
        if self.on_point is not None:
            fresh, self.fresh = self.fresh, []
            fitted = self.on_point(point, fresh)
            if fitted is not None:
                self.exchange(fitted)

    def exchange(self, fitted: Mapping[str, Array]) -> None:
        """Go on with another slow part; a learner without one is left as it is."""
        if self._slow is not None:
            self._changed()
            self._slow.exchange(fitted)

    def drain(self) -> tuple[list[Floats], list[Point]]:
        """The blocks and decision points since the last time."""
        done = self.fresh, self.points
        self.fresh, self.points = [], []
        return done

    def publish(self, twin: int) -> None:
        """Give a twin the present state."""
        self._give(1 + twin, self._pack(0))
        self._packed[1 + twin] = None

    def _give(self, line: int, packed: bytes) -> None:
        learner = self._lines[line]
        if isinstance(learner, IsolatedLearner | CarefulLearner):
            learner.keep(packed)
        else:
            artifact = decode(packed, f"line.{line}")
            learner.load(LearnerState(artifact.header, artifact.arrays))

    def close(self) -> None:
        """End the processes of learners that have some."""
        for learner in self._lines:
            if isinstance(learner, IsolatedLearner):
                learner.kill()

    def published(self) -> Floats:
        """What a view shows of the line where nobody else reads it."""
        return as_block(self._pack(0))

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
            learner = self._lines[line]
            try:
                if isinstance(learner, IsolatedLearner):
                    packed = learner.packed()
                else:
                    state = learner.state()
                    packed = encode(state.arrays, state.header)
            except ModelFailed as error:
                raise _broken("tell its state", self._spec, error) from error
            self._packed[line] = packed
        return packed

    def arrays(self) -> dict[str, Any]:
        """What has to be kept; names are part of the format."""
        lines = {name: np.frombuffer(packed, np.uint8) for name, packed in self.states().items()}
        return {"counts": self.counts, "waiting": self.waiting, "stopped": self.stops.array(), **lines}

    def restore(self, arrays: dict[str, Any]) -> None:
        self.counts[...] = arrays["counts"]
        self.waiting = np.array(arrays["waiting"]).reshape(-1, self._lead + self.n_behind)
        for i in range(len(self._lines)):
            packed = arrays[f"line.{i}"].tobytes()
            self._give(i, packed)
            self._packed[i] = packed
        if "stopped" in arrays:  # of a release that could not stop
            self.stops.restore(arrays["stopped"])


def _broken(what: str, spec: LearnerSpec, error: Exception) -> Fatal:
    return Fatal(
        f"a learner could not {what} ({type(error).__name__}: {error})", where=type(spec).__name__,
        expected="a learner that takes any numbers, missing ones and unseen categories",
        next_step="Run headwater.testing.LearnerConformance on it.",
    )  # fmt: skip
