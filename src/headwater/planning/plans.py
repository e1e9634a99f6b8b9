"""What the planner is told, what it is set to, and what it says: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headwater.core.batch import Floats
from headwater.planning.anchors import LIMIT
from headwater.planning.methods import Name
from headwater.planning.probe import FRESH_POINTS

Action = Literal["wait", "fit", "refuse", "promote", "reset"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do at a decision point.

    Attributes:
        action: "fit" begins an update, "wait" does not, "refuse" would but must not; with a ladder also "promote", which
            puts the slow model to rest, and "reset", which forgets everything.
        why: One plain sentence.
        numbers: What the sentence rests on.
        method: By which an update is made; see `methods`.
    """

    action: Action
    why: str
    numbers: dict[str, float] = field(default_factory=dict)
    method: Name = "fast"


@dataclass(frozen=True, slots=True)
class Policy:
    """The planner's settings.

    Attributes:
        least_labels: No fit on fewer.
        least_of_class: Nor on fewer labels of the rarer class.
        price: A refit is due when waiting has cost `price` times the loss of "no change" at one decision point.
        slack: Share of the loss of "no change" that is put down to noise.
        pays: A refit pays if it brings this share of the loss of "no change".
        first_growth: The first try comes when there are so many times the labels of the first fit.
        cool_down: Decision points between two fits, at least.
        forget: A candidate that on past regimes loses more than this share of the loss of "no change" has to gain as much on
            the newest labels; infinite is no limit.
        gives_up: With a ladder: whether the slow model may be put to rest, or everything forgotten, where that helps.
        by_itself, first_by_itself: Whether refits, and the first fit, need not be asked for.
    """

    least_labels: int = 200
    least_of_class: int = 10
    price: float = 0.5
    slack: float = 0.01
    pays: float = 0.01
    first_growth: float = 3.0
    cool_down: int = FRESH_POINTS + 1
    forget: float = LIMIT
    gives_up: bool = True
    by_itself: bool = True
    first_by_itself: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a decision point.

    Attributes:
        n_new: Labels since the last decision point.
        probe_loss, model_loss, unchanged_loss: Mean losses on them: the learner without trees, the one with, "no change".
        n_known: Labels known.
        n_window: Of them, in the window that a fit would learn from.
        n_rarer: Of these, labels of the rarer class; None for numbers.
        cost_core_s: The fit's cost, 90 % quantile.
        elapsed: Decision points since the last plan, by the clock.
        n_sources: Sources that the window's labels are from; None where labels have one source anyway.
        coverage: Share of the labels of the last decision point's rows that can have come by now, as they usually come.
        costs: By method, the 90 % quantile of its cost; only those that can be carried out now. Of use with a ladder.
        most_core_s: What a full fit may take before it is ended; 0 is twice its cost.
        most: The same by method, where it is more than twice the cost.
        paired: float64[n]: on the new labels, in order, what the learner with trees lost more than the one without.
    """

    n_new: int
    probe_loss: float
    model_loss: float
    unchanged_loss: float
    n_known: int
    n_window: int
    n_rarer: int | None
    cost_core_s: float
    elapsed: float = 1.0
    n_sources: int | None = None
    coverage: float = 1.0
    costs: Mapping[Name, float] = field(default_factory=dict)
    most_core_s: float = 0.0
    most: Mapping[Name, float] = field(default_factory=dict)
    paired: Floats | None = field(default=None, compare=False)
