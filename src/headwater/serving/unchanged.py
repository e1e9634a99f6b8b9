"""What "no change" says of questions, where the model says nothing: the plainest answer there is."""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats
from headwater.evaluation.metrics import YES


def no_change(outcomes: Floats, last: Floats, loss: str) -> Floats:
    """The scores that the fold gives "as last time", for loss "log" the share of yes after such a last outcome.

    Args:
        outcomes: float64[3, 2]: after each kind of last outcome (no, yes, none known) how many there were, and their sum.
        last: float64[n], the last outcome of each row's entity; NaN where none is known.
        loss: "log", "squared" or "quantile".
    """
    if loss != "log":
        n, total = outcomes[2]
        return np.where(np.isnan(last), total / n if n else 0.0, last)
    state = np.where(np.isnan(last), 2, last >= YES).astype(np.int64)
    return np.asarray((outcomes[state, 1] + 1.0) / (outcomes[state, 0] + 2.0))
