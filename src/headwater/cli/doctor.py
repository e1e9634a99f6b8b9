"""`headwater doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from headwater.cli.options import ConfigFile, Json, State


def doctor(config: ConfigFile = None, state: State = None, as_json: Json = False) -> None:
    """Check this machine and a state directory; reads everything, changes nothing. Exit code 1 if something fails.

    For example:

        headwater doctor

        headwater doctor --state .headwater --json
    """
    from headwater.cli.options import configured
    from headwater.cli.output import print_json, table
    from headwater.runtime.doctor import FAIL, examine

    findings = examine(configured(config, state).settings)
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        table(("", "check", "finding", "next step"), [(f.level, f.check, f.finding, f.next_step or None) for f in findings])
    if any(f.level == FAIL for f in findings):
        raise typer.Exit(1)
