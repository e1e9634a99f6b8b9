"""`headwater versions`."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def versions(
    line: Annotated[str | None, typer.Argument(help="Only the versions of this line.")] = None,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List the registered versions, by line and age.

    For example:

        headwater versions

        headwater versions late --state .headwater --json
    """
    from headwater.cli.options import open_catalog
    from headwater.cli.output import print_json, table, utc

    with open_catalog(config, state) as catalog:
        found = catalog.list(line)
    if as_json:
        print_json([v.describe() for v in found])
        return
    metrics = sorted({key for v in found for key in v.metrics})
    table(
        ("version", "event time", "trigger", "parent", *metrics, "core-seconds", "sha256"),
        [
            (v.name, utc(v.created_ms), v.trigger, v.parent, *map(v.metrics.get, metrics), v.cost_core_s, v.sha256[:12])
            for v in found
        ],
        right=(*metrics, "core-seconds"),
    )
