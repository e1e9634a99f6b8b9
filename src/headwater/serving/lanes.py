"""Answers of learners in the event lane: the line's own learner, loaded from what is published.

The block that a view shows of such a line is its whole state: a tag, the length in bytes, the bytes, made up to whole
floats, and their seal where the installation has one. A new learner is loaded when the tag changes, once a block of labels,
and takes the place of the old one between two answers.
"""

from __future__ import annotations

import hashlib
import threading
from typing import NamedTuple, Protocol

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.seals import Seal
from headwater.learning.protocol import BlockLearner, LearnerSpec, LearnerState
from headwater.registry.artifact import decode

_HEAD = 2  # floats before the bytes
_MOST = 1e100  # as in `evaluation.prequential`


class Scored(NamedTuple):
    """What a lane says of a question.

    Attributes:
        scores: float64[n]; None where the model says nothing, so that "no change" has to.
        seq: The place in the log that the scores are of.
        degraded: Why this is not the newest state's answer; "" where it is.
    """

    scores: Floats | None
    seq: int
    degraded: str = ""


class Scorer(Protocol):
    """Whoever answers for one model of the event lane; safe from several threads."""

    def score(self, block: Floats, seq: int, xs: Floats, cs: Ints) -> Scored:
        """Scores of questions.

        Args:
            block: What the view shows of the line.
            seq: The view's place in the log.
            xs: float64[n, d], the numbers.
            cs: int64[n, k], the categories' hashes.
        """


def as_block(packed: bytes, seal: bytes = b"") -> Floats:
    """A state, and its seal, as rows of a view are: float64."""
    body = packed + bytes(-len(packed) % 8) + seal
    return np.concatenate([[_tag(packed), float(len(packed))], np.frombuffer(body, np.float64)])


def _tag(packed: bytes) -> float:
    return float(int.from_bytes(hashlib.sha256(packed).digest()[:6], "big"))


def unpack(block: Floats, line: str, seal: Seal | None) -> bytes:
    """The state in a block.

    Raises:
        Untrusted: It is not sealed by this installation.
    """
    body, length = block[_HEAD:].tobytes(), int(block[1])
    packed = body[:length]
    if seal is not None:
        seal.check(place_of(line), packed, body[length + -length % 8 :] or None)
    return packed


def place_of(line: str) -> str:
    """What the seal of a published state says that it is of."""
    return f"view, {line}"


def sealed(packed: bytes, line: str, seal: Seal | None) -> Floats:
    """A state as it is published."""
    return as_block(packed, b"" if seal is None else seal.of(place_of(line), packed))


def bounded(scores: Floats, loss: str) -> Floats:
    """Scores as the fold takes them: a probability, or a number up to 1e100; what is neither counts as nothing said."""
    if loss == "log":
        return np.where(np.isfinite(scores), np.clip(scores, 0.0, 1.0), 0.5)
    return np.where(np.abs(scores) <= _MOST, scores, 0.0)


class Lane:
    """One model's learner in this very process: for runs in memory, and where processes cannot be forked.

    Args:
        line: The model's name.
        spec: As declared.
        names: Names of the model's numbers, then of its categories.
        n_numbers: How many are numbers.
        seal: Must be on what is published; None takes it as it comes.
    """

    def __init__(self, line: str, spec: LearnerSpec, names: tuple[str, ...], n_numbers: int, seal: Seal | None = None) -> None:
        self._line, self._spec, self._names, self._d, self._seal = line, spec, names, n_numbers, seal
        self._lock = threading.Lock()
        self._tag, self._learner = float("nan"), None  # type: float, BlockLearner | None

    def score(self, block: Floats, seq: int, xs: Floats, cs: Ints) -> Scored:
        """See `Scorer.score`; the scores have the bits of the fold's own."""
        with self._lock:
            if self._learner is None or block[0] != self._tag:
                self._learner, self._tag = self._load(block), float(block[0])
            scores = np.asarray(self._learner.score_many(xs, cs), np.float64)
        return Scored(bounded(scores, self._spec.loss), seq)

    def _load(self, block: Floats) -> BlockLearner:
        artifact = decode(unpack(block, self._line, self._seal), "view")
        learner = self._spec.start(self._names[: self._d], self._names[self._d :])
        learner.load(LearnerState(artifact.header, artifact.arrays))
        return learner
