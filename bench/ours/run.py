"""What `headwater run` starts, without its terminal. Usage: run APP STATE."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from bench.side import say, when_stdin_ends
from headwater.runtime.declared import load_app
from headwater.runtime.settings import Settings
from headwater.runtime.supervisor import Supervisor


def main(app_file: str, state: str) -> None:
    settings = Settings(state_dir=Path(state), server={"port": 0}, logging={"level": "error"})  # type: ignore[arg-type]
    stop = threading.Event()
    with Supervisor(load_app(Path(app_file)), app_file, settings) as supervisor:
        when_stdin_ends(stop.set)
        pids = {role: child.pid for role, child in supervisor.children.items()}
        say("headwater", "uvicorn", "uvloop", "lmdb", "numba", "msgspec", url=supervisor.url, pids=pids)
        stop.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
