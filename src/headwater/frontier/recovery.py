"""After a known change: how many labels until the loss is back at its level?

The level is the mean loss over the labels before the change. It is back when the mean over a run of labels after it is no
more than a margin above that; what counts is the last label of the first such run. Where the next change, or the end, comes
first, it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.assess.encoding import Encoded
from headwater.core.batch import Floats
from headwater.core.errors import Fatal

BEFORE = 1_000  # labels that make the level
RUN = 100  # labels whose mean has to be back
MARGIN = 0.05  # of the level, and at least one standard error of a run's mean


@dataclass(frozen=True, slots=True)
class Recovery:
    """What happened after one change.

    Attributes:
        row: The first row after it.
        level: Mean loss before.
        worst: Greatest mean loss over a run of labels after it; None where there are too few labels to say.
        n_labels: Labels until the loss was back; None where the next change came before.
    """

    row: int
    level: float
    worst: float | None
    n_labels: int | None


def recoveries(losses: Floats, rows: Sequence[int]) -> list[Recovery]:
    """One for each change.

    Args:
        losses: float64[n], of the answers; NaN where there is no label.
        rows: The first row after each change, ascending.
    """
    found, ends = [], [*rows, losses.size][1:]
    for row, end in zip(rows, ends, strict=True):
        before, after = _there(losses[max(row - BEFORE, 0) : row]), _there(losses[row:end])
        if before.size < RUN or after.size < RUN:
            found.append(Recovery(row, float(before.mean()) if before.size else 0.0, None, None))
            continue
        level, doubt = float(before.mean()), float(before.std() / np.sqrt(RUN))
        means = np.convolve(after, np.ones(RUN), "valid") / RUN
        back = np.flatnonzero(means <= level + max(MARGIN * level, doubt))
        found.append(Recovery(row, level, float(means.max()), int(back[0]) + RUN if back.size else None))
    return found


def changes_of(encoded: Encoded, given: str) -> list[int]:
    """The rows of `--change`: numbers with commas between, or a category: wherever its value changes.

    Raises:
        Fatal: It is neither, or a row lies outside of the history.
    """
    if given in encoded.categories:
        column = encoded.cs[:, encoded.categories.index(given)]
        return (np.flatnonzero(column[1:] != column[:-1]) + 1).tolist()
    if not re.fullmatch(r"[\d\s]+(,[\d\s]+)*", given):
        raise Fatal(
            "a change is a row or a column", where="--change", expected="rows, or one of " + ", ".join(encoded.categories),
            got=given, next_step="Give rows with commas between, counted from 0, or the name of a category.",
        )  # fmt: skip
    rows = sorted({int(each) for each in given.split(",") if each.strip()})
    if rows[0] < 1 or rows[-1] >= encoded.n:
        raise Fatal("a change lies outside of the history", where="--change", expected=f"rows 1 .. {encoded.n - 1}", got=given)
    return rows


def _there(losses: Floats) -> Floats:
    return losses[~np.isnan(losses)]
