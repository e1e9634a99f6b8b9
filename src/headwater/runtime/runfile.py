"""`run.json` in a state directory: who runs there and where it answers, so that other commands find it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headwater.core.errors import Fatal

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Process:
    """One supervised process.

    Attributes:
        pid: Its process id.
        restarts: How often it was started again.
    """

    pid: int
    restarts: int


@dataclass(frozen=True, slots=True)
class RunFile:
    """What a supervisor says of itself.

    Attributes:
        app: The app's name.
        spec: The file that declares it.
        pid: The supervisor's process id.
        url: Where the gateway answers; None until it does.
        processes: By role: learner, gateway, worker.
    """

    app: str
    spec: str
    pid: int
    url: str | None
    processes: Mapping[str, Process] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Replace the file at once: a reader sees the old one or this one."""
        temporary = folder / f"{RUN_FILE}.tmp"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(folder / RUN_FILE)


def running(folder: Path) -> RunFile | None:
    """Who runs on a state directory; None where nobody does, also where a supervisor was killed and left its file."""
    try:
        said = json.loads((folder / RUN_FILE).read_text())
        processes = {role: Process(**facts) for role, facts in said.pop("processes").items()}
        found = RunFile(**said, processes=processes)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if _lives(found.pid) else None


def address(folder: Path) -> str:
    """The URL of the gateway that runs on a state directory.

    Raises:
        Fatal: None does.
    """
    found = running(folder)
    if found is not None and found.url is None:
        raise Fatal("the gateway is still starting", where=str(folder), next_step="Try again in a few seconds.")
    if found is None or found.url is None:
        step = "Start it with `headwater run APP`, or name a gateway with --url or another directory with --state."
        raise Fatal("nothing runs on this state directory", where=str(folder), next_step=step)
    return found.url


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's: it lives
    return True
