"""The ladder of updates: what can be done about a slow model that has fallen behind, cheapest first.

Each method has a cost model and a record of what it has brought; what it would do is a value, `Work`, that others carry
out. The planner climbs: it begins with the cheapest rung, whose price is small, so that waiting soon has cost as much. A rung
that twice running brought less than half of what was expected of it gives way to the next; a full refit that paid starts
from the bottom again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headwater.planning.cost import CostModel
from headwater.planning.windows import Window

Name = Literal["nothing", "fast", "steps", "window", "full", "reset", "probe"]
NAMES: tuple[Name, ...] = ("nothing", "fast", "steps", "window", "full", "reset", "probe")
RUNGS: tuple[Name, ...] = ("steps", "window", "full")  # those that fit, cheapest first
MEANING: dict[Name, str] = {
    "nothing": "nothing is learnt",
    "fast": "the fast layer learns each label, the slow model stays",
    "steps": "more trees on the labels since the last fit",
    "window": "a refit on the window that does best",
    "full": "a refit on all labels that the budget can pay",
    "reset": "everything that was learnt is forgotten",
    "probe": "the learner without trees answers alone",
}
GROWTH = 2  # so many times the slow model's trees there may be at most, after updates in steps
STEPS_SHARE = 0.25  # of the slow model's trees are added by one update in steps
_MEMORY = 0.8  # of a record, from one update to the next
_SHORT_OF = 0.5  # a rung that brings less of its forecast has fallen short


@dataclass(frozen=True, slots=True)
class Work:
    """What a method would do.

    Attributes:
        method: Its name.
        first, n: The known labels that it reads: position of the first, and how many.
        trees: That it fits.
        amount: Rows x columns x trees, for its cost model; 0 for a method that fits nothing.
    """

    method: Name
    first: int
    n: int
    trees: int
    amount: float


@dataclass(slots=True)
class GainRecord:
    """What a method has brought, in loss avoided a label; newer updates count more (0.8 a step).

    Attributes:
        mean: Discounted mean; 0 with nothing seen.
        weight: Discounted number of updates.
        n_short: How many times running it brought less than half of its forecast.
    """

    mean: float = 0.0
    weight: float = 0.0
    n_short: int = 0

    def observe(self, gain: float, forecast: float) -> None:
        """An update was expected to bring `forecast`, and brought `gain`."""
        self.weight = _MEMORY * self.weight + 1.0
        self.mean += (gain - self.mean) / self.weight
        self.n_short = self.n_short + 1 if gain < _SHORT_OF * forecast else 0

    def forecast(self, missing: float) -> float:
        """What an update would bring where `missing` is missing: at first all of that, later more and more the record."""
        return (missing + self.weight * self.mean) / (1.0 + self.weight)


@dataclass(slots=True, eq=False)
class Method:
    """One rung.

    Attributes:
        name: One of `NAMES`.
        trees: That it fits; 0 where it fits none.
        costs: Core-seconds by work.
        gains: What it has brought.
    """

    name: Name
    trees: int = 0
    costs: CostModel = field(default_factory=CostModel)
    gains: GainRecord = field(default_factory=GainRecord)

    def prepare(self, window: Window, n_columns: int) -> Work:
        """What it would do on a window of the known labels, over so many columns."""
        if self.trees == 0:
            return Work(self.name, window.first, 0, 0, 0.0)
        return Work(self.name, window.first, window.n, self.trees, float(window.n * n_columns * self.trees))

    def cost_upper(self, work: Work) -> float:
        """The 90 % quantile of its core-seconds."""
        return self.costs.upper(work.amount) if work.trees else 0.0

    def refused(self, work: Work, n_trees: int, most_trees: int) -> str:
        """Why it cannot work, whatever it costs, on a model that has so many trees; empty where it can."""
        if self.name != "steps":
            return ""
        if n_trees == 0:
            return "there is no model to go on from."
        if n_trees + self.trees > most_trees:
            return f"the model has {n_trees} trees, and there is room for {most_trees}."
        return "" if work.n else "there are no new labels."


class Ladder:
    """The rungs of one slow model, and where the planner stands.

    Args:
        trees: Of a full fit.

    Attributes:
        methods: By name.
        stands: The rung, of `RUNGS`, that the planner begins with.

    >>> ladder = Ladder(60)
    >>> ladder.rung({"steps": 0.1, "full": 1.0})
    'steps'
    >>> for _ in range(2):
    ...     ladder.judged("steps", gain=0.0, forecast=0.1)
    >>> ladder.rung({"steps": 0.1, "full": 1.0})
    'full'
    """

    def __init__(self, trees: int) -> None:
        many = {"steps": max(1, round(STEPS_SHARE * trees)), "window": trees, "full": trees}
        self.methods: dict[Name, Method] = {name: Method(name, many.get(name, 0)) for name in NAMES}
        self.stands = 0

    def rung(self, costs: Mapping[Name, float]) -> Name:
        """The cheapest rung, from where the planner stands on, that can be carried out: has a cost. The last always can."""
        for name in RUNGS[self.stands : -1]:
            if name in costs:
                return name
        return RUNGS[-1]

    def forecast(self, name: Name, missing: float) -> float:
        """What a method would bring, in loss avoided a label."""
        return self.methods[name].gains.forecast(missing)

    def judged(self, name: Name, gain: float, forecast: float) -> None:
        """An update by a method has been judged: climb where it fell short twice, start again where the top has paid."""
        record = self.methods[name].gains
        record.observe(gain, forecast)
        at = RUNGS.index(name)
        if name == RUNGS[-1]:
            self.stands = 0 if gain > 0 else self.stands
        elif record.n_short >= 2:  # noqa: PLR2004 - twice running
            self.stands = max(self.stands, at + 1)
            record.n_short = 0
