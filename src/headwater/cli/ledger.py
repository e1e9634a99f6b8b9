"""`headwater ledger`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def ledger(
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="Only what belongs to this model.")] = None,
    plans: Annotated[bool, typer.Option("--plans", help="List the plans that were made, each with its reason.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write every job to a CSV file.")] = None,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """What updates cost and what they gained: by model, day (of event time, UTC) and method.

    A gain is loss avoided: what a mixture of the experts without the slow model has lost on the same labels, less what was
    served. For example:

        headwater ledger

        headwater ledger --model late --plans

        headwater ledger --json

        headwater ledger --csv jobs.csv
    """
    from headwater.cli.options import configured
    from headwater.cli.output import console, print_json, table, utc
    from headwater.cli.reports import print_ledger, write_jobs
    from headwater.planning.ledger import FILE_NAME, Ledger
    from headwater.runtime.places import PLANNING
    from headwater.runtime.refitting import jobs_report, plans_said

    folder = configured(config, state).settings.state_dir
    with Ledger(folder / PLANNING / FILE_NAME, read_only=True) as kept:
        report = jobs_report(kept, model)
        jobs = kept.jobs(model=model)
    said = plans_said(folder, model) if plans or as_json else []
    if csv is not None:
        write_jobs(csv, jobs)
    if as_json:
        print_json({**report, "plans": said})
        return
    print_ledger(report)
    if plans:
        table(("event time", "model", "plan", "why"), [(utc(p["time_ms"]), p["model"], p["action"], p["why"]) for p in said])
    if csv is not None:
        console().print(f"{len(jobs):,} jobs written to {csv}")
