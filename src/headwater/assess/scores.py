"""How good each rung was, on the rows after the first fifth that have a label."""

from __future__ import annotations

import numpy as np

from headwater.assess.encoding import Encoded
from headwater.assess.ladder import NO_CHANGE, RUNGS, Climbed
from headwater.core.batch import Bools, Floats
from headwater.core.errors import Fatal
from headwater.evaluation.metrics import YES, exact_auc

Scores = dict[str, dict[str, float]]
MEASURES = {
    "binary": ("auc", "log_loss", "accuracy"), "multiclass": ("log_loss", "accuracy"), "regression": ("mae", "rmse"),
}  # fmt: skip
MORE_IS_BETTER = ("auc", "accuracy")
_EPS = 1e-15


def scores_of(encoded: Encoded, climbed: Climbed) -> Scores:
    """Rung -> measure -> value. "No change" has no probabilities: it leaves log loss out, and AUC with it.

    Raises:
        Fatal: No row after the first fifth has a label.
    """
    judged = ~np.isnan(encoded.y)
    judged[: climbed.first] = False
    if not judged.any():
        raise Fatal("no row after the first fifth has a label, so nothing can be judged", where="the label")
    y, last = encoded.y[judged], climbed.last[judged]
    out: Scores = {}
    for r, rung in enumerate(RUNGS):
        said = climbed.said[judged, r]
        if encoded.task == "multiclass":
            out[rung] = _of_classes(said, climbed.hits[judged, r] == 1)
        else:
            out[rung] = _of_yes_no(y, said) if encoded.task == "binary" else _of_numbers(y, said)
    is_number = encoded.task == "regression"
    out[NO_CHANGE] = _of_numbers(y, _filled(last)) if is_number else {"accuracy": float((last == y).mean())}
    return out


def _filled(last: Floats) -> Floats:
    """Before the first label, "no change" says 0."""
    return np.where(np.isnan(last), 0.0, last)


def _of_yes_no(y: Floats, p: Floats) -> dict[str, float]:
    q = np.clip(p, _EPS, 1.0 - _EPS)
    loss = -(y * np.log(q) + (1.0 - y) * np.log(1.0 - q))
    area = exact_auc(y, p)
    found = {"log_loss": float(loss.mean()), "accuracy": float(((p >= YES) == (y >= YES)).mean())}
    return found if np.isnan(area) else {"auc": area, **found}


def _of_classes(p: Floats, hits: Bools) -> dict[str, float]:
    return {"log_loss": float(-np.log(np.clip(p, _EPS, 1.0)).mean()), "accuracy": float(hits.mean())}


def _of_numbers(y: Floats, said: Floats) -> dict[str, float]:
    error = said - y
    return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
