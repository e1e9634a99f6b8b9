"""How a command asks a running installation to take a changed app over, and hears how that goes.

Two files in the state directory: `apply.json` says which app, and a SIGHUP says that it is there; `applying.json` says how
far it has got. The request stands where the command that made it is gone.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from headwater.core.errors import Fatal, HeadwaterError
from headwater.runtime.runfile import running
from headwater.runtime.supervisor import Supervisor
from headwater.runtime.takeover import take_over

_ASKED, _SAID = "apply.json", "applying.json"
_LOOK_S, _HEARD_S = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Said:
    """How a request stands.

    Attributes:
        request: Which one.
        what: What is being done, in words.
        done: Whether it has ended.
        error: Why it failed; "" where it did not.
    """

    request: str
    what: str
    done: bool = False
    error: str = ""


def _write(file: Path, value: dict[str, object]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(file)


def ask(folder: Path, spec: Path) -> str:
    """Ask the installation that runs on a state directory to take over the app in a file; the request's name.

    Raises:
        Fatal: None runs there.
    """
    found = running(folder)
    if found is None:
        step = "Start it with `headwater run APP`: a changed app takes over at a start too."
        raise Fatal("nothing runs on this state directory", where=str(folder), next_step=step)
    request = secrets.token_hex(8)
    _write(folder / _ASKED, {"request": request, "spec": str(spec.resolve())})
    os.kill(found.pid, signal.SIGHUP)
    return request


def follow(folder: Path, request: str) -> Iterator[Said]:
    """Each thing that is said of a request, until it has ended.

    Raises:
        Fatal: Nobody answers, or the installation ends.
    """
    last, since = None, time.monotonic()
    while True:
        said = _read(folder)
        if said is not None and said.request == request and said != last:
            yield said
            last = said
            if said.done:
                return
        if last is None and time.monotonic() - since > _HEARD_S:
            raise Fatal("the running installation does not answer", where=str(folder), next_step="Is it `headwater run`?")
        if running(folder) is None:
            raise Fatal("the installation ended", where=str(folder), next_step="`headwater run APP` goes on with it.")
        time.sleep(_LOOK_S)


def _read(folder: Path) -> Said | None:
    try:
        return Said(**json.loads((folder / _SAID).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Applier:
    """The running side. Call `hear` from the handler of SIGHUP."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._one = threading.Lock()

    def hear(self) -> None:
        """Do what was asked, on a thread of its own."""
        threading.Thread(target=self._apply, daemon=True, name="apply").start()

    def _apply(self) -> None:
        folder = self._supervisor.settings.state_dir
        asked = json.loads((folder / _ASKED).read_text())
        request: str = asked["request"]

        def say(what: str, *, done: bool = False, error: str = "") -> None:
            _write(folder / _SAID, asdict(Said(request, what, done, error)))

        if not self._one.acquire(blocking=False):
            say("refused", done=True, error="another change is being applied; wait until it has ended")
            return
        try:
            say("folding the changed app beside the running one")
            self._supervisor.on_event = lambda role, what: say(f"{role} {what}")
            take_over(self._supervisor, asked["spec"])
            say("the changed app has taken over", done=True)
        except HeadwaterError as error:
            say("failed", done=True, error=str(error))
        except Exception as error:
            say("failed", done=True, error=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._supervisor.on_event = None
            self._one.release()
