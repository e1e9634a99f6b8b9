"""One supervised process: how it is started, what it says, how it is ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from headwater.core.errors import Fatal
from headwater.runtime.settings import Settings

_GRACE_S = 30.0
_START_S = 120.0  # a first start may compile its kernels


@dataclass(slots=True, eq=False)
class Child:
    """A supervised process.

    Attributes:
        role: "learner", "gateway", "backfill" or, where the app has consumers, "worker".
        spec: The file that declares its app.
        is_beside: It works on the state of a changed app, beside the running one.
        on_word: Called with each thing that it says, on a thread of its own.
        process: What was started; a learner is a fork of it.
        facts: What it said when it was ready: pid, url, ...
        ended: How it ended, each time: an exit code, or minus a signal.
        restarts: How often it was started again.
        is_leaving: It shall end; nobody starts it again.
    """

    role: str
    spec: str
    is_beside: bool = False
    on_word: Callable[[dict[str, Any]], None] = lambda _: None
    process: subprocess.Popen[str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    ended: SimpleQueue[int] = field(default_factory=SimpleQueue)
    restarts: int = 0
    failed: str = ""
    is_leaving: bool = False

    @property
    def pid(self) -> int:
        if self.ready.is_set():
            return int(self.facts["pid"])
        return self.process.pid if self.process is not None else 0

    def spawn(self, settings: Settings, listening: int | None = None) -> None:
        """Start it; it loads everything, then waits for `go`. `listening` is the socket that a gateway accepts from."""
        self.ready.clear()
        self.failed = ""
        options = json.dumps({"listening": listening, "beside": self.is_beside})
        command = [
            sys.executable, "-m", "headwater.runtime.process", self.role, self.spec, settings.model_dump_json(), options,
        ]  # fmt: skip
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            pass_fds=() if listening is None else (listening,),
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                facts = json.loads(line)
                if facts.get("ready"):
                    self.facts = facts
                    self.ready.set()
                elif "error" in facts:
                    self.failed = facts["error"]
                elif "killed" in facts:
                    self.ready.clear()
                    self.ended.put(-facts["killed"])
                self.on_word(facts)
        # Only now has everybody who could write to the state ended.
        self.ended.put(process.wait())

    def go(self) -> None:
        """What it waits for is there."""
        self._tell("go")

    def leave(self) -> None:
        """Have a gateway answer who still asks it, take no new connections, and end."""
        self.is_leaving = True
        self._tell("leave")

    def _tell(self, word: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended already; its watcher tells why
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()

    def wait_ready(self) -> None:
        """Until it is ready.

        Raises:
            Fatal: It ended instead, or takes too long.
        """
        deadline = time.monotonic() + _START_S
        while not self.ready.wait(0.05):
            if not self.ended.empty() and not self.ready.is_set():
                raise Fatal(f"the {self.role} did not start: {self.failed or reason(self.ended.get())}")
            if time.monotonic() > deadline:
                raise Fatal(f"the {self.role} is not ready after {_START_S:.0f} s", next_step="Look at its messages above.")

    def hang_up(self) -> None:
        """Close its stdin: its sign to stop."""
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def end(self) -> None:
        """Have it finish what it does, and wait; one that was not ready yet, or that does not end in 30 s, is killed."""
        self.is_leaving = True
        if self.process is None:
            return
        self.hang_up()
        try:
            self.process.wait(_GRACE_S if self.ready.is_set() else 0)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def ended_well(self) -> bool:
        """Whether it ended by itself, and said that all is well."""
        return self.process is not None and self.process.returncode == 0

    def kill(self) -> None:
        """End it at once, with what it forked."""
        self.is_leaving = True
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def reason(code: int) -> str:
    """How a process ended, in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
