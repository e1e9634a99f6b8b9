"""`headwater diff`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def diff(
    a: Annotated[str, typer.Argument(help="The first version: line@seq, or the start of a name or hash.")],
    b: Annotated[str, typer.Argument(help="The second version, named likewise.")],
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show what changed from one version to another: recipe, metrics, weights.

    For example:

        headwater diff late@60112 late@84211

        headwater diff late@60112 late --json
    """
    from headwater.cli.options import open_catalog
    from headwater.cli.output import console, print_json, table

    with open_catalog(config, state) as catalog:
        found = catalog.diff(a, b)
    if as_json:
        print_json(asdict(found))
        return
    if found.same_bytes:
        console().print(f"{found.a} and {found.b} have the same bytes.")
    recipe = [(key, *pair) for key, pair in found.recipe.items()]
    if recipe:
        table(("recipe", found.a, found.b), recipe)
    table(("metric", found.a, found.b), [(key, *pair) for key, pair in found.metrics.items()], right=(found.a, found.b))
    heads = ("array", f"norm in {found.a}", f"norm in {found.b}", "norm of change", "values changed")
    table(heads, [(c.name, c.before, c.after, c.change, c.n_changed) for c in found.arrays], right=heads[1:])
