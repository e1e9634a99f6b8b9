"""A process that has loaded everything and forks the one that works: a killed worker has a successor in milliseconds.

Imports and kernels are most of a start. Here they are loaded once, by a parent that opens no file, starts no thread and
from then on only waits; the worker is its fork, and shares those pages until it writes to them. Only a worker that was
killed by a signal is forked again: one that failed by itself takes the parent with it, and a fresh process is the cure.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

_STDIN = 0


@dataclass(slots=True)
class _Worker:
    """A forked worker, as its parent sees it.

    Attributes:
        pid: Its process.
        leash: Closing it ends the worker's stdin, its sign to stop; so does the death of the parent.
        life: Reads as ended when the worker has, however it did.
    """

    pid: int
    leash: int
    life: int

    def follow(self) -> int:
        """Wait for its end, having it stop when our own stdin ends; its exit code, or minus the signal that killed it."""
        waiting = select.poll()
        waiting.register(_STDIN, select.POLLIN)
        waiting.register(self.life, select.POLLIN)
        while self.life not in (ready := {descriptor for descriptor, _ in waiting.poll()}):
            if _STDIN in ready and not os.read(_STDIN, 4096):
                waiting.unregister(_STDIN)
                self._let_go()
        self._let_go()
        os.close(self.life)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _let_go(self) -> None:
        if self.leash >= 0:
            os.close(self.leash)
            self.leash = -1


def _fork() -> _Worker | None:
    """Fork; the worker gets None, and a stdin that ends when it should stop."""
    leash_read, leash_write = os.pipe()
    life_read, life_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(leash_read)
        os.close(life_write)
        return _Worker(pid, leash_write, life_read)
    os.close(leash_write)
    os.close(life_read)  # its other end stays open for as long as this process lives
    os.dup2(leash_read, _STDIN)
    os.close(leash_read)
    return None


def can_fork() -> bool:
    """Whether a fork is sound here: on Linux, and while no other thread (of the user's file, say) holds locks."""
    return sys.platform == "linux" and threading.active_count() == 1


def in_fork(work: Callable[[], int], on_killed: Callable[[int], None]) -> int:
    """Run `work` in a fork of this process, again after it was killed; returns its exit code, in both processes.

    After a kill the next line on stdin says that it shall go on; where stdin has ended instead, nobody is left to serve.

    Args:
        work: What the worker does; it stops when its stdin ends.
        on_killed: Hears of the signal that killed a worker.
    """
    if not can_fork():
        return work()
    gc.collect()
    gc.freeze()  # a collection in the worker would write to every page that it shares with us
    while True:
        worker = _fork()
        if worker is None:
            return work()
        code = worker.follow()
        if code >= 0:
            return code
        on_killed(-code)
        if not os.read(_STDIN, 4096):
            return 0
