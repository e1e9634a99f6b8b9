"""`headwater show`."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def show(
    version: Annotated[str, typer.Argument(help="line@seq, a line for its newest version, or the start of a name or hash.")],
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show one version: lineage, recipe, metrics, cost, weights. Its file is verified on the way.

    For example:

        headwater show late@84211

        headwater show late --json
    """
    from headwater.cli.options import open_catalog
    from headwater.cli.output import print_json, table, utc
    from headwater.registry.difference import flat, norm

    with open_catalog(config, state) as catalog:
        found = catalog.get(version)
        stored = catalog.artifacts.get(found.sha256)
    arrays = [(name, str(a.dtype), list(a.shape), norm(a)) for name, a in sorted(stored.arrays.items())]
    if as_json:
        keys = ("name", "dtype", "shape", "norm")
        print_json(found.describe() | {"header": stored.header, "arrays": [dict(zip(keys, a, strict=True)) for a in arrays]})
        return
    facts = found.describe() | {"created": utc(found.created_ms)}
    table(
        ("", ""),
        [(key, value) for key, value in facts.items() if key not in {"recipe", "metrics", "created_ms"}],
        title=found.name,
    )
    table(("recipe", ""), flat(found.recipe))
    table(("metric", ""), found.metrics.items(), right=("",))
    table(("array", "type", "shape", "norm"), arrays, right=("norm",))
