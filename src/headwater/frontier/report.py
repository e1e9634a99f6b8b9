"""The report: one row for each policy, and one sentence that recommends a setting."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from headwater.frontier.scores import quality

NEAR = {"log_loss": 0.005, "mae": 0.01}  # as good as: nats, or share of the distance
_AT_STAKE = 0.05  # and nats no more than this share of what "no change" loses: where that is little, little counts
IN_HINDSIGHT = ("oracle", "always")  # their settings were chosen by looking at the outcome


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one policy.

    Attributes:
        name: Of the policy.
        metrics: Over all rows after the warm-up.
        core_seconds: Everything that it spent.
        share_of_always: The same, as a share of refitting at every decision point.
        full_updates: Fits that were served.
        lag_ms: Median time from a label's becoming known to the first answer by what has learnt it.
    """

    name: str
    metrics: dict[str, float]
    core_seconds: float
    share_of_always: float
    full_updates: int
    lag_ms: float

    @property
    def quality(self) -> float:
        """The metric by which policies are compared; less is better."""
        return quality(self.metrics)


@dataclass(slots=True)
class Report:
    """The frontier of one file.

    Attributes:
        task: "binary" or "regression".
        rows: Of the file.
        policies: One row each.
        always: How `always` was fitted, in words.
        timing_gap: How much of the gap between periodic refits and the oracle the probe closes without a fast layer.
        plans: What the default planner did and why, in order.
        anchors: Of the default planner, by past regime: what its slow model lost on a sample of it when it ended, and what
            the last one loses on it.
        recovery: Of the default planner, by known change: labels until its loss was back at its level; None where unknown.
        recommended, why: A policy's name, and the sentence.
    """

    task: str
    rows: int
    policies: list[Row]
    always: str
    timing_gap: float
    plans: list[dict[str, Any]] = field(default_factory=list)
    anchors: list[dict[str, Any]] = field(default_factory=list)
    recovery: list[dict[str, Any]] = field(default_factory=list)
    recommended: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        self.recommended, self.why = recommend(self.policies)

    def row(self, name: str) -> Row:
        """A policy's row."""
        return next(row for row in self.policies if row.name == name)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def recommend(policies: list[Row]) -> tuple[str, str]:
    """The cheapest policy that is as good as the best one that a user can have, and why."""
    able = [row for row in policies if row.name not in IN_HINDSIGHT[:1]]
    enough = min(row.quality for row in able) + _tolerance(able)
    chosen = min((row for row in able if row.quality <= enough), key=lambda row: (row.core_seconds, row.quality))
    always = next(row for row in policies if row.name == "always")
    metric = "mean absolute error" if "mae" in chosen.metrics else "log loss"
    gain = always.quality - chosen.quality
    beside = f"{abs(gain):.4g} {'less' if gain > 0 else 'more'} than refitting at every decision point"
    fits = f"{chosen.full_updates} full update{'' if chosen.full_updates == 1 else 's'}"
    return chosen.name, (
        f"Use {chosen.name}: its {metric} is {chosen.quality:.4g}, {beside}, "
        f"at {chosen.share_of_always:.2%} of the core-seconds, with {fits}."
    )


def _tolerance(able: list[Row]) -> float:
    """How much worse than the best is as good."""
    best = min(able, key=lambda row: row.quality)
    if "mae" in best.metrics:
        return NEAR["mae"] * best.quality
    return min([NEAR["log_loss"], *(_AT_STAKE * row.quality for row in able if row.name == "no_change")])
