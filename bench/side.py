"""What every side's program needs, Headwater's and the peers': a stopwatch and a voice. Nothing but the standard library."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


class Watch:
    """CPU seconds of this process, all threads, and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = _cpu_s(), time.perf_counter()

    def read(self) -> dict[str, float]:
        return {"cpu_s": _cpu_s() - self._cpu_s, "wall_s": time.perf_counter() - self._wall_s}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def say(*packages: str, **facts: Any) -> None:
    """One JSON line: the facts, peak memory, pid, and versions of Python and of packages."""
    versions = {"python": sys.version.split()[0], **{name: version(name) for name in packages}}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"pid": os.getpid(), "versions": versions, "peak_mb": peak, **facts}), flush=True)


def when_stdin_ends(stop: Callable[[], None]) -> None:
    """Call `stop` once the harness lets go of this process."""

    def watch() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        stop()

    threading.Thread(target=watch, daemon=True).start()
