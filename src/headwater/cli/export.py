"""`headwater export`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; no file in it is overwritten.")],
    streams: Annotated[
        list[str] | None,
        typer.Option("--stream", metavar="NAME", help="Only this stream; may be given again. Without it, all."),
    ] = None,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Write the log as one Parquet file a stream, whose replay gives the live run's state again.

    May be done beside a running Headwater; what comes in meanwhile is left out. For example:

        headwater export history

        headwater export history --stream arrival --state .headwater
    """
    from dataclasses import asdict

    from headwater.cli.options import open_events
    from headwater.cli.output import console, print_json, table
    from headwater.cli.progress import bar
    from headwater.runtime.export import export as write

    with closing(open_events(config, state, readonly=True)) as log, bar() as progress:
        done = write(log, folder, streams, lambda n, of: progress("exporting", n, of))
    if as_json:
        print_json(asdict(done))
        return
    table(("stream", "events", "file"), [(s, f"{done.events[s]:,}", p) for s, p in done.files.items()], right=("events",))
    screen = console()
    if done.first:
        screen.print(f"Retention has cut the log: it begins at seq {done.first:,}, so a replay cannot give the live state.")
    if not done.files:
        screen.print("The log is empty.")
    elif streams is None:
        screen.print("Judge an app on all of it, in the recorded order:")
        screen.print("  headwater replay APP " + " ".join(f"--input {s}={p}" for s, p in done.files.items()), soft_wrap=True)
