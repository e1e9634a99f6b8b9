"""When a slow model is refitted, as a user declares it: `hw.Fast(update=...)`.

    update=hw.Planner(budget="5% of a core")
    update=[hw.Planner(), hw.every("1d"), hw.on_drift(hw.ADWIN)]
    update=hw.when(hw.metric("auc") < 0.75)

Whatever asks for a refit, it begins only if the budget can pay it and its window can be learnt from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from headwater.core.duration import parse_ms
from headwater.core.errors import DeclarationError, nearest
from headwater.planning.methods import RUNGS, Name

ADWIN, DDM, KSWIN, PAGE_HINKLEY = "adwin", "ddm", "kswin", "page_hinkley"
SENSORS = (ADWIN, DDM, KSWIN, PAGE_HINKLEY)
METRICS = ("accuracy", "auc", "log_loss", "mae", "rmse")
_BUDGET = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%\s*of\s*(?:a|one)\s+core|cores?)\s*")
_DEFAULT = "5% of a core"
_SAVED_S, _FIRST_S = 600.0, 60.0  # as much of the budget may be saved up; as much is there at the start
_CORES = "a share such as '5% of a core', or '0.5 cores'"


@dataclass(frozen=True, slots=True)
class Planner:
    """Refits when that is worth it, within a budget.

    Args:
        budget: Core-seconds per second for everything that learns this model: the fast layer, its evidence, refits. What is
            not spent is saved up for ten minutes.
        freshness: Instead of a budget: answers may be so stale. The fast layer and refits may use what there is of one core,
            but none begins while the learner lags behind the log by more than half of this.
        methods: What it may choose among: "full", a refit, always; "steps", a quarter as many trees more on the labels since
            the last fit; "window", a refit on the window that does best. See `methods`.

    Raises:
        DeclarationError: It cannot be understood, or both are given.
    """

    budget: str | None = None
    freshness: str | None = None
    methods: tuple[Name, ...] = ("full",)

    def __post_init__(self) -> None:
        if self.budget is not None and self.freshness is not None:
            raise DeclarationError("a planner has a budget or a freshness", where="hw.Planner", got=repr(self))
        if self.freshness is not None and parse_ms(self.freshness, where="hw.Planner.freshness") <= 0:
            raise DeclarationError("a freshness is positive", where="hw.Planner.freshness", got=self.freshness)
        self.cores()
        object.__setattr__(self, "methods", _methods(self.methods))

    def cores(self) -> float:
        """Core-seconds per second.

        >>> Planner(budget="5% of a core").cores(), Planner(budget="2 cores").cores(), Planner(freshness="1m").cores()
        (0.05, 2.0, 1.0)
        """
        if self.freshness is not None:
            return 1.0
        text = _DEFAULT if self.budget is None else self.budget
        found = _BUDGET.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise DeclarationError("this is no budget", where="hw.Planner.budget", expected=_CORES, got=repr(text))
        return float(found[1]) / (100.0 if found[2].startswith("%") else 1.0)


def _methods(names: Any) -> tuple[Name, ...]:
    """Methods of update, cheapest first."""
    where, named = "hw.Planner.methods", tuple(names) if isinstance(names, list | tuple) else (names,)
    for name in named:
        if name not in RUNGS:
            raise DeclarationError("no such method of update", where=where, got=repr(name), next_step=nearest(str(name), RUNGS))
    if "full" not in named:
        raise DeclarationError(
            "a planner always has full refits", where=where, expected='"full" among them', got=repr(names),
            next_step='Add "full": the first fit is one, and so is what a person or a rule asks for.',
        )  # fmt: skip
    return tuple(name for name in RUNGS if name in named)


@dataclass(frozen=True, slots=True)
class OnDrift:
    """A refit after a drift sensor has alarmed on what the answers have lost; see `on_drift`."""

    sensor: str


def on_drift(sensor: str = ADWIN) -> OnDrift:
    """Ask for a refit after one of River's detectors has alarmed: `hw.ADWIN`, `hw.DDM`, `hw.KSWIN`, `hw.PAGE_HINKLEY`.

    A sensor says that losses have changed, not that a refit would help: measured on ten streams, as triggers they did not
    beat a calendar. Needs River.
    """
    if sensor not in SENSORS:
        raise DeclarationError(
            "no such drift sensor", where="hw.on_drift", got=repr(sensor), next_step=nearest(str(sensor), SENSORS)
        )
    return OnDrift(sensor)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the answers, over the newest labels; compare it with a number."""

    name: str
    over: int

    def __lt__(self, bound: float) -> When:
        return When(self, "<", float(bound))

    def __gt__(self, bound: float) -> When:
        return When(self, ">", float(bound))


