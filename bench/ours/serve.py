"""The gateway process of `headwater run`, alone. Usage: serve APP STATE [DECISIONS], where DECISIONS is a file.

`headwater run` keeps no decision log yet; with DECISIONS this program gives the gateway's own decision log a file to write to.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import msgspec
import pyarrow as pa

from bench.side import say, when_stdin_ends
from headwater.core.batch import Column
from headwater.runtime import gateway
from headwater.runtime.declared import load_app
from headwater.runtime.settings import Settings
from headwater.runtime.warm import warm
from headwater.serving.decisions import Decision
from headwater.serving.options import Options
from headwater.serving.server import Running
from headwater.telemetry.logs import configure


def keep_decisions(path: Path) -> None:
    """Have the gateway append its decision records in groups, unsynced: as JSON lines, and for Arrow calls as batches."""
    file, encode = path.open("ab", buffering=0), msgspec.json.Encoder().encode_lines
    batches, schema = (
        path.with_suffix(".batches").open("ab", buffering=0),
        pa.schema([("key", pa.string()), ("score", pa.float64())]),
    )
    columns = pa.ipc.new_stream(batches, schema)

    async def store(group: list[Decision]) -> None:
        lines = []
        for time_us, model, version, keys, scores, _ in group:
            if isinstance(keys, Column):
                about = {"time_us": str(time_us), "model": model, "version": version}
                batch = pa.record_batch([keys.values.to_arrow(), pa.array(scores)], schema=schema)  # type: ignore[union-attr]
                columns.write_batch(batch, custom_metadata=about)
            else:
                lines.append((time_us, model, version, keys, scores if isinstance(scores, tuple) else list(map(float, scores))))
        file.write(encode(lines))

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
