"""`headwater demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End after the report instead of serving until Ctrl-C.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")] = None,
    speed: Annotated[
        float | None, typer.Option(min=1, metavar="EVENTS", help="Send at most this many events a second.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=75, max=366, help="Only the first days of 2013, for a quick look.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")] = 0,
    state: Annotated[Path, typer.Option("--state", metavar="DIR", help="Where the log, the state and the versions go.")] = Path(
        ".headwater/demo"
    ),
    write_data: Annotated[
        Path | None, typer.Option("--write-data", metavar="DIR", help="Only write the streams as DIR/<stream>.parquet.")
    ] = None,
) -> None:
    """Every flight out of New York in 2013: will it be late? Real events over real HTTP, learnt as they come.

    For example:

        headwater demo

        headwater demo --exit --json report.json

        headwater demo --write-data data && headwater replay examples/flights.py --input departure=data/departure.parquet ...
    """
    from headwater.cli.output import console, write_json
    from headwater.demo.data import load

    if write_data is not None:
        for path in load().write(write_data):
            print(path)
        return
    from headwater.demo.run import Choices, run_demo

    report = run_demo(console(), Choices(state, port, speed, days, stay=not leave and json_file is None))
    if json_file is not None:
        write_json(json_file, report)
