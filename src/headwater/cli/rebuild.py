"""`headwater rebuild`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def rebuild(
    version: Annotated[str, typer.Argument(help="line@seq, a line for its newest version, or the start of a name or hash.")],
    app: Annotated[Path, typer.Argument(metavar="APP", help="The Python file that declares the app.")],
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Make a version again from the log alone and compare it, byte for byte. Exit code 1 if it differs.

    A version's file that was lost or altered is put back. May be done beside a running Headwater.

    For example:

        headwater rebuild late@84211 app.py

        headwater rebuild late examples/flights.py --state .headwater --json
    """
    from headwater.cli.options import configured, open_catalog, open_events
    from headwater.cli.output import console, print_json
    from headwater.cli.progress import bar
    from headwater.runtime.declared import load_app
    from headwater.runtime.marks import refits_in
    from headwater.runtime.rebuild import rebuild as make

    declared = load_app(app)
    with (
        open_catalog(config, state) as catalog,
        closing(open_events(config, state, app, readonly=True)) as log,
        bar() as progress,
    ):
        fitted = refits_in(configured(config, state, app).settings.registry_dir)
        told = partial(progress, "folding")
        done = make(declared, log, catalog.get(version), catalog.artifacts, told, fitted=fitted)
    name = done.version.name
    if as_json:
        print_json({"version": name, "same": done.is_same, **{k: v for k, v in asdict(done).items() if k != "version"},
                    "registered_sha256": done.version.sha256})  # fmt: skip
    elif done.is_same:
        console().print(
            f"{name} is the same, made again from {done.events:,} events in {done.seconds:.1f} s: sha256 {done.sha256}"
        )
        if done.restored:
            console().print("Its file was missing or altered; it has been put back.")
    else:
        console().print(
            f"{name} is different: registered {done.version.sha256}, made again {done.sha256} ({done.seconds:.1f} s)"
        )
    if not done.is_same:
        raise typer.Exit(1)
