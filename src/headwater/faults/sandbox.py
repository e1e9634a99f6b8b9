"""A fork that may be killed, and cannot harm whoever started it: a session, a folder and a pipe of its own.

A child that loaded everything before it was forked starts in a millisecond. What it says at its end is what it returned, or
the traceback of what it raised; a child that was killed says nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from headwater.core.errors import Fatal

_SAID, _RAISED = b"+", b"-"
_FOREVER_S = 600.0
_OUTPUT_CHARS = 2000


class ChildFailed(Fatal):
    """The work of a child raised; the message holds its traceback."""


@dataclass(slots=True)
class Child:
    """A forked process.

    Attributes:
        pid: Its process, and its session.
        pipe: Where it says what came of its work; -1 once that has ended.
        life: Readable once it has ended, however it did.
        said: What has been read of that so far.
        code: Its exit code once it has ended; minus the signal that killed it.
    """

    pid: int
    pipe: int
    life: int
    said: bytearray = field(default_factory=bytearray)
    code: int | None = None

    def read(self) -> None:
        """Take what the pipe holds, so that a long message never blocks the child."""
        try:
            while self.pipe >= 0:
                if not (more := os.read(self.pipe, 1 << 16)):
                    self._close_pipe()
                self.said += more
        except BlockingIOError:
            return

    def _close_pipe(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1

    def kill(self) -> None:
        """Kill it and whatever it has started in its session."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self.pid, signal.SIGKILL)

    def reap(self) -> int:
        """Wait for its end, kill whatever it left behind, and release descriptors; its exit code."""
        if self.code is None:
            select.select([self.life], [], [])
            self.read()
            self.kill()  # before its number can be another process's
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._close_pipe()
            os.close(self.life)
        return self.code

    def result(self) -> bytes | None:
        """What its work returned; None where it was killed before it could say.

        Raises:
            ChildFailed: The work raised.
        """
        if self.said[:1] == _RAISED:
            raise ChildFailed("the work of a child process raised", got=self.said[1:].decode(errors="replace"))
        return bytes(self.said[1:]) if self.said else None


def fork(work: Callable[[], bytes], *, output: Path | None = None) -> Child:
    """Start `work` in a fork. Call it from a process that has one thread and no LMDB environment open.

    Args:
        work: What the child does; what it returns can be read from the pipe.
        output: The file that gets its stdout and stderr; None leaves them as they are.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _live(work, write, output)
    os.close(write)
    return Child(pid, read, os.pidfd_open(pid))


def _live(work: Callable[[], bytes], pipe: int, output: Path | None) -> None:
    """The child's life; never returns."""
    try:
        os.setsid()
        if output is not None:
            _redirect(output)
        said = _SAID + work()
    except BaseException:  # noqa: BLE001 - its parent is told of everything
        said = _RAISED + traceback.format_exc().encode(errors="replace")
    try:
        while said:
            said = said[os.write(pipe, said) :]
    finally:
        os._exit(0)  # no handlers or buffers of its parent's


def _redirect(output: Path) -> None:
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def survives(work: Callable[[], None], *, deadline_s: float = _FOREVER_S) -> bool:
    """Run `work` in a fork and wait for it; False where a signal killed it.

    Raises:
        ChildFailed: It raised, or did not end in time.
    """
    child = fork(lambda: (work(), b"")[1])  # type: ignore[func-returns-value]
    ends = time.monotonic() + deadline_s
    while not select.select([child.life], [], [], max(0.0, min(1.0, ends - time.monotonic())))[0]:
        child.read()
        if time.monotonic() > ends:
            child.kill()
            child.reap()
            raise ChildFailed("the work of a child process did not end in time", expected=f"{deadline_s} s")
    killed = child.reap() < 0
    child.result()
    return not killed


def tail(output: Path) -> str:
    """The end of what a child printed, for a person who looks for the reason."""
    if not output.exists():
        return ""
    return output.read_text(errors="replace")[-_OUTPUT_CHARS:].strip()
