"""Has the log told of a model that failed, before anything is kept that follows from it, and says so to people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from headwater.core.clock import Clock
from headwater.core.errors import DiskFull, Fatal
from headwater.following.notices import INCIDENTS, Notices
from headwater.log.control import control_batch
from headwater.log.protocol import EventLog
from headwater.log.wake import ring
from headwater.runtime.fold import Fold
from headwater.runtime.stopping import STOPPED, Stopped

_log = structlog.stdlib.get_logger("headwater.models")


class Failures:
    """The models of one learner that failed and that the log has not been told of.

    Args:
        log: Gets a mark for each; None: of a changed app that folds beside the running one, which goes on instead.
        notices: Get an incident for each.
        clock: Stamps them.
        bells: Where to ring for who follows either.
    """

    def __init__(self, log: EventLog | None, notices: Notices, clock: Clock, bells: Path) -> None:
        self._log, self._notices, self._clock, self._bells = log, notices, clock, bells
        self._untold: list[tuple[Stopped, int, int]] = []

    def take(self, stopped: Iterable[Stopped], fold: Fold) -> None:
        """Models that failed in the step that the fold has just done.

        Raises:
            Fatal: They are of a changed app that has not taken over yet.
        """
        found = [(one, fold.seq, fold.watermarks.high_mark()) for one in stopped]
        for one, seq, _ in found:
            _log.error("a model is stopped: `headwater resume` has it go on", model=one.model, reason=one.reason, seq=seq)
        self._untold += found
        if found:
            self.tell()

    def tell(self) -> bool:
        """Tell the log; False where it has no room, so that nothing may be saved yet."""
        while self._untold:
            one, seq, time_ms = self._untold[0]
            if self._log is None:
                raise Fatal("a model of the changed app failed", where=one.model, got=one.reason,
                            next_step="The app before goes on; mend the model.")  # fmt: skip
            mark = f"{STOPPED}@{one.model}@{seq}"
            try:
                self._log.append(control_batch(STOPPED, one.body(), time_ms=time_ms, id=mark, clock=self._clock))
                told = {"kind": STOPPED, "seq": seq, **one.body()}
                self._notices.append(INCIDENTS, mark, self._clock.now_us() // 1000, told)
            except DiskFull as error:
                _log.warning("a stop waits for room on the disk", model=one.model, error=str(error))
                return False
            self._untold.pop(0)
            ring(self._bells)
        return True
