"""Answers of learners in the event lane: the line's own learner, loaded from what is published.

The block that a view shows of such a line is its whole state: a tag, the length in bytes, and the bytes, made up to whole
floats. A new learner is loaded when the tag changes, once a block of labels, and takes the place of the old one between two
answers.
"""

from __future__ import annotations

import hashlib
import threading

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.learning.protocol import BlockLearner, LearnerSpec, LearnerState
from headwater.registry.artifact import decode

_HEAD = 2  # floats before the bytes


def as_block(packed: bytes) -> Floats:
    """A state as rows of a view are: float64."""
    tag = np.frombuffer(hashlib.sha256(packed).digest()[:6].rjust(8, b"\0"), ">u8").astype(np.float64)
    body = np.frombuffer(packed + bytes(-len(packed) % 8), np.float64)
    return np.concatenate([tag, [float(len(packed))], body])


class Lane:
    """One model's learner; safe from several threads.

    Args:
        spec: As declared.
        names: Names of the model's numbers, then of its categories.
        n_numbers: How many are numbers.
    """

    def __init__(self, spec: LearnerSpec, names: tuple[str, ...], n_numbers: int) -> None:
        self._spec, self._names, self._d = spec, names, n_numbers
        self._lock = threading.Lock()
        self._tag, self._learner = float("nan"), None  # type: float, BlockLearner | None

    def score(self, block: Floats, xs: Floats, cs: Ints) -> Floats:
        """Scores of questions by the state in a block, with the bits of the fold's own."""
        with self._lock:
            if self._learner is None or block[0] != self._tag:
                self._learner, self._tag = self._load(block), float(block[0])
            scores = np.asarray(self._learner.score_many(xs, cs), np.float64)
        if self._spec.loss == "log":
            return np.where(np.isfinite(scores), np.clip(scores, 0.0, 1.0), 0.5)
        return np.where(np.abs(scores) <= 1e100, scores, 0.0)  # noqa: PLR2004 - as in `evaluation.prequential`

    def _load(self, block: Floats) -> BlockLearner:
        artifact = decode(block[_HEAD:].tobytes()[: int(block[1])], "view")
        learner = self._spec.start(self._names[: self._d], self._names[self._d :])
        learner.load(LearnerState(artifact.header, artifact.arrays))
        return learner
