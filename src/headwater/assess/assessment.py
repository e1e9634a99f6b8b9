"""The whole assessment of a file, and its report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from headwater.assess.choices import Choices
from headwater.assess.encoding import Prepared, prepare
from headwater.assess.ladder import climb
from headwater.assess.scores import Scores, scores_of
from headwater.assess.table import Progress, ignore
from headwater.assess.times import MISSING
from headwater.assess.verdict import persistence, verdict
from headwater.learning.linear import Linear


@dataclass(slots=True, eq=False)
class Assessment:
    """What was found.

    Attributes:
        choices: What the user said.
        prepared: The table, its kinds and leaks, and the arrays.
        ladder: Rung -> measure -> value, over the rows after the first fifth.
        spec: The learner that climbed.
        seconds: Wall time of all of it.
    """

    choices: Choices
    prepared: Prepared
    ladder: Scores
    spec: Linear
    seconds: float

    @property
    def task(self) -> str:
        """binary, multiclass or regression."""
        return self.prepared.encoded.task

    @property
    def sentence(self) -> str:
        """What the ladder means."""
        return verdict(self.ladder, self.task)

    @property
    def but(self) -> str:
        """That "no change" beats the model, where it does; else ""."""
        return persistence(self.ladder, self.task)

    def columns(self) -> dict[str, str]:
        """Every column that was read -> its kind or part."""
        choices, prepared = self.choices, self.prepared
        found = {name: kind.name for name, kind in prepared.kinds.items()}
        parts = {choices.time: "time", choices.label: "label"} | {choices.label_time or "": "label_time"}
        parts |= dict.fromkeys(choices.drop, "dropped")
        names = dict.fromkeys([*prepared.table.file.names, *found])
        return {name: parts.get(name) or found[name] for name in names if name in parts or name in found}

    def report(self) -> dict[str, Any]:
        """As `headwater assess --json` writes it."""
        prepared, encoded = self.prepared, self.prepared.encoded
        return {
            "file": str(prepared.table.file.path), "task": self.task, "rows": encoded.n, "seconds": self.seconds,
            "columns": self.columns(), "suspected_leaks": [leak.column for leak in prepared.leaks], "ladder": self.ladder,
            "verdict": " ".join(filter(None, (self.sentence, self.but))),
            "why": {name: kind.why for name, kind in prepared.kinds.items() if kind.why}
            | {leak.column: leak.why for leak in prepared.leaks},
            "notes": prepared.table.notes, "classes": list(encoded.classes), "label": self.label_facts(),
            "first": _utc(int(encoded.time_ms[0])), "last": _utc(int(encoded.time_ms[-1])), "learner": self.spec.describe(),
        }  # fmt: skip

    def label_facts(self) -> dict[str, Any]:
        """Numbers about the label: rows without one, its mean, its delays in ms (median and greatest)."""
        encoded = self.prepared.encoded
        there = ~np.isnan(encoded.y)
        facts: dict[str, Any] = {"name": self.choices.label, "missing": int((~there).sum())}
        if self.task != "multiclass":
            facts["mean"] = float(encoded.y[there].mean())
        if encoded.is_delayed:
            known = there & (encoded.known_ms != MISSING)
            delay = encoded.known_ms[known] - encoded.time_ms[known]
            facts |= {"median_delay_ms": int(np.median(delay)), "greatest_delay_ms": int(delay.max())}
        return facts


def assess(path: Path, choices: Choices, progress: Progress = ignore, rows: int | None = None) -> Assessment:
    """Read a file, tell what its columns are, and climb the ladder.

    Args:
        path: CSV (also .gz), JSON lines or Parquet.
        choices: Which column is what.
        progress: Told how far it is.
        rows: Read no more than so many rows.

    Raises:
        Fatal: The input cannot be used; the message says where and what to do.
    """
    began = time.perf_counter()
    prepared = prepare(path, choices, progress, rows)
    climbed = climb(prepared.encoded, progress)
    ladder = scores_of(prepared.encoded, climbed)
    return Assessment(choices, prepared, ladder, climbed.spec, time.perf_counter() - began)


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")
