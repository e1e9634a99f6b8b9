"""Both engines of this room pass the same suite."""

from pathlib import Path

from headwater.core.clock import Clock
from headwater.log import EventLog, LmdbLog, MemoryLog
from headwater.testing.log_conformance import EventLogConformance


class TestLmdbLog(EventLogConformance):
    def make_log(self, folder: Path, *, dedupe_for_ms: int, clock: Clock) -> EventLog:
        return LmdbLog(folder, dedupe_for_ms=dedupe_for_ms, clock=clock)


class TestMemoryLog(EventLogConformance):
    is_durable = False

    def make_log(self, folder: Path, *, dedupe_for_ms: int, clock: Clock) -> EventLog:
        return MemoryLog(dedupe_for_ms=dedupe_for_ms, clock=clock)
