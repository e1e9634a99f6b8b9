"""`headwater verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def verify(
    accept: Annotated[
        bool, typer.Option("--accept", help="Take this catalogue as the newest: it was put back from a copy on purpose.")
    ] = False,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Check every registered version: signed here, its file unaltered, nothing newer missing. Exit code 1 if not.

    Files are hashed and not parsed. May be done beside a running Headwater, but for --accept.

    For example:

        headwater verify

        headwater verify --state .headwater --json
    """
    from headwater.cli.options import configured, open_catalog
    from headwater.cli.output import console, print_json, table
    from headwater.cli.progress import bar
    from headwater.core.errors import CorruptData
    from headwater.registry import Catalog

    if accept:
        n = Catalog.accept(configured(config, state).settings.registry_dir)
        console().print(f"{n} versions are taken as all there are; a copy with more is newer, and is taken as well.")
    wrong = []
    with open_catalog(config, state) as catalog, bar() as progress:
        versions = catalog.list()
        for done, version in enumerate(versions, 1):
            try:
                catalog.artifacts.verify(version.sha256)
            except CorruptData as error:
                wrong.append({"version": version.name, "what": error.what, "where": error.where})
            progress("verifying", done, len(versions))
    if as_json:
        print_json({"versions": len(versions), "wrong": wrong})
    elif wrong:
        table(("version", "what", "where"), [tuple(found.values()) for found in wrong])
    else:
        console().print(f"{len(versions)} versions: each is signed by this installation, and its file is what was signed.")
    if wrong:
        raise typer.Exit(1)
