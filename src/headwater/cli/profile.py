"""`headwater profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def profile(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The Python file that declares the app.")],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", metavar="[STREAM=]FILE", help="A stream's file; without STREAM=, JSON lines that name it each."
        ),
    ],
    batch: Annotated[int, typer.Option(min=1, help="Events of one append, one step and one publish.")] = 1_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; - for stdout.")
    ] = None,
) -> None:
    """Show where an app spends its time: processor time for each event by stage, on your own events.

    The events go through a log, a state and a view on disk in a temporary folder; nothing else is touched. For example:

        headwater profile app.py --input sample.jsonl

        headwater profile examples/flights.py --input departure=d.parquet --input arrival=a.parquet --json -
    """
    from headwater.cli.inputs import files_of
    from headwater.cli.output import print_json, write_json
    from headwater.cli.progress import bar
    from headwater.cli.reports import print_profile
    from headwater.runtime.declared import load_app
    from headwater.runtime.profiling import Pace
    from headwater.runtime.profiling import profile as run

    with bar() as progress:
        files, mixed = files_of(inputs)
        report = run(load_app(app), files, mixed=mixed, pace=Pace(batch), progress=progress).report()
    if json_file is not None and str(json_file) == "-":
        print_json(report)
        return
    print_profile(report)
    if json_file is not None:
        write_json(json_file, report)
