"""Prequential metrics: what each expert's scores were worth, overall and over the last 9,000 to 10,000 labels.

AUC is kept as a histogram of log-odds by label: 1,024 bins of 0.04 between -20 and 20, so that rare outcomes, whose scores
are all close to 0, are told apart too; exact to about 1e-4. Beside every accuracy stands kappa-temporal (Zliobaite et al.
2015): how much better than "as last time". A correction replaces the first label in the overall metrics only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.compiled import inline

N, LOSS, SQUARED_ERROR, ABSOLUTE_ERROR, CORRECT, SCORE_SUM, LABEL_SUM, LABEL_SQUARES = range(8)
# LOSS: log loss, or of a quantile the pinball loss; CORRECT: right answers, or of a quantile labels that are not above it
BINS = 1024
LAST_PANE, LAST_PANES = 1_000, 10
_EPS = 1e-15
YES = 0.5  # a label or score from here on is a yes
_REACH = 20.0  # of the histogram, in log-odds


@inline
def _bin(log_yes: float, log_no: float) -> int:
    """The histogram's bin of a probability, from its logarithm and its complement's: logarithms are what judging costs."""
    odds = (log_yes - log_no + _REACH) * (BINS / (2.0 * _REACH))
    return min(max(int(odds), 0), BINS - 1)


@inline
def judge(
    y: float, row: Floats, base: int, first: int, experts: int, squared: float, tau: float, sign: float,
    sums: Floats, hist: Ints,
    panes: Floats, pane_hist: Ints, pane: int,
) -> None:  # fmt: skip
    """Add (sign 1) or take back (sign -1) one label's verdict on every expert; the last one is "no change".

    No change is right where the last outcome, `row[base]`, is the label; its score is the share of yes after such an outcome.

    `row` has the question's scores of all experts from `first` on. The verdict counts in the metrics of all labels (`sums`,
    `hist`) and, unless `pane` is -1, in those of that block of recent labels (`panes`, `pane_hist`).
    """
    is_yes = y >= YES
    for e in range(experts):
        p = row[first + e]
        error = p - y
        loss, right, at = 0.0, 0.0, 0  # of the loss its negative
        if squared and tau > 0.0:
            loss = sign * (tau * error if error < 0.0 else (tau - 1.0) * error)
            right = sign * (y <= p)
        if not squared:
            q = min(max(p, _EPS), 1.0 - _EPS)
            log_yes, log_no = np.log(q), np.log(1.0 - q)
            loss = sign * (y * log_yes + (1.0 - y) * log_no)
            said = row[base] if e == experts - 1 and not np.isnan(row[base]) else p
            right = sign * ((said >= YES) == is_yes)
            at = _bin(log_yes, log_no)
        square, size = sign * error * error, sign * abs(error)
        sums[e, N] += sign
        sums[e, SQUARED_ERROR] += square
        sums[e, ABSOLUTE_ERROR] += size
        sums[e, SCORE_SUM] += sign * p
        sums[e, LABEL_SUM] += sign * y
        sums[e, LABEL_SQUARES] += sign * y * y
        sums[e, LOSS] -= loss
        sums[e, CORRECT] += right
        if not squared:
            hist[e, int(is_yes), at] += int(sign)
        if pane < 0:
            continue
        panes[pane, e, N] += sign
        panes[pane, e, SQUARED_ERROR] += square
        panes[pane, e, ABSOLUTE_ERROR] += size
        panes[pane, e, SCORE_SUM] += sign * p
        panes[pane, e, LABEL_SUM] += sign * y
        panes[pane, e, LABEL_SQUARES] += sign * y * y
        panes[pane, e, LOSS] -= loss
        panes[pane, e, CORRECT] += right
        if not squared:
            pane_hist[pane, e, int(is_yes), at] += int(sign)


class Metrics:
    """The running sums of all experts.

    Attributes:
        sums: float64[experts, 8].
        hist: int64[experts, 2, BINS].
        panes, pane_hist: The same for each of the last 10 blocks of 1,000 labels; the newest block is being filled.
    """

    def __init__(self, experts: list[str]) -> None:
        n = len(experts)
        self.experts = experts
        self.sums: Floats = np.zeros((n, 8))
        self.hist: Ints = np.zeros((n, 2, BINS), np.int64)
        self.panes: Floats = np.zeros((LAST_PANES, n, 8))
        self.pane_hist: Ints = np.zeros((LAST_PANES, n, 2, BINS), np.int64)

    def arrays(self) -> dict[str, Any]:
        return {"sums": self.sums, "hist": self.hist, "panes": self.panes, "pane_hist": self.pane_hist}

    def restore(self, arrays: dict[str, Any]) -> None:
        for name, mine in self.arrays().items():
            mine[...] = arrays[name]

    def report(self, loss: str) -> dict[str, dict[str, dict[str, float]]]:
        """{"overall": {expert: {metric: value}}, "recent": ...}, with the metrics that belong to the learner's loss."""
        recent = (self.panes.sum(axis=0), self.pane_hist.sum(axis=0))
        return {"overall": self._report(self.sums, self.hist, loss), "recent": self._report(*recent, loss)}

    def _report(self, sums: Floats, hist: Ints, loss: str) -> dict[str, dict[str, float]]:
        out = {}
        unchanged = sums[-1]
        for e, name in enumerate(self.experts):
            if sums[e, N] == 0:
                continue
            if loss == "log":
                out[name] = _binary(sums[e], hist[e], unchanged)
            else:
                out[name] = _regression(sums[e], unchanged) | (_quantile(sums[e], unchanged) if loss == "quantile" else {})
        return out