@dataclass(frozen=True, slots=True)
class When:
    """A refit is asked for at each decision point at which a metric is below or above a bound."""

    metric: Metric
    side: Literal["<", ">"]
    bound: float

    def describe(self) -> str:
        """In words.

        >>> (metric("auc") < 0.75).describe()
        'auc over 2000 labels < 0.75'
        """
        return f"{self.metric.name} over {self.metric.over} labels {self.side} {self.bound:g}"


def metric(name: str, *, over: int = 2_000) -> Metric:
    """One of accuracy, auc, log_loss, mae, rmse, over the newest `over` labels."""
    if name not in METRICS:
        raise DeclarationError("no such metric", where="hw.metric", got=repr(name), next_step=nearest(str(name), METRICS))
    if not isinstance(over, int) or over < 1:
        raise DeclarationError("a metric needs labels", where="hw.metric", expected="over >= 1", got=repr(over))
    return Metric(name, over)


def when(condition: When) -> When:
    """Ask for a refit while a metric is bad: `hw.when(hw.metric("auc") < 0.75)`."""
    if not isinstance(condition, When):
        raise DeclarationError(
            "this is no condition on a metric", where="hw.when", expected='hw.metric("auc") < 0.75', got=repr(condition)
        )
    return condition


@dataclass(frozen=True, slots=True)
class Manual:
    """No refit but those that a person asks for."""


def manual() -> Manual:
    """Refit when a person says so: `headwater refit MODEL`."""
    return Manual()


@runtime_checkable
class Calendar(Protocol):
    """`hw.every(...)` and `hw.every_labels(...)`."""

    every_ms: int
    offset_ms: int
    every_labels: int


@dataclass(frozen=True, slots=True)
class Updating:
    """What a declaration comes to.

    Attributes:
        rate: Core-seconds per second.
        depth, first: The most that is saved up, and what is there at the start, in core-seconds.
        freshness_s: How stale answers may be, or None.
        by_itself: The planner refits when waiting has cost as much as an update.
        first_by_itself: A first model is fitted as soon as there are labels enough.
        calendars, sensors, conditions: Rules that ask for more.
        methods: That the planner chooses among, cheapest first.
    """

    rate: float
    depth: float
    first: float
    freshness_s: float | None
    by_itself: bool
    first_by_itself: bool
    calendars: tuple[Calendar, ...] = ()
    sensors: tuple[str, ...] = ()
    conditions: tuple[When, ...] = ()
    methods: tuple[Name, ...] = ("full",)


def updating(update: Any, where: str = "hw.Fast.update") -> Updating:
    """Read a declaration: None, one thing or a list.

    Raises:
        DeclarationError: A part of it is none of those, or there are two planners.
    """
    parts = list(update) if isinstance(update, list | tuple) else [Planner() if update is None else update]
    planners = [part for part in parts if isinstance(part, Planner)]
    strangers = [part for part in parts if not isinstance(part, Planner | OnDrift | When | Manual) and not _rings(part)]
    if strangers or not parts:
        raise DeclarationError(
            "this does not say when to refit", where=where, got=repr(strangers[0] if strangers else parts),
            expected="hw.Planner(...), hw.every(...), hw.every_labels(...), hw.on_drift(...), hw.when(...), hw.manual()",
        )  # fmt: skip
    if len(planners) > 1:
        raise DeclarationError("a model has one planner", where=where, got=repr(planners))
    planner = planners[0] if planners else Planner()
    rate = planner.cores()
    fresh_s = None if planner.freshness is None else parse_ms(planner.freshness) / 1000
    only_asked = all(isinstance(part, Manual) for part in parts)
    calendars = tuple(part for part in parts if isinstance(part, Calendar) and _rings(part))
    return Updating(
        rate, rate * _SAVED_S, rate * _FIRST_S, fresh_s, bool(planners), not only_asked, calendars,
        tuple(part.sensor for part in parts if isinstance(part, OnDrift)), tuple(_whens(parts)), planner.methods,
    )  # fmt: skip


def _rings(part: Any) -> bool:
    return isinstance(part, Calendar) and bool(part.every_ms or part.every_labels)


def _whens(parts: list[Any]) -> Iterator[When]:
    return (part for part in parts if isinstance(part, When))
