"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's name, and how many cores may be used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = named[0] if named else name
    n = len(os.sched_getaffinity(0))
    return f"{name}, {n} {'core' if n == 1 else 'cores'}"


def is_busy() -> bool:
    """Whether other programs take much of the machine; call it before anything of ours runs."""
    return os.getloadavg()[0] > 0.25 * len(os.sched_getaffinity(0))
