"""What a policy's answers were worth: over all judged rows whose label is known."""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.evaluation.metrics import YES, exact_auc
from headwater.frontier.stream import Stream
from headwater.learning.mixture import losses


def probabilities(margins: Floats) -> Floats:
    """Log-odds to probabilities."""
    return 1.0 / (1.0 + np.exp(-np.clip(margins, -30, 30)))


def judged(stream: Stream) -> Ints:
    """The rows that count."""
    rows = np.arange(int(np.ceil(stream.judged_from * stream.n)), stream.n)
    return rows[~np.isnan(stream.rows.label[rows])]


def metrics(stream: Stream, answers: Floats, said: Floats | None = None) -> dict[str, float]:
    """`log_loss`, `auc`, `accuracy`; or `mae`, `rmse`.

    Args:
        stream: The history.
        answers: float64[n].
        said: What was said of yes or no, where that is not whether the answer is at least a half.
    """
    rows = judged(stream)
    label, answer = stream.rows.label[rows], answers[rows]
    lost = losses(answer, label, absolute=stream.absolute)
    if stream.absolute:
        return {"mae": float(lost.mean()), "rmse": float(np.sqrt(np.mean((answer - label) ** 2)))}
    yes = (answer if said is None else said[rows]) >= YES
    return {"log_loss": float(lost.mean()), "auc": exact_auc(label, answer), "accuracy": float((yes == (label >= YES)).mean())}


def quality(found: dict[str, float]) -> float:
    """The metric by which policies are compared; less is better."""
    return found["mae"] if "mae" in found else found["log_loss"]
