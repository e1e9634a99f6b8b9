"""`headwater replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The Python file that declares the app.")],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", metavar="[STREAM=]FILE", help="A stream's file; without STREAM=, JSON lines that name it each."
        ),
    ],
    batch: Annotated[int, typer.Option(min=1, help="Events a step. Changes the speed, never the result.")] = 4096,
    restarts: Annotated[int, typer.Option(min=0, help="Save, drop and restore the state this often on the way.")] = 0,
    vectors: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep each question with its features as they were scored: Parquet by day."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the log was exported, if it has refits: their files are in its registry."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; - for stdout.")
    ] = None,
) -> None:
    """Judge an app on files of history (Parquet, CSV, JSON lines), as fast as they can be folded.

    Rows are merged by `time`, or by `seq` where `headwater streams export` wrote the files. For example:

        headwater replay app.py --input sample.jsonl

        headwater replay examples/flights.py --input departure=d.parquet --input arrival=a.parquet --json report.json
    """
    from headwater.cli.inputs import files_of
    from headwater.cli.options import configured
    from headwater.cli.output import print_json
    from headwater.cli.progress import bar
    from headwater.cli.reports import ledger_line, metrics_tables, print_facts
    from headwater.runtime.declared import load_app
    from headwater.runtime.marks import no_refits, refits_in
    from headwater.runtime.replay import replay as run

    with bar() as progress:
        files, mixed = files_of(inputs)
        fitted = no_refits if state is None else refits_in(configured(None, state, app).settings.registry_dir)
        done = run(
            load_app(app), files, mixed=mixed, batch=batch, restarts=restarts, progress=progress, vectors=vectors, fitted=fitted
        )
    report = done.report()
    if json_file is not None and str(json_file) == "-":
        print_json(report)
        return
    metrics_tables(report["metrics"])
    refused = f" ({', '.join(f'{n} {code}' for code, n in done.reasons.items())})" if done.reasons else ""
    print_facts(
        {
            "events": f"{done.events:,} in {done.seconds:.2f} s ({report['events_per_s']:,.0f}/s)",
            "in = applied + duplicate + late + quarantined": " = ".join(
                (
                    f"{done.counts['in']:,}",
                    " + ".join(f"{done.counts[k]:,}" for k in ("applied", "duplicate", "late", "quarantined")),
                )
            )
            + refused,
            **({"taken by no memory": report["left_out"]} if any(report["left_out"].values()) else {}),
            **({"ledger": ledger_line(report["ledger"])} if "ledger" in report else {}),
            "state_hash": report["state_hash"],
        }
    )
    if json_file is not None:
        from headwater.cli.output import write_json

        write_json(json_file, report)
