"""Starts the gateway, the learner and the worker, restarts each alone, and stops them in order without loss.

Order of stopping: the worker, where there is one (the calls under way are finished; what it had not delivered, its next run
delivers), then the gateway (no new requests, those in flight are finished and on disk), then the learner (folds
what is in the log, saves). Nothing that was acknowledged waits for the next start to be safe: it is in the log.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import unquote, urlsplit

from headwater.app import App
from headwater.core.errors import CorruptData, Fatal, WrongState
from headwater.core.files import replace_durably
from headwater.log.soundness import check_environment
from headwater.runtime.children import Child, reason
from headwater.runtime.guarding import guarding
from headwater.runtime.places import NEXT, STATE, STOPPED
from headwater.runtime.runfile import RUN_FILE, Process, RunFile
from headwater.runtime.settings import Settings
from headwater.runtime.takeover import take_over_stopped
from headwater.runtime.watchdog import Watchdog
from headwater.serving.server import bind
from headwater.store.checkpoint import Checkpoints

APP_FILE, LOCK_FILE = "app.json", "lock"
STATE_FORMAT = 1
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)


class Supervisor:
    """One running installation. Use as a context manager, or call `start` and `stop`."""

    def __init__(self, app: App, spec: str, settings: Settings, on_event: Callable[[str, str], None] | None = None) -> None:
        self.app, self.spec = app, spec
        self.settings = settings.model_copy(update={"state_dir": settings.state_dir.resolve()})
        self._tell = on_event or (lambda _role, _what: None)
        self.on_event: Callable[[str, str], None] | None = None  # hears too, while a change is applied
        self.children = {role: self.child(role, spec) for role in roles(app)}
        self.listening: socket.socket | None = None
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._watchers: dict[str, threading.Thread] = {}
        self._watchdog = Watchdog(lambda: self.children["gateway"], settings.server.silent_s, self.say)
        self._writing = threading.Lock()

    def start(self) -> None:
        """Start all and wait until all are ready.

        Raises:
            WrongState: The state directory is another app's, or is in use.
            CannotListen: The port is in use.
            ConfigError: Others can reach the address, and nobody could show a key.
            Fatal: A process could not start; the message is its own.
        """
        guarding(self.settings)
        self._claim()
        try:
            self._listen()
            take_over_stopped(self)
        except BaseException:
            self._release()
            raise
        for child in self.children.values():
            self.spawn(child)
        for child in self.children.values():
            child.go()
            try:
                child.wait_ready()
            except Fatal:
                self.stop()
                raise
            self.adopt(child)
        self._watchdog.start()

    def child(self, role: str, spec: str, *, is_beside: bool = False) -> Child:
        """A child that is not started yet."""
        return Child(role, spec, is_beside, lambda facts: self._write_run_file() if facts.get("ready") else None)

    def spawn(self, child: Child) -> None:
        """Start a child; a gateway is given the socket to accept from."""
        accepts = child.role == "gateway" and self.listening is not None
        child.spawn(self.settings, self.listening.fileno() if accepts and self.listening else None)

    def adopt(self, child: Child) -> None:
        """Start a child again whenever it ends by itself, from now on."""
        self.children[child.role] = child
        watcher = threading.Thread(target=self._watch, args=(child,), daemon=True, name=f"watch-{child.role}")
        watcher.start()
        self._watchers[child.role] = watcher
        self._write_run_file()

    def say(self, role: str, what: str) -> None:
        """Tell whoever wants to know."""
        for hear in (self._tell, self.on_event):
            if hear is not None:
                hear(role, what)

    @property
    def is_started(self) -> bool:
        """Whether all processes were ready once."""
        return all(child.facts for child in self.children.values())

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

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
            check_after_crash(self.settings)
        except Fatal:
            self._release()
            raise

    def _listen(self) -> None:
        """Listen for all gateways that follow each other: while none runs, connections wait instead of being refused."""
        server = self.settings.server
        self.listening = bind(server.host, server.port)
        self.listening.set_inheritable(True)

    def _watch(self, child: Child) -> None:
        """Restart a process that ends by itself; wait longer each time it does not last."""
        while True:
            began = time.monotonic()
            code = child.ended.get()
            if self._stopping.is_set() or child.is_leaving:
                return
            quick = time.monotonic() - began < _BACKOFF_S[-1]
            delay = _BACKOFF_S[min(child.restarts, len(_BACKOFF_S) - 1)] if quick else _BACKOFF_S[0]
            self.say(child.role, f"ended with {child.failed or reason(code)}; starting it again in {delay:g} s")
            if self._stopping.wait(delay):
                return
            child.restarts += 1
            child.failed = ""
            assert child.process is not None
            if child.process.poll() is not None:  # else it has everything loaded, and forks another
                child.hang_up()
                self.spawn(child)
            child.go()

    def stop(self) -> None:
        """Stop worker, gateway and learner, in this order; one that does not end in 30 s is killed. May be called again."""
        self._stopping.set()
        self._watchdog.stop()
        for role in reversed(self.children):
            self.children[role].end()
            if role in self._watchers:
                self._watchers[role].join()
                self.children[role].end()  # one that was being started again just then
        if self._lock is not None and all(child.ended_well for child in self.children.values()):
            (self.settings.state_dir / STOPPED).touch()
        self._release()

    def kill(self) -> None:
        """End all at once. What was acknowledged is in the log; the next start folds it."""
        self._stopping.set()
        self._watchdog.stop()
        for child in self.children.values():
            child.kill()
        self._release()

    def _release(self) -> None:
        if self._lock is None:
            return
        (self.settings.state_dir / RUN_FILE).unlink(missing_ok=True)
        if self.listening is not None:
            self.listening.close()
        self._lock.close()
        self._lock = None

    def _write_run_file(self) -> None:
        processes = {child.role: Process(child.pid, child.restarts) for child in self.children.values() if child.pid}
        url = self.children["gateway"].facts.get("url")
        with self._writing:
            if self._stopping.is_set():
                return
            RunFile(self.app.name, self.spec, os.getpid(), url, processes).write(self.settings.state_dir)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def roles(app: App) -> tuple[str, ...]:
    """The processes that an app needs, in the order of starting."""
    return ("learner", "gateway", "worker") if app.consumers else ("learner", "gateway")


def check_after_crash(settings: Settings) -> None:
    """Where the last run did not end in order, have a child read what it left before anybody opens it; the mark is taken.

    Raises:
        CorruptData: A file is damaged.
    """
    mark = settings.state_dir / STOPPED
    if not mark.exists():
        for folder in environments(settings):
            check_environment(folder)
    mark.unlink(missing_ok=True)


def environments(settings: Settings) -> list[Path]:
    """The folders of LMDB environments whose loss would be one; a view is made anew (see `learner.open_view`)."""
    log = urlsplit(settings.log_url)
    found = [Path(unquote(log.path))] if log.scheme == "lmdb" else []
    return [*found, settings.state_dir / STATE, settings.state_dir / NEXT / STATE]


def claim_state(folder: Path, app: App) -> None:
    """Bind a state directory to an app and a format, or refuse.

    Raises:
        WrongState: It is bound to another one.
        CorruptData: The file that says so is damaged.
    """
    file = folder / APP_FILE
    mine = {"format": STATE_FORMAT, "app": app.name}
    if not file.exists():
        replace_durably(file, json.dumps(mine).encode())
        return
    try:
        theirs = json.loads(file.read_bytes())
        assert isinstance(theirs, dict)
    except (ValueError, AssertionError) as error:
        raise CorruptData(
            "the file that names the app of this state directory cannot be read", where=str(file), expected=json.dumps(mine),
            got=str(error), next_step="If the directory is this app's, write that line into the file and start again.",
        ) from error  # fmt: skip
    for name, what in (("format", "has another format"), ("app", "belongs to another app")):
        if theirs.get(name) != mine[name]:
            raise WrongState(
                f"the state directory {what}", where=str(folder), expected=str(mine[name]), got=str(theirs.get(name)),
                next_step="Use another --state directory.",
            )  # fmt: skip
