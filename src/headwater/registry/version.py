"""What the registry knows of a version beside its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Version:
    """A registered snapshot of a line: what the fold was after the events before `seq`.

    Attributes:
        line: The line that it belongs to; contains no `@`.
        seq: Its place in the log: it has learnt every event before this one.
        sha256: Hash of its file, 64 hexadecimal digits.
        created_ms: Event time of its making, ms since 1970 UTC.
        trigger: Why it was made: `midnight`, `labels`, `once`, `pin`, ...
        recipe: What made it, beside the events: code hash, schema hash, parameters, library versions, architecture.
        parent: Name of the version it grew from; None for the first of its line.
        log_start: First sequence number that it depends on; the range is `[log_start, seq)`.
        metrics: Prequential metrics at its making; None where there was nothing finite to tell.
        cost_core_s: Core-seconds spent since its parent.
    """

    line: str
    seq: int
    sha256: str
    created_ms: int
    trigger: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    log_start: int = 0
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    cost_core_s: float = 0.0

    @property
    def name(self) -> str:
        """`line@seq`, its name in answers, commands and pages."""
        return f"{self.line}@{self.seq}"

    def describe(self) -> dict[str, Any]:
        """As plain data for JSON, its name first."""
        return {"name": self.name} | asdict(self)
