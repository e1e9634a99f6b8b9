"""Has a changed app take over from the one before, without a request lost.

The changed app is folded beside the running one until nothing waits. Then a gateway for it accepts from the same socket;
only when that is ready the old one stops accepting, answers who still asks it, and ends. The learners end, the folders are
exchanged, and a learner goes on where the one beside had got. For the second or two of that exchange the served weights do
not change; everything is answered.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Protocol

from headwater.app import App
from headwater.core.errors import Fatal
from headwater.runtime.changes import declaration, difference, remembered
from headwater.runtime.children import Child, reason
from headwater.runtime.declared import load_app
from headwater.runtime.places import NEXT, PREVIOUS, STATE, VIEW
from headwater.runtime.settings import Settings
from headwater.store.checkpoint import Checkpoints

_EXCHANGING = "exchanging"
_LEAVE_S = 30.0


class Running(Protocol):
    """The supervisor, as far as this module needs it."""

    app: App
    spec: str
    settings: Settings
    children: dict[str, Child]

    @property
    def is_stopping(self) -> bool: ...
    def child(self, role: str, spec: str, *, is_beside: bool = False) -> Child: ...
    def spawn(self, child: Child) -> None: ...
    def adopt(self, child: Child) -> None: ...
    def say(self, role: str, what: str) -> None: ...


def take_over_stopped(supervisor: Running) -> None:
    """Before a start: where the state is of the app before it was changed, backfill what is new.

    Raises:
        WrongState: The events in the log cannot be read by the changed app.
        Fatal: The backfill failed; the state is as it was.
    """
    folder = supervisor.settings.state_dir
    if (folder / NEXT / _EXCHANGING).exists():
        _exchange(folder)
    before = remembered(folder / STATE)
    if before is None or before["fingerprint"] == supervisor.app.fingerprint():
        return
    difference(before, supervisor.app)
    if not _saved_seq(folder):
        shutil.rmtree(folder / STATE)
        return
    supervisor.say("backfill", "the app has changed: what is new is folded from the log first")
    child = _level(supervisor, supervisor.spec)
    child.end()
    _exchange(folder)


def _saved_seq(folder: Path) -> int:
    if not (folder / STATE / "data.mdb").exists():
        return 0
    store = Checkpoints(folder / STATE, readonly=True)
    try:
        return store.seq()
    finally:
        store.close()


def take_over(supervisor: Running, spec: str) -> None:
    """Have the app in a file take over from the running one. Where it fails before the exchange, the old one goes on.

    Raises:
        DeclarationError: The file does not declare an app.
        WrongState: The events in the log cannot be read by it.
        Fatal: It is another app or the same one, or a process failed.
    """
    app = load_app(Path(spec))
    if app.name != supervisor.app.name:
        raise Fatal(
            "this is another app", where="apply", expected=supervisor.app.name, got=app.name, next_step="Run it by itself."
        )
    if app.fingerprint() == supervisor.app.fingerprint():  # its handlers may have changed: nothing shows that
        supervisor.app, supervisor.spec = app, spec
        _replace_worker(supervisor)
        supervisor.say("worker", "the app's streams and models are as they were; its consumers start anew")
        return
    difference(declaration(supervisor.app), app)
    level = _level(supervisor, spec)
    gateway = supervisor.child("gateway", spec, is_beside=True)
    try:
        supervisor.spawn(gateway)
        gateway.go()
        gateway.wait_ready()
    except BaseException:
        gateway.kill()
        level.kill()
        raise
    supervisor.say("gateway", "the changed app answers")
    _leave(supervisor.children["gateway"])
    supervisor.children["learner"].end()
    level.end()
    _exchange(supervisor.settings.state_dir)
    supervisor.app, supervisor.spec = app, spec
    gateway.is_beside = False
    supervisor.adopt(gateway)
    learner = supervisor.child("learner", spec)
    supervisor.spawn(learner)
    learner.go()
    supervisor.adopt(learner)
    learner.wait_ready()
    _replace_worker(supervisor)
    supervisor.say("learner", "the changed app has taken over")


def _replace_worker(supervisor: Running) -> None:
    """Have the app's consumers called by a process that has loaded the present file."""
    old = supervisor.children.pop("worker", None)
    if old is not None:
        old.end()
    if supervisor.app.consumers:
        worker = supervisor.child("worker", supervisor.spec)
        supervisor.spawn(worker)
        worker.go()
        supervisor.adopt(worker)


def _leave(gateway: Child) -> None:
    gateway.leave()
    assert gateway.process is not None
    try:
        gateway.process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        gateway.kill()


def _level(supervisor: Running, spec: str) -> Child:
    """A child that folds the changed app beside, once nothing waits for it any more."""
    level = threading.Event()
    child = supervisor.child("backfill", spec, is_beside=True)

    def hear(facts: dict[str, Any]) -> None:
        if "progress" in facts:
            done, of = facts["progress"]
            supervisor.say("backfill", f"folded {done:,} of {of:,} events")
        if "level" in facts:
            level.set()

    child.on_word = hear
    supervisor.spawn(child)
    child.go()
    while not level.wait(0.05):
        if not child.ended.empty() or supervisor.is_stopping:
            child.kill()
            why = "it was stopped" if supervisor.is_stopping else child.failed or reason(child.ended.get())
            raise Fatal(f"the backfill did not end: {why}", next_step="The state is as it was before.")
    return child


def _exchange(folder: Path) -> None:
    """Put the changed app's state and view in place of the others, which stay in `previous`; may be repeated."""
    previous, following = folder / PREVIOUS, folder / NEXT
    marker = following / _EXCHANGING
    if not marker.exists():
        shutil.rmtree(previous, ignore_errors=True)
        marker.touch()
    previous.mkdir(exist_ok=True)
    for name in (VIEW, STATE):
        if (following / name).exists():
            if (folder / name).exists():
                (folder / name).rename(previous / name)
            (following / name).rename(folder / name)
    shutil.rmtree(following)
