"""`headwater config explain`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def explain(
    name: Annotated[str | None, typer.Argument(help="One setting, such as server.port; without it all of them.")] = None,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show every setting: its value, where that came from, what it is for.

    Later ones win: default, headwater.toml, environment, command line.

    For example:

        headwater config explain

        HEADWATER_SERVER_PORT=9000 headwater config explain server.port
    """
    from headwater.cli.options import configured
    from headwater.cli.output import print_json, table
    from headwater.core.errors import ConfigError, nearest

    settings = configured(config, state).explain()
    if name is not None:
        found = [s for s in settings if s.name == name]
        if not found:
            raise ConfigError("no such setting", where=name, next_step=nearest(name, [s.name for s in settings]))
        settings = found
    if as_json:
        print_json([asdict(s) for s in settings])
        return
    table(("setting", "value", "from", "purpose"), [(s.name, s.value, s.source, s.purpose) for s in settings])
