"""The ladder in one sentence: what freshness is worth on this table."""

from __future__ import annotations

from headwater.assess.ladder import NO_CHANGE
from headwater.assess.scores import MEASURES, MORE_IS_BETTER, Scores

_NAMES = {
    "auc": "AUC",
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
}
_LITTLE = {"auc": 0.005, "log_loss": 0.01, "mae": 0.01}  # AUC as it is, losses as a share of the frozen one's


def main_measure(ladder: Scores, task: str) -> str:
    """The measure that speaks for a task: AUC of two classes, else log loss or mean absolute error."""
    return next(name for name in MEASURES[task] if name in ladder["every_event"])


def name_of(measure: str) -> str:
    """A measure as a person says it."""
    return _NAMES[measure]


def verdict(ladder: Scores, task: str) -> str:
    """One sentence that says what the ladder means."""
    measure = main_measure(ladder, task)
    live, frozen = ladder["every_event"][measure], ladder["frozen"][measure]
    sign = 1.0 if measure in MORE_IS_BETTER else -1.0
    gain = sign * (live - frozen)
    figures = f"{name_of(measure)} {_short(live)} against {_short(frozen)} for a model frozen after the first fifth"
    little = _LITTLE[measure] * (1.0 if measure in MORE_IS_BETTER else abs(frozen))
    if gain < -little:
        return f"Here learning at every event does harm ({figures}): what was learnt early keeps."
    if gain <= little:
        return f"Freshness is worth next to nothing here ({figures}): publish rarely."
    kept = {rung: sign * (ladder[rung][measure] - frozen) / gain for rung in ("1%", "5%")}
    return (
        f"Learning at every event makes {figures}; "
        f"published at each 1 % of the rows it {_keeps(kept['1%'])}, at each 5 % it {_keeps(kept['5%'])}."
    )


def persistence(ladder: Scores, task: str) -> str:
    """A second sentence where repeating the last label beats the model; else ""."""
    measure = "mae" if task == "regression" else "accuracy"
    same, live = ladder[NO_CHANGE][measure], ladder["every_event"][measure]
    if (same - live) * (1.0 if measure in MORE_IS_BETTER else -1.0) <= 0:
        return ""
    return (
        f"But repeating the last known label does better than this model ({name_of(measure)} {_short(same)} against "
        f"{_short(live)}): what was true lately belongs among the features."
    )


def _keeps(share: float) -> str:
    if share > 1.02:  # noqa: PLR2004 - as good or better
        return "is even better"
    return f"keeps {100 * share:.0f} % of that gain" if share >= 0 else "is worse than frozen"


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004
