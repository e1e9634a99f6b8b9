"""What applying a changed app would do, and how long it would take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from headwater.app import App
from headwater.core.duration import format_ms
from headwater.core.errors import WrongState
from headwater.log.protocol import EventLog
from headwater.runtime.changes import BACKFILLED, Part, difference, remembered
from headwater.runtime.fold import Fold
from headwater.runtime.places import STATE

_SAMPLE_CHUNKS = 8
_CHUNK_EVENTS = 4096
_START_S = 3.0  # of two processes


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a change does.

    Attributes:
        has_changed: Whether the declaration differs from the state's.
        parts: What becomes of each model and memory.
        events: Events to fold.
        cut: Events that retention has cut; what is backfilled does not know them.
        seconds: How long it takes, from a sample folded just now; None where there is nothing to fold.
    """

    has_changed: bool
    parts: list[Part]
    events: int
    cut: int
    seconds: float | None

    def words(self) -> str:
        """What it comes to, in a sentence or two."""
        n_new = sum(part.fate == BACKFILLED for part in self.parts)
        if not n_new:
            return "Nothing is backfilled; the change takes effect in a few seconds."
        span = "a few seconds" if self.seconds is None else f"about {format_ms(max(1, round(self.seconds)) * 1000)}"
        said = f"{n_new} of these are folded from {self.events:,} events of the log: {span}, beside what runs."
        if self.cut:
            said += f" Retention has cut the {self.cut:,} events before: what is backfilled starts without them; what is kept"
            said += " has seen them."
        return said


def forecast(app: App, folder: Path, log: EventLog) -> Forecast:
    """What applying an app to a state directory would do; folds a small sample to tell how long.

    Raises:
        WrongState: Nothing has been folded there, or the log's events cannot be read by the app.
    """
    before = declared_before(app, folder)
    parts = difference(before, app)
    first, end = log.bounds()
    rate = _events_per_s(app, log, first)
    seconds = None if rate is None else (end - first) / rate + _START_S
    return Forecast(before["fingerprint"] != app.fingerprint(), parts, end - first, first, seconds)


def declared_before(app: App, folder: Path) -> dict[str, Any]:
    """The declaration by which a state directory was folded.

    Raises:
        WrongState: Nothing has been folded there, or another app's events.
    """
    before = remembered(folder / STATE)
    if before is None:
        raise WrongState(
            "nothing has been folded here yet", where=str(folder), next_step="Check --state, or `headwater run` first."
        )
    if before["name"] != app.name:
        raise WrongState("the state belongs to another app", where=str(folder), expected=before["name"], got=app.name)
    return before


def _events_per_s(app: App, log: EventLog, first: int) -> float | None:
    """How fast the changed app folds, from the log's first rows; the very first chunk only warms up."""
    fold, began, start = Fold(app), 0.0, 0
    fold.seq = first
    for i, chunk in enumerate(islice(log.read(first, _CHUNK_EVENTS), _SAMPLE_CHUNKS)):
        fold.step(chunk)
        if i == 0:
            began, start = time.perf_counter(), fold.seq
    return (fold.seq - start) / (time.perf_counter() - began) if fold.seq > start else None
