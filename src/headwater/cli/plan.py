"""`headwater plan`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def plan(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The changed Python file.")],
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show what a changed app keeps, what is folded anew from the log, what is dropped, and how long that takes.

    Nothing is changed. `headwater apply` does it while the app runs, `headwater run` at a start.

    For example:

        headwater plan app.py

        headwater plan app.py --state flights-state --json
    """
    from dataclasses import asdict

    from headwater.cli.options import configured, open_events
    from headwater.cli.output import console, print_json, table
    from headwater.runtime.declared import load_app
    from headwater.runtime.forecast import declared_before, forecast

    declared, settings = load_app(app), configured(config, state, app).settings
    declared_before(declared, settings.state_dir)  # better said than that there is no log
    with closing(open_events(config, state, app, readonly=True)) as log:
        found = forecast(declared, settings.state_dir, log)
    if as_json:
        print_json(asdict(found))
        return
    screen = console()
    if not found.has_changed:
        screen.print(f"{declared.name} has not changed: nothing to do.")
        return
    table(("", "what", "becomes", "why"), [(p.kind, p.name, p.fate, p.why) for p in found.parts])
    screen.print(found.words())
