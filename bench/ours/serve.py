"""The gateway process of `headwater run`, alone. Usage: serve APP STATE [DECISIONS], where DECISIONS is a file.

`headwater run` keeps no decision log yet; with DECISIONS this program gives the gateway's own decision log a file to write to.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import msgspec

from bench.side import say, when_stdin_ends
from headwater.runtime import gateway
from headwater.runtime.declared import load_app
from headwater.runtime.settings import Settings
from headwater.runtime.warm import warm
from headwater.serving.decisions import Decision
from headwater.serving.gateway import Options
from headwater.serving.server import Running
from headwater.telemetry.logs import configure


def keep_decisions(path: Path) -> None:
    """Have the gateway append its decision records to a file as JSON lines, in groups, unsynced."""
    file, encode = path.open("ab", buffering=0), msgspec.json.Encoder().encode_lines

    async def store(group: list[Decision]) -> None:
        file.write(encode([(d.time_us, d.model, d.version, d.keys, d.scores) for d in group]))

    vars(gateway)["Options"] = functools.partial(Options, decisions=store)


def main(app_file: str, state: str, decisions: str = "") -> None:
    configure("console", level="WARNING")
    app = load_app(Path(app_file))
    warm(app)
    if decisions:
        keep_decisions(Path(decisions))
    settings = Settings(state_dir=Path(state), server={"port": 0}, logging={"level": "warning"})  # type: ignore[arg-type]

    def ready(running: Running) -> None:
        when_stdin_ends(running.stop)
        say("headwater", "uvicorn", "uvloop", "httptools", "msgspec", "lmdb", "numba", url=running.url)

    gateway.run_gateway(app, settings, ready)


if __name__ == "__main__":
    main(*sys.argv[1:])
