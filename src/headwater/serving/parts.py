"""Answers of a fast layer, from the parts that a view shows of it.

The head and the trees are decoded when they change, and kept; the hashed rows that a question needs are read from the very
transaction that its vector is read from. Nothing of it can run code; the seal is checked all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from math import isnan

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.seals import Seal
from headwater.learning.fast import MEMBERS
from headwater.learning.fast_answers import ShownAnswers
from headwater.learning.fast_lane import Fast
from headwater.learning.protocol import Array, LearnerSpec
from headwater.registry.artifact import decode
from headwater.serving.lanes import Lane, Scored, Scorer, bounded, unpack
from headwater.store.view import HASHED_ROW, View, trees_key


def trees_of(line: str) -> str:
    """What the seal of a line's trees says that they are."""
    return f"{line}, trees"


class FastLane:
    """One model's fast layer, in this very process; safe from several threads.

    Args:
        line: The model's name.
        number: Its position among the app's models.
        spec: As declared.
        names: Names of the model's numbers, then of its categories.
        n_numbers: How many are numbers.
        seal: Must be on what is published; None takes it as it comes.
    """

    def __init__(
        self, line: str, number: int, spec: Fast, names: tuple[str, ...], n_numbers: int, seal: Seal | None = None
    ) -> None:  # fmt: skip
        self._line, self._number, self._loss, self._seal = line, number, spec.loss, seal
        self._layout = spec.layout(names[:n_numbers], names[n_numbers:])
        self._answers = ShownAnswers(self._layout)
        self._lock, self._trees_key = threading.Lock(), trees_key(line)
        self._head_tag = self._trees_tag = float("nan")

    def score(self, view: View, block: Floats, xs: Floats, cs: Ints) -> Scored:
        """Scores of questions, with the bits of the fold's own.

        Args:
            view: The published state.
            block: The line's head in it.
            xs: float64[n, d], the numbers.
            cs: int64[n, k], the categories' hashes.

        Raises:
            Untrusted: It is not sealed by this installation.
            CorruptData: Head and trees do not belong together.
        """

        def look_up(slots: Ints) -> Floats:
            return view.rows(self._number, slots.astype(np.uint64), len(MEMBERS), HASHED_ROW)[0]

        with self._lock:
            self._take(block, view.row(self._trees_key))
            scores = self._answers.score_many(xs, cs, look_up)
        return Scored(bounded(scores, self._loss), view.meta.seq)

    def _take(self, head: Floats, trees: Floats | None) -> None:
        """Go on with the newest head and trees."""
        if trees is None and not isnan(self._trees_tag):  # the log is folded anew, from its beginning
            self._answers = ShownAnswers(self._layout)
            self._head_tag = self._trees_tag = float("nan")
        if trees is not None and trees[0] != self._trees_tag:
            self._answers.take_trees(self._arrays(trees, trees_of(self._line)))
            self._trees_tag, self._head_tag = float(trees[0]), float("nan")
        if head[0] != self._head_tag:
            self._answers.take_head(self._arrays(head, self._line))
            self._head_tag = float(head[0])

    def _arrays(self, block: Floats, place: str) -> dict[str, Array]:
        return decode(unpack(block, place, self._seal), "view").arrays


Lanes = Mapping[str, Scorer | FastLane]
"""Who answers for each model of the event lane."""


def lane_here(
    line: str, number: int, spec: LearnerSpec, names: tuple[str, ...], n_numbers: int, seal: Seal | None = None
) -> Lane | FastLane:
    """Who answers for a model in this very process; arguments as those of `FastLane`."""
    if isinstance(spec, Fast):
        return FastLane(line, number, spec, names, n_numbers, seal)
    return Lane(line, spec, names, n_numbers, seal)


def said_by(lane: Scorer | FastLane, view: View, block: Floats, xs: Floats, cs: Ints) -> Scored:
    """What a model of the event lane says of questions; `block` is what the view shows of its line."""
    if isinstance(lane, FastLane):
        return lane.score(view, block, xs, cs)
    return lane.score(block, view.meta.seq, xs, cs)
