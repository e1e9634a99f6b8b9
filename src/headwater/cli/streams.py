"""`headwater streams`: an app's streams for other programs."""

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

        headwater streams export history

        headwater streams export history --stream arrival --state .headwater
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


def describe(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The Python file that declares the app.")],
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="json-schema (2020-12), avro or asyncapi (3.0).")
    ] = "json-schema",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of printing it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out, if it is there.")] = False,
) -> None:
    """Describe the events that an app's streams take: types, nulls, defaults, units, keys, lateness. Always JSON.

    Made from the declaration alone; nothing needs to run. Fields' texts and units come from the section "Attributes:" of a
    stream's docstring. For example:

        headwater streams describe app.py

        headwater streams describe app.py --format avro --out streams.avsc
    """
    from headwater.cli.output import console, print_json, write_json
    from headwater.core.errors import Fatal
    from headwater.ingest.description import describe as described
    from headwater.runtime.declared import load_app

    declared = load_app(app)
    document = described(form, declared.name, declared.streams)
    if out is None:
        print_json(document)
        return
    if out.exists() and not force:
        raise Fatal("something is there already", where=str(out), next_step="Choose another --out, or give --force.")
    try:
        write_json(out, document)
    except OSError as error:
        what = f"the file cannot be written ({error.strerror})"
        raise Fatal(what, where=str(out), next_step="Choose another --out.") from error
    console().print(f"{out}: {', '.join(declared.streams)} as {form}.", soft_wrap=True)
