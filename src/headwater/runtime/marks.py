"""Marks of refits in the log: what a fit gave takes effect at a place that is written down.

A fit takes as long as it takes, so where it takes effect does not follow from the events. The mark says it, with the hash of
what was fitted; log and files together then give the same bits, live, rebuilt or replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.app import Model
from headwater.core.batch import Batch
from headwater.core.clock import Clock
from headwater.core.errors import CorruptData, Fatal
from headwater.learning.protocol import Array
from headwater.log.control import control_batch, control_events
from headwater.registry.artifact import Artifacts
from headwater.runtime.stopping import recipe_of

REFIT, ASK_REFIT, PLANNED = "model.refit", "model.ask_refit", "model.planned"
"""A slow part takes effect; a person asks for a fit; from here on a planner writes such marks."""
REFITS = "refits"
"""In the registry's folder: the files of slow parts."""

Fitted = Callable[[str], Mapping[str, Array]]  # by hash


@dataclass(frozen=True, slots=True)
class Refit:
    """What a mark says of a fit.

    Attributes:
        model: Whose slow part.
        sha256: Of its file.
        rows: Examples that it was fitted on.
        core_s: What it cost, measured.
        why: The plan's sentence.
        at: The place of the decision.
    """

    model: Model
    sha256: str
    rows: int
    core_s: float
    why: str
    at: int

    def mark(self, time_ms: int, clock: Clock) -> Batch:
        """As an event to append."""
        body = {
            "model": self.model.name, "recipe": recipe_of(self.model), "sha256": self.sha256, "rows": self.rows,
            "core_s": self.core_s, "why": self.why,
        }  # fmt: skip
        return control_batch(REFIT, body, time_ms=time_ms, id=f"refit-{self.model.name}-{self.at}", clock=clock)


def planned(model: Model, time_ms: int, clock: Clock) -> Batch:
    """From here on a planner decides on the model's refits: who replays the log follows its marks."""
    body = {"model": model.name, "recipe": recipe_of(model)}
    return control_batch(PLANNED, body, time_ms=time_ms, id=f"planned-{model.name}-{recipe_of(model)}", clock=clock)


def ask_refit(model: str, time_ms: int, name: str, clock: Clock) -> Batch:
    """A person's wish for a fit; `name` tells it from every other one."""
    return control_batch(ASK_REFIT, {"model": model}, time_ms=time_ms, id=f"ask-refit-{name}", clock=clock)


def has_plans(batch: Batch) -> bool:
    """Whether a history says itself when refits took effect."""
    return any(mark.kind in {PLANNED, REFIT} for mark in control_events(batch))


def no_refits(sha256: str) -> Mapping[str, Array]:
    """For a fold that cannot read files of slow parts."""
    raise Fatal(
        "the log has a refit, and its file is not at hand", where=f"refit {sha256[:12]}",
        next_step="Name the state directory that it was made in with --state.",
    )  # fmt: skip


def refits_in(registry: Path) -> Fitted:
    """Reads the files of slow parts that lie in a registry's folder."""
    files = Artifacts(registry / REFITS)

    def read(sha256: str) -> Mapping[str, Any]:
        try:
            return files.get(sha256).arrays
        except CorruptData as error:
            raise CorruptData(
                "a refit's file is missing or altered", where=str(files.path(sha256)), got=error.what,
                next_step="Restore it from a copy of the registry: without it the log cannot be folded past its mark.",
            ) from error  # fmt: skip

    return read
