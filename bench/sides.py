"""Runs one side of a row: a process of its own, pinned, that says what it did as one JSON line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"
_START_S, _GRACE_S = 120.0, 30.0

Facts = dict[str, Any]


def cores() -> tuple[int, int]:
    """(the core that is measured, the core of whoever asks); the same one where there is only one."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[-1]


def ours(program: str) -> list[str]:
    """The command for a program of `bench/ours`."""
    return [sys.executable, "-m", f"bench.ours.{program}"]


def _environment() -> dict[str, str]:
    # One thread for whoever would start more: a side has one core.
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def run(command: Sequence[str], *arguments: object, core: int | None = None) -> Facts:
    """Run a side to its end.

    Raises:
        RuntimeError: It failed; the message is its last words.
    """
    core = cores()[0] if core is None else core
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


@dataclass
class Server:
    """A side that answers requests until it is left; its first line says where.

    Attributes:
        facts: That line: `url`, versions.
        pid: Its process.
    """

    command: Sequence[str]
    pin: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        core = cores()[0]
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env={**_environment(), **self.environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if self.pin else None,  # noqa: PLW1509
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline() if select.select([self.process.stdout], [], [], _START_S)[0] else ""
        if not line:
            self.process.kill()
            raise RuntimeError(f"{' '.join(self.command)} did not start")
        self.facts = json.loads(line)
        if "url" not in self.facts:
            raise RuntimeError(f"{' '.join(self.command)}: {line}")
        return self

    @property
    def pid(self) -> int:
        return int(self.facts["pid"])

    @property
    def port(self) -> int:
        return int(self.facts["url"].rpartition(":")[2])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """The most memory that a process has had, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
