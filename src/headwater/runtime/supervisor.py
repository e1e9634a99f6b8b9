"""Starts the gateway and the learner, restarts each alone, and stops them in order without loss.

Order of stopping: the gateway first (no new requests, those in flight are finished and on disk), then the learner (folds
what is in the log, saves). Nothing that was acknowledged waits for the next start to be safe: it is in the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Self

from headwater.app import App
from headwater.core.errors import Fatal, WrongState
from headwater.runtime.places import STATE
from headwater.runtime.runfile import RUN_FILE, Process, RunFile
from headwater.runtime.settings import Settings
from headwater.serving.server import bind
from headwater.store.checkpoint import Checkpoints

APP_FILE, LOCK_FILE = "app.json", "lock"
STATE_FORMAT = 1
_GRACE_S = 30.0
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_START_S = 120.0  # a first start may compile its kernels


@dataclass(slots=True)
class Child:
    """A supervised process.

    Attributes:
        role: "learner" or "gateway".
        process: What was started; a learner is a fork of it.
        facts: What it said when it was ready: pid, url, ...
        ended: How it ended, each time: an exit code, or minus a signal.
        restarts: How often it was started again.
    """

    role: str
    process: subprocess.Popen[str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    ended: SimpleQueue[int] = field(default_factory=SimpleQueue)
    restarts: int = 0
    failed: str = ""

    @property
    def pid(self) -> int:
        if self.ready.is_set():
            return int(self.facts["pid"])
        return self.process.pid if self.process is not None else 0

    def go(self) -> None:
        """What it waits for is there."""
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended already; its watcher tells why
            self.process.stdin.write("go\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Have it finish what it does, and wait; one that was not ready yet, or that does not end in 30 s, is killed."""
        if self.process is None:
            return
        _hang_up(self.process)
        try:
            self.process.wait(_GRACE_S if self.ready.is_set() else 0)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, with what it forked."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """One running installation. Use as a context manager, or call `start` and `stop`."""

    def __init__(self, app: App, spec: str, settings: Settings, on_event: Callable[[str, str], None] | None = None) -> None:
        self.app, self._spec = app, spec
        self.settings = settings.model_copy(update={"state_dir": settings.state_dir.resolve()})
        self._on_event = on_event or (lambda _role, _what: None)
        self.children = {"learner": Child("learner"), "gateway": Child("gateway")}
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._watchers: dict[str, threading.Thread] = {}
        self._writing = threading.Lock()

    def start(self) -> None:
        """Start both and wait until both are ready.

        Raises:
            WrongState: The state directory is another app's, or is in use.
            CannotListen: The port is in use.
            Fatal: A process could not start; the message is its own.
        """
        self._claim()
        if self.settings.server.port:
            self._try_port()
        for child in self.children.values():
            self._spawn(child)
        for child in self.children.values():
            child.go()
            self._wait_ready(child)
            watcher = threading.Thread(target=self._watch, args=(child,), daemon=True, name=f"watch-{child.role}")
            watcher.start()
            self._watchers[child.role] = watcher

    @property
    def is_started(self) -> bool:
        """Whether both processes were ready once."""
        return all(child.facts for child in self.children.values())

    def wait(self) -> None:
        """Until another thread, or a signal's handler, stops it."""
        self._stopping.wait()

    def saved_seq(self) -> int:
        """How far the state on disk has got; call it when nothing runs."""
        store = Checkpoints(self.settings.state_dir / STATE, readonly=True)
        try:
            return store.seq()
        finally:
            store.close()

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return str(self.children["gateway"].facts["url"])

    def _claim(self) -> None:
        folder = self.settings.state_dir
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / LOCK_FILE).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            raise WrongState(
                "this state directory is in use by a running Headwater",
                where=str(folder),
                next_step="Stop it, or use another --state.",
            ) from None
        try:
            claim_state(folder, self.app)
        except WrongState:
            self._release()
            raise

    def _try_port(self) -> None:
        """Find out about a port that is taken now, instead of after the imports of two processes."""
        try:
            bind(self.settings.server.host, self.settings.server.port).close()
        except Fatal:
            self._release()
            raise

    def _spawn(self, child: Child) -> None:
        child.ready.clear()
        child.failed = ""
        settings = self.settings
        if child.facts.get("port"):  # a restarted gateway keeps its port, also one that was chosen freely
            server = settings.server.model_copy(update={"port": child.facts["port"]})
            settings = settings.model_copy(update={"server": server})
        command = [sys.executable, "-m", "headwater.runtime.process", child.role, self._spec, settings.model_dump_json()]
        child.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=self._listen, args=(child, child.process), daemon=True).start()

    def _listen(self, child: Child, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                facts = json.loads(line)
                if facts.get("ready"):
                    child.facts = facts
                    child.ready.set()
                    self._write_run_file()
                elif "error" in facts:
                    child.failed = facts["error"]
                elif "killed" in facts:
                    child.ready.clear()
                    child.ended.put(-facts["killed"])
        # Only now has everybody who could write to the state ended.
        child.ended.put(process.wait())

    def _wait_ready(self, child: Child) -> None:
        deadline = time.monotonic() + _START_S
        while not child.ready.wait(0.05):
            if not child.ended.empty() and not child.ready.is_set():
                self.stop()
                raise Fatal(f"the {child.role} did not start: {child.failed or _reason(child.ended.get())}")
            if time.monotonic() > deadline:
                self.stop()
                raise Fatal(f"the {child.role} is not ready after {_START_S:.0f} s", next_step="Look at its messages above.")

    def _watch(self, child: Child) -> None:
        """Restart a process that ends by itself; wait longer each time it does not last."""
        while True:
            began = time.monotonic()
            code = child.ended.get()
            if self._stopping.is_set():
                return
            quick = time.monotonic() - began < _BACKOFF_S[-1]
            delay = _BACKOFF_S[min(child.restarts, len(_BACKOFF_S) - 1)] if quick else _BACKOFF_S[0]
            self._on_event(child.role, f"ended with {child.failed or _reason(code)}; starting it again in {delay:g} s")
            if self._stopping.wait(delay):
                return
            child.restarts += 1
            child.failed = ""
            assert child.process is not None
            if child.process.poll() is not None:  # else it has everything loaded, and forks another
                _hang_up(child.process)
                self._spawn(child)
            child.go()

    def stop(self) -> None:
        """Stop the gateway, then the learner; a process that does not end in 30 s is killed. May be called again."""
        self._stopping.set()
        for role in ("gateway", "learner"):
            self.children[role].end()
            if role in self._watchers:
                self._watchers[role].join()
                self.children[role].end()  # one that was being started again just then
        self._release()

    def kill(self) -> None:
        """End both at once. What was acknowledged is in the log; the next start folds it."""
        self._stopping.set()
        for child in self.children.values():
            child.kill()
        self._release()

    def _release(self) -> None:
        if self._lock is None:
            return
        (self.settings.state_dir / RUN_FILE).unlink(missing_ok=True)
        self._lock.close()
        self._lock = None

    def _write_run_file(self) -> None:
        processes = {child.role: Process(child.pid, child.restarts) for child in self.children.values() if child.pid}
        url = self.children["gateway"].facts.get("url")
        with self._writing:
            if self._stopping.is_set():
                return
            RunFile(self.app.name, self._spec, os.getpid(), url, processes).write(self.settings.state_dir)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _hang_up(process: subprocess.Popen[str]) -> None:
    """Close a child's stdin: its sign to stop."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def _reason(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def claim_state(folder: Path, app: App) -> None:
    """Bind a state directory to an app and a format, or refuse.

    Raises:
        WrongState: It is bound to another one.
    """
    file = folder / APP_FILE
    mine = {"format": STATE_FORMAT, "app": app.name}
    if not file.exists():
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(mine))
        temporary.replace(file)
        return
    theirs = json.loads(file.read_text())
    for name, what in (("format", "has another format"), ("app", "belongs to another app")):
        if theirs.get(name) != mine[name]:
            raise WrongState(
                f"the state directory {what}", where=str(folder), expected=str(mine[name]), got=str(theirs.get(name)),
                next_step="Use another --state directory.",
            )  # fmt: skip
