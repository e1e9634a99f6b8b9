"""From rounds to one number with its range, and from that to the row that is written as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a row's number is and what it should reach.

    Attributes:
        slug: Its name on the command line and in the JSON.
        unit: "x" for a ratio, ours to theirs; else the unit of our own figure.
        better: Whether a higher or a lower number is better.
        reach: Where the row is good.
        moonshot: Where it is very good.
    """

    slug: str
    unit: str
    better: Better
    reach: float
    moonshot: float

    def is_reached(self, value: float) -> bool:
        return value >= self.reach if self.better == "higher" else value <= self.reach


@dataclass(frozen=True, slots=True)
class Figure:
    """A median and the range that it was taken from."""

    value: float
    low: float
    high: float


def figure(values: Sequence[float]) -> Figure:
    """The median of some rounds, with the least and the greatest.

    >>> figure([3.0, 1.0, 2.0])
    Figure(value=2.0, low=1.0, high=3.0)
    """
    return Figure(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Ours to theirs, round by round: a machine that slows down for a while slows both sides of a round.

    >>> ratio([20.0, 30.0], [10.0, 10.0])
    Figure(value=2.5, low=2.0, high=3.0)
    """
    return figure([a / b for a, b in zip(ours, theirs, strict=True)])


@dataclass(slots=True)
class Result:
    """One row's outcome; `row` has the keys of the JSON.

    Attributes:
        spec: What it is.
        peer: Who it was compared with.
        figure: The number.
        ours: Our median in `measure`.
        theirs: The peer's; None where there is none.
        measure: What `ours` and `theirs` count.
        n: Size of a round's work.
        rounds: How many.
        is_right: Whether what both sides computed was checked and found right.
        versions: Of what ran.
        facts: What else is worth telling: memory, settings, counts; printed on the page.
    """

    spec: Spec
    peer: str
    figure: Figure
    ours: float
    theirs: float | None
    measure: str
    n: int
    rounds: int
    is_right: bool
    versions: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)

    def row(self, cpu: str) -> dict[str, Any]:
        spec = asdict(self.spec)
        return {
            "slug": spec["slug"], "peer": self.peer, "value": self.figure.value, "low": self.figure.low,
            "high": self.figure.high, "unit": spec["unit"], "better": spec["better"], "reach": spec["reach"],
            "moonshot": spec["moonshot"], "ok": self.is_right and self.spec.is_reached(self.figure.value),
            "ours": self.ours, "theirs": self.theirs, "n": self.n, "rounds": self.rounds, "cpu": cpu,
            "versions": self.versions, "measure": self.measure, "facts": self.facts,
        }  # fmt: skip
