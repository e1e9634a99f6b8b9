"""strace as a tool: system calls of a running process that fail on purpose, and the record of what a process wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headwater.core.errors import Fatal

_ATTACH_S = 10.0
_PR_SET_PTRACER, _ANYBODY = 0x59616D61, -1


def strace() -> str:
    """Where strace is.

    Raises:
        Fatal: It is not installed: what needs it has not been tried.
    """
    found = shutil.which("strace")
    if found is None:
        raise Fatal("strace is not installed, so this fault was not injected", where="PATH", expected="strace",
                    next_step="Install it (`apt-get install strace`), or leave this class out.")  # fmt: skip
    return found


def allow_tracing() -> None:
    """Let a sibling trace this process where the system restricts that to ancestors (Yama)."""
    import ctypes  # noqa: PLC0415 - only here, and only in processes that are to be disturbed

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)


@contextmanager
def failing(pid: int, calls: Sequence[str], error: str, first: int) -> Iterator[Callable[[], int]]:
    """Have some system calls of a running process fail from the `first` one on, in all of its threads.

    Args:
        pid: The process.
        calls: Such as "fdatasync".
        error: Such as "EIO".
        first: Counts from 1, in each thread.

    Yields:
        Tells how many have failed so far.
    """
    told = Path(f"/tmp/hw-strace-{os.getpid()}-{pid}-{time.monotonic_ns()}")  # noqa: S108 - named after this process
    names = ",".join(calls)
    command = [strace(), "-f", "-qq", "-o", str(told), "-e", f"trace={names}", "-e", "signal=none",
               "-e", f"inject={names}:error={error}:when={first}+", "-p", str(pid)]  # fmt: skip
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - strace

    def failed() -> int:
        return told.read_text(errors="replace").count("(INJECTED)") if told.exists() else 0

    try:
        wait_attached(pid, tracer)
        yield failed
    finally:
        tracer.send_signal(signal.SIGTERM)  # it detaches; the process goes on
        tracer.communicate()
        told.unlink(missing_ok=True)


def wait_attached(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    """Until strace has all threads of a process.

    Raises:
        Fatal: It may not.
    """
    ends = time.monotonic() + _ATTACH_S
    while not _is_traced(pid):
        if tracer.poll() is not None or time.monotonic() > ends:
            said = tracer.stderr.read().decode(errors="replace") if tracer.poll() is not None and tracer.stderr else "nothing"
            raise Fatal("strace cannot attach to a process", where=f"process {pid}", got=said.strip(),
                        next_step="Allow ptrace (containers: --cap-add SYS_PTRACE), or leave this class out.")  # fmt: skip
        time.sleep(0.002)


def _is_traced(pid: int) -> bool:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "TracerPid:\t0\n" in (task / "status").read_text():
                return False
    return True
