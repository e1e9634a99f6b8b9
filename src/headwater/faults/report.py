"""What came of a run of schedules: how often each class fired, and every promise that did not hold."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from headwater.faults.schedule import Outcome, Steps


class Schedule(msgspec.Struct, frozen=True):
    """One schedule, whole.

    Attributes:
        seed, number: Reproduce it, among the same classes.
        fault: Its class's id.
        title: Its class, in a few words.
        is_process: Whether it starts real processes.
        steps: What is done.
    """

    seed: int
    number: int
    fault: str
    title: str
    is_process: bool
    steps: Steps


class Violation(msgspec.Struct, frozen=True):
    """A promise that did not hold: in which schedule, and what was found."""

    schedule: Schedule
    said: str


@dataclass(slots=True)
class Report:
    """What came of a run.

    Attributes:
        seed: Whose schedules they were.
        schedules: How many of each class, by id.
        fired: How many times each class's fault really happened, by id.
        titles: Of the classes, by id; the shortest where several share one.
        n_process: Schedules of real processes.
        violations: In order of number.
        seconds: How long it took.
    """

    seed: int
    schedules: dict[str, int] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    n_process: int = 0
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n(self) -> int:
        """Schedules that were run."""
        return sum(self.schedules.values())

    @property
    def never_fired(self) -> list[str]:
        """Classes whose fault never happened: they have shown nothing."""
        return [name for name, times in self.fired.items() if not times]

    def add(self, schedule: Schedule, outcome: Outcome) -> None:
        self.schedules[schedule.fault] = self.schedules.get(schedule.fault, 0) + 1
        self.fired[schedule.fault] = self.fired.get(schedule.fault, 0) + outcome.fired
        self.titles[schedule.fault] = min(self.titles.get(schedule.fault, schedule.title), schedule.title, key=len)
        self.n_process += schedule.is_process
        self.violations += [Violation(schedule, said) for said in outcome.violations]
