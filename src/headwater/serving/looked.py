"""A guarded model's answers: the guard's verdict about a question, as the fold comes to it at the same place in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Bools, Bytes, Floats, Frame, Ints
from headwater.core.errors import Retryable
from headwater.core.expressions import Expr, evaluate
from headwater.features.guard import WHOLE, Verdicts
from headwater.features.guarding import ABSTAINED, ASKED, N_SEEN, N_STATE
from headwater.serving.unchanged import no_change
from headwater.store.view import View, guard_key, seen_key

_TABLE = (3, 2)  # of what "no change" says


class Looked:
    """What the guard made of a call's rows; nothing, for a model that has none.

    Attributes:
        fates: uint8[n], or None.
        instead: float64[n], what "no change" says of those that the model does not answer.
        said: For each row: feature -> what was wrong with it and what was done.
    """

    def __init__(self, fates: Bytes | None = None, instead: Floats | None = None) -> None:
        self.fates, self.instead = fates, instead
        self.said: list[dict[str, str]] | None = None if fates is None else [{} for _ in fates]

    def take(self, rows: Ints, fates: Bytes, instead: Floats, said: Sequence[dict[str, str]]) -> None:
        """Verdicts about some of the rows."""
        assert self.fates is not None and self.instead is not None and self.said is not None  # noqa: PT018
        self.fates[rows], self.instead[rows] = fates, instead
        for row, what in zip(rows.tolist(), said, strict=True):
            self.said[row] = what

    def over(self, scores: Floats) -> Floats:
        """The scores, with "no change" where the model does not answer."""
        if self.fates is None or self.instead is None:
            return scores
        return np.where(self.fates == ASKED, scores, self.instead)


def looked_before(found: Floats, stored: Bools, column: int) -> Looked:
    """Verdicts about stored questions, which wait with them.

    Args:
        found: float64[n, width], stored questions.
        stored: bool[n], which of the rows are there.
        column: Of what "no change" said.
    """
    looked = Looked(np.where(stored, found[:, -1], ASKED).astype(np.uint8), found[:, column].copy())
    for row in np.flatnonzero(found[:, -1] == ABSTAINED).tolist():
        assert looked.said is not None
        looked.said[row] = {WHOLE: "abstained when it was asked"}
    return looked


@dataclass(frozen=True, slots=True, eq=False)
class Looking:
    """What has to be known of a model's guard to answer for it.

    Attributes:
        verdicts: The guard.
        baseline: Feature column of the last outcome, which "no change" repeats.
        outcome: The label's value, where a question of this model is an outcome itself; else None.
        loss: The learner's.
    """

    verdicts: Verdicts
    baseline: int
    outcome: Expr[object] | None
    loss: str

    def look(
        self, view: View, line: str, rows: Frame, time: Ints, features: Floats, xs: Floats, cs: Ints
    ) -> tuple[Bytes, Floats, list[dict[str, str]]]:
        """Guard questions that are not in the log, each as the next one; changes their vectors in place.

        Raises:
            Retryable: The line's guard is not published yet.
        """
        block, seen = view.row(guard_key(line)), view.row(seen_key(line))
        if block is None or seen is None:
            raise Retryable("this line is not published yet", where=line, next_step="Wait until the learner has started.")
        table, state = block[: _TABLE[0] * _TABLE[1]].reshape(_TABLE), block[_TABLE[0] * _TABLE[1] :].reshape(-1, N_STATE)
        fates, said = self.verdicts.judge(xs, cs, state, seen.view(np.uint8).reshape(-1, N_SEEN))
        base = features[:, self.baseline]
        if self.outcome is not None:
            own = np.asarray(evaluate(self.outcome, rows, time), np.float64)
            base = np.where(np.isnan(own), base, own)
        return fates, no_change(table, base, self.loss), said
