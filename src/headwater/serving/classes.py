"""Answers of lines with several classes: from the line's published block and the hashed rows that a question needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData
from headwater.learning.classes import Published, Softmax
from headwater.learning.linear import base_of
from headwater.learning.softmax import score_classes
from headwater.store.view import HASHED_ROW, View


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What was said of several classes.

    Attributes:
        names: The classes that had a label, in order of their first one; a whole number is written in digits.
        probabilities: float64[n, classes]; what a row lacks to 1 is the probability of a class that never had a label.
        said: int64[n]: the likeliest class of each row, -1 where no class is known yet.
    """

    names: tuple[str, ...]
    probabilities: Floats
    said: Ints

    @classmethod
    def of(cls, names: tuple[str, ...], probabilities: Floats) -> Classes:
        """Say the likeliest; of equal ones the first."""
        n = probabilities.shape[0]
        said = probabilities.argmax(axis=1) if names else np.full(n, -1)
        return cls(names, probabilities, said.astype(np.int64))

    def score(self) -> Floats:
        """The probability of the class that was said; float64[n], 0 where none was."""
        if not self.names:
            return np.zeros(self.said.size)
        best: Floats = np.take_along_axis(self.probabilities, self.said[:, None], axis=1)[:, 0]
        return best

    def labels(self) -> list[str | None]:
        """The class that was said of each row; None where no class is known yet."""
        return [self.names[c] if c >= 0 else None for c in self.said.tolist()]

    def rows(self) -> list[dict[str, Any]]:
        """`label`, `score` and `probabilities` of each row, as JSON has them."""
        told = zip(self.labels(), self.score().tolist(), self.probabilities.tolist(), strict=True)
        return [{"label": s, "score": q, "probabilities": dict(zip(self.names, p, strict=True))} for s, q, p in told]


class ClassLine:
    """One model's line, as it is published."""

    def __init__(self, number: int, spec: Softmax, d: int) -> None:
        self._number, self._spec, self._d = number, spec, d
        self._params, self._base = spec.linear().params(), base_of(d)

    def score(self, view: View, block: Floats, xs: Floats, cs: Ints) -> Classes:
        """Answers to questions, with the bits of the fold's own.

        Args:
            view: The published state.
            block: The line's block in it.
            xs: float64[n, d], the questions' numbers.
            cs: int64[n, k], the rows of weights of their categories.

        Raises:
            CorruptData: The block is of another declaration.
        """
        width = self._spec.width
        line = Published.of(block, self._d, width)
        if len(line.names) > width:
            raise CorruptData("a line has more classes than were declared", where="view", expected=str(width))
        slots = np.unique(cs[cs >= self._base])
        weights = line.dense
        if slots.size:
            hashed, _ = view.rows(self._number, slots.astype(np.uint64), width, HASHED_ROW)
            weights = np.concatenate([line.dense, hashed])
        at = np.where(cs >= 0, self._base + np.searchsorted(slots, cs), -1)
        out = np.empty((xs.shape[0], len(line.names)))
        score_classes(weights, line.stats, line.met, xs, at, self._params, out)
        met = np.flatnonzero(line.met[: len(line.names)])
        return Classes.of(tuple(line.names[c] for c in met), np.ascontiguousarray(out[:, met]))
