"""A small installation whose processes are forks of this one: a gateway and a learner that start in milliseconds.

They run what `headwater run` has its children run, on real sockets and a real disk, and end on real signals. Their listening
socket belongs to this process, as it belongs to the supervisor there: while no gateway lives, connections wait.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from headwater.app import App
from headwater.faults.calling import Caller
from headwater.faults.sandbox import Child, ChildFailed, fork, tail
from headwater.runtime.gateway import run_gateway
from headwater.runtime.process import learn, when_stdin_ends
from headwater.runtime.settings import Settings
from headwater.runtime.watchdog import lives
from headwater.runtime.worker import Worker
from headwater.serving.server import Running, bind
from headwater.telemetry.logs import configure

GATEWAY, LEARNER, WORKER = "gateway", "learner", "worker"
_SENTENCE = "headwater.core.errors."  # an end that says what, where and what to do
# How libraries end a process that has none: the C library, the compiler, C++.
_NO_MEMORY = ("code 127:", "LLVM ERROR: Unable to allocate", "LLVM ERROR: out of memory", "bad_alloc")
GRACE_S = 20.0  # for what should take milliseconds, on a machine that is busy


@dataclass(slots=True)
class _Member:
    """A process, and the pipe whose end is its sign to stop."""

    child: Child
    leash: int


class Processes:
    """Gateway and learner of one app in one folder. Use it as a context manager: what still runs is killed.

    Call it from a process with one thread that has no LMDB environment open.

    Args:
        app: The app; its kernels should be loaded (see `runtime.warm`).
        place: The folder for its state and for what its processes print.
        settings: Sections beside the quick ones here, such as `server={"max_lag_events": 100}`.

    Attributes:
        born_with: Resource limits (`resource.RLIMIT_...`) of processes that are started from now on.
        may_end: Roles that a fault may end, if they say why: they are started again, as the supervisor does.
    """

    def __init__(self, app: App, place: Path, **settings: dict[str, Any]) -> None:
        self.app, self.place = app, place
        said = {
            "state_dir": place / "state", "server": {"port": 0, **settings.get("server", {})}, "log": settings.get("log", {}),
            "learner": {"checkpoint_every_s": 0.05, **settings.get("learner", {})}, "logging": {"level": "warning"},
        }  # fmt: skip
        self.settings = Settings.model_validate(said)
        self._listening = bind("127.0.0.1", 0)
        self._members: dict[str, _Member] = {}
        self.born_with: dict[int, int] = {}
        self.may_end: set[str] = set()

    @property
    def port(self) -> int:
        """Where its gateway answers."""
        return int(self._listening.getsockname()[1])

    def caller(self, timeout_s: float = GRACE_S) -> Caller:
        """A new connection to its gateway."""
        return Caller(self.port, timeout_s)

    def start(self, *roles: str) -> None:
        """Fork processes; a gateway answers once it is ready, and until then its callers wait."""
        for role in roles:
            read, write = os.pipe()
            child = fork(partial(self._live, role, read, write), output=self._out(role))
            os.close(read)
            self._members[role] = _Member(child, write)

    def _live(self, role: str, read: int, write: int) -> bytes:
        for leash in (write, *(member.leash for member in self._members.values())):
            os.close(leash)  # held here as well, none would ever end
        os.dup2(read, 0)
        os.close(read)
        for kind, most in self.born_with.items():
            resource.setrlimit(kind, (most, most))
        configure("json", level=self.settings.logging.level.upper())
        _ROLES[role](self)
        return b""

    def _serve(self) -> None:
        def ready(running: Running) -> None:
            when_stdin_ends(running.stop, running.leave)

        run_gateway(self.app, self.settings, ready, listening=self._listening)

    def _learn(self) -> None:
        learn(self.app, self.settings)

    def _work(self) -> None:
        worker = Worker(self.app, self.settings)
        when_stdin_ends(worker.stop)
        worker.run()
        worker.close()

    def _out(self, role: str) -> Path:
        return self.place / f"{role}.out"

    def printed(self, role: str) -> str:
        """The end of what a process printed."""
        return tail(self._out(role))

    def has_said(self, role: str, word: str) -> bool:
        """Whether a word is in what a process printed."""
        return self._out(role).exists() and word in self._out(role).read_text(errors="replace")

    def wait_ready(self, role: str) -> None:
        """Wait until a process says that it is ready, or has ended."""
        ends = time.monotonic() + GRACE_S
        while not self.has_said(role, '"ready": true') and self.is_alive(role) and time.monotonic() < ends:
            time.sleep(0.002)

    def pid(self, role: str) -> int:
        return self._members[role].child.pid

    def is_alive(self, role: str, wait_s: float = 0.0) -> bool:
        """Whether a process was started and has not ended, nor does so within some seconds."""
        member = self._members.get(role)
        return member is not None and not select.select([member.child.life], [], [], wait_s)[0]

    def watch(self, patience_s: float = 10.0) -> bool:
        """Exchange a gateway that lives and answers nobody, as the supervisor's watchdog does; whether it was one."""
        ends = time.monotonic() + patience_s
        while self.is_alive(GATEWAY) and not lives("127.0.0.1", self.port, patience_s / 4):
            if time.monotonic() > ends:
                self.kill(GATEWAY)
                self.start(GATEWAY)
                return True
        return False

    def kill(self, role: str) -> None:
        """SIGKILL; what it held is released when this returns."""
        member = self._members.pop(role)
        member.child.kill()
        member.child.reap()
        os.close(member.leash)

    def tend(self, role: str) -> list[str]:
        """Start a process that has ended again; in words, what was wrong with its end."""
        if self.is_alive(role):
            return []
        why = self.stop(role) or [f"code 0: {self.printed(role)}"]
        self.start(role)
        return [] if role in self.may_end and is_explained(why) else [f"the {role} ended by itself: {why[0]}"]

    def finish(self, role: str) -> list[str]:
        """Have a process finish; one that may end by itself, and does so now, has to finish once more."""
        why = self.stop(role)
        if why and role in self.may_end and is_explained(why):
            self.start(role)
            self.wait_ready(role)
            why = self.stop(role)
        return why

    def send(self, role: str, number: signal.Signals) -> None:
        """Send a process a signal."""
        os.kill(self.pid(role), number)

    def stop(self, role: str, grace_s: float = GRACE_S) -> list[str]:
        """Have a process finish; in words, what was wrong with its end."""
        member = self._members.pop(role)
        os.close(member.leash)
        in_time = bool(select.select([member.child.life], [], [], grace_s)[0])
        if not in_time:
            member.child.kill()
        code = member.child.reap()
        if not in_time:
            return [f"the {role} did not stop within {grace_s:.0f} s: {self.printed(role)}"]
        try:
            member.child.result()
        except ChildFailed as error:
            return [f"the {role} failed: {error.got}"]
        return [f"the {role} ended with code {code}: {self.printed(role)}"] if code else []

    def limit(self, role: str, kind: int, soft: int) -> None:
        """Set a resource limit (`resource.RLIMIT_...`) of a running process; -1 lifts it."""
        hard = resource.prlimit(self.pid(role), kind)[1]
        resource.prlimit(self.pid(role), kind, (soft if soft >= 0 else hard, hard))

    def resident_bytes(self, role: str) -> int:
        """Memory that a process occupies of its own."""
        fields = Path(f"/proc/{self.pid(role)}/statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGESIZE")

    def wait_learnt(self, deadline_s: float = GRACE_S) -> list[str]:
        """Wait until the served state has seen the whole log; in words, what is wrong where it never does."""
        ends, said = time.monotonic() + deadline_s, "nothing"
        while time.monotonic() < ends:
            if wrong := [what for role in sorted(self.may_end) for what in self.tend(role)]:
                return wrong
            with self.caller() as caller:
                answer = caller.call("GET", "/readyz")
            if answer.status == 200 and answer.content.get("age_events") == 0:  # noqa: PLR2004
                return []
            said = f"{answer.status} {answer.content}"
            time.sleep(0.01)
        return [f"the lag is not back at zero {deadline_s:.0f} s after the faults ended: {said}; {self.printed(LEARNER)}"]

    def close(self) -> None:
        """Kill what runs."""
        for role in list(self._members):
            self.kill(role)
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_explained(why: list[str]) -> bool:
    """Whether the end of a process was an error of ours, or a library's word that there is no memory."""
    return any(word in said for said in why for word in (_SENTENCE, *_NO_MEMORY))


_ROLES: dict[str, Callable[[Processes], None]] = {
    GATEWAY: Processes._serve, LEARNER: Processes._learn, WORKER: Processes._work,  # noqa: SLF001 - of this file
}  # fmt: skip
