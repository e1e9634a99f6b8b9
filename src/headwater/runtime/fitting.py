"""The process that fits, as its parent sees it: one job at a time, ended at its limit, started again when it is gone."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from headwater.core.clock import Clock
from headwater.learning.slow_fit import ENDED

_WALL_S, _WALL_TIMES = 60.0, 20.0  # a fit that waits for something for longer than this is ended too


class FitProcess:
    """Fits beside this process.

    Args:
        state, registry: Folders of the saved state and of what was fitted.
        clock: Measures how long a job takes.
        on_answer: Called, on a thread of its own, when `poll` has something to give.
        command: What is run instead of `fitter`, for tests.

    Attributes:
        start_core_s: Core-seconds that starts have taken and that nobody has been told of yet.
    """

    def __init__(
        self, state: Path, registry: Path, clock: Clock, on_answer: Callable[[], object], command: Sequence[str] | None = None
    ) -> None:
        self._command = list(command or (sys.executable, "-m", "headwater.runtime.fitter", str(state), str(registry)))
        self._clock, self._on_answer = clock, on_answer
        self._process: subprocess.Popen[str] | None = None
        self._answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._limit_core_s, self._ends_s = 0.0, float("inf")
        self._reaped_s, self._told_s = _children_s(), 0.0
        self.start_core_s, self.is_busy = 0.0, False

    def begin(self, job: dict[str, Any]) -> None:
        """Have a job done; none may be under way."""
        assert not self.is_busy
        self.is_busy, self._limit_core_s = True, float(job["limit_core_s"])
        self._ends_s = self._clock.monotonic_s() + _WALL_S + _WALL_TIMES * self._limit_core_s
        process = self._process or self._start()
        assert process.stdin is not None
        with suppress(OSError):  # where it has ended, its listener says so
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()

    def _start(self) -> subprocess.Popen[str]:
        self._answers = SimpleQueue()
        process = self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, args=(process, self._answers), daemon=True, name="fits").start()
        self._told_s = 0.0
        return process

    def _listen(self, process: subprocess.Popen[str], answers: SimpleQueue[dict[str, Any]]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                answers.put(json.loads(line))
                self._on_answer()
        answers.put({"ended": True})
        self._on_answer()

    def poll(self) -> dict[str, Any] | None:
        """What came of the job: outcome, core_s, and sha256 and rows or the failure. None while there is nothing."""
        if self._process is None:
            return None
        try:
            answer = self._answers.get_nowait()
        except Empty:
            if self.is_busy and self._clock.monotonic_s() > self._ends_s:
                return self._died("it did not end")
            return None
        if answer.get("ready"):
            self.start_core_s += float(answer["core_s"])
            self._told_s += float(answer["core_s"])
            return None
        if answer.get("ended"):
            return self._died()
        self.is_busy = False
        self._told_s += float(answer["core_s"])
        return answer

    def _died(self, failure: str = "") -> dict[str, Any] | None:
        """The process has ended, or is ended for what it failed to do; what it took since its last answer is the job's."""
        was_busy, is_stopped = self.is_busy, bool(failure)
        code = self._end()
        if code == -signal.SIGPROF:
            is_stopped, failure = True, ENDED.format(self._limit_core_s)
        core_s, self._reaped_s = _children_s() - self._reaped_s - self._told_s, _children_s()
        failure = failure or f"its process ended with code {code}"
        outcome = "stopped" if is_stopped else "failed"
        return {"outcome": outcome, "failure": failure, "core_s": max(core_s, 0.0)} if was_busy else None

    def _end(self) -> int | None:
        """The code that the process ended with by itself; None where it is killed here."""
        process, self._process, self.is_busy = self._process, None, False
        if process is None:
            return None
        process.kill()
        assert process.stdin is not None
        with suppress(OSError):  # a job that was never read
            process.stdin.close()
        return process.wait()

    def close(self) -> None:
        """End the process; a job under way is lost."""
        self._end()


def _children_s() -> float:
    """Core-seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