def _binary(sums: Floats, hist: Ints, unchanged: Floats) -> dict[str, float]:
    n = sums[N]
    accuracy, same = float(sums[CORRECT] / n), float(unchanged[CORRECT] / n)
    return {
        "n": float(n),
        "log_loss": float(sums[LOSS] / n),
        "brier": float(sums[SQUARED_ERROR] / n),
        "accuracy": accuracy,
        "kappa_temporal": (accuracy - same) / (1.0 - same) if same < 1.0 else 0.0,
        "auc": auc_of_histogram(hist),
        "mean_score": float(sums[SCORE_SUM] / n),
        "mean_label": float(sums[LABEL_SUM] / n),
    }


def _regression(sums: Floats, unchanged: Floats) -> dict[str, float]:
    n = sums[N]
    mae, same = float(sums[ABSOLUTE_ERROR] / n), float(unchanged[ABSOLUTE_ERROR] / n)
    return {
        "n": float(n),
        "mae": mae,
        "rmse": float(np.sqrt(max(sums[SQUARED_ERROR] / n, 0.0))),
        "mae_ratio_to_no_change": mae / same if same > 0 else 0.0,
        "mean_score": float(sums[SCORE_SUM] / n),
        "mean_label": float(sums[LABEL_SUM] / n),
    }


def _quantile(sums: Floats, unchanged: Floats) -> dict[str, float]:
    loss, same = float(sums[LOSS] / sums[N]), float(unchanged[LOSS] / unchanged[N])
    return {
        "pinball": loss,
        "coverage": float(sums[CORRECT] / sums[N]),  # the share of labels that are not above the score: tau, if all is well
        "pinball_ratio_to_no_change": loss / same if same > 0 else 0.0,
    }


def auc_of_histogram(hist: Ints) -> float:
    """Area under the ROC curve from counts int64[2, bins]; ties within a bin count half. NaN with one class only."""
    negatives, positives = hist[0].astype(np.float64), hist[1].astype(np.float64)
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum() / pairs)


def exact_auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve by ranks, ties counted half. NaN with one class only."""
    positive = labels >= YES
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if n_pos == 0 or n_neg == 0:
        return float("nan")
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    ranks = np.empty(labels.size)
    ranks[order] = (first + last + 1) / 2.0
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2.0) / (n_pos * n_neg))
