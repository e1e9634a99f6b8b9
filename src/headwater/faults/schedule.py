"""What a class of faults has to offer, and what a schedule is: steps drawn from a seed, which can be printed and run again.

All randomness is spent in `expand`, in the parent; `run` follows the steps, in a process of its own, and draws nothing. So a
seed reproduces a run, and its printed steps say what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

Steps = list[Mapping[str, Any]]  # what JSON can hold


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one schedule.

    Attributes:
        fired: How many times the fault really happened: the kill hit, the byte was flipped, the request was shed.
        violations: What was promised and did not hold, each in a sentence with its numbers; empty is well.
    """

    fired: int
    violations: list[str] = field(default_factory=list)


class Fault(Protocol):
    """One class of faults.

    Attributes:
        id: As in docs/guarantees.md: "F1".
        title: In a few words.
        is_process: Whether its schedules start real processes of Headwater.
    """

    @property
    def id(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def is_process(self) -> bool: ...

    def expand(self, random: Random) -> Steps:
        """Draw one schedule."""

    def run(self, steps: Steps, place: Path) -> Outcome:
        """Carry it out in an empty folder; whatever is raised counts as a violation. The process may be killed after it."""
