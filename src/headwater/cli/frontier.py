"""`headwater frontier`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from headwater.planning.methods import Name


def frontier(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="History: Parquet, CSV, JSON lines, also compressed.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="What turned out to be true: yes/no, or a number.")],
    time: Annotated[str, typer.Option(metavar="COLUMN", help="When each event happened.")],
    label_time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="When its label became known; without it, at once.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="COLUMN", help="Whom or what an event is about.")] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="COLUMN,...", help="Columns that are not read.")] = None,
    category: Annotated[list[str] | None, typer.Option(metavar="COLUMN,...", help="Columns with a weight a value.")] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="COLUMN,...", help="Columns with a weight a word.")] = None,
    yes_unless: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Where the label has several classes: the one that counts as no.")
    ] = None,
    methods: Annotated[
        str, typer.Option(metavar="METHOD,...", help="By which the planner may update: some of steps, window, full.")
    ] = "full",
    change: Annotated[
        str, typer.Option(metavar="ROW,...|COLUMN", help="Known changes: tell how long the loss took to come back.")
    ] = "",
    judged_from: Annotated[float, typer.Option(metavar="SHARE", help="Judge only rows after this share of them.")] = 0.05,
    slow: Annotated[str, typer.Option(help="The model that is refitted: lightgbm.")] = "lightgbm",
    seed: Annotated[int, typer.Option(help="Seed of that model's fits.")] = 0,
    rows: Annotated[int | None, typer.Option(min=1, help="Read no more than so many rows.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; - for stdout.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw quality against core-seconds.")] = None,
) -> None:
    """Show what quality costs on your own history, under each policy of updates, and recommend one.

    The stream is replayed on a simulated clock: labels come when they came, and an update serves only after as long as it
    took to make. Every policy is charged everything that it spends. For example:

        headwater frontier history.parquet --label late --time departed --label-time landed --json frontier.json

        headwater frontier meters.csv.gz --label kwh --time at --key meter --drop note,operator --plot frontier.png
    """
    from headwater.assess.choices import Choices
    from headwater.assess.encoding import prepare
    from headwater.cli.output import console, print_json, write_json
    from headwater.cli.progress import bar
    from headwater.frontier.run import Asked
    from headwater.frontier.run import frontier as run

    choices = Choices(label, time, label_time, key, _list(drop), _list(category), _list(text))
    with bar() as progress:
        prepared = prepare(file, choices, progress, rows)
        asked = Asked(seed, yes_unless, slow, judged_from, cast("tuple[Name, ...]", _list([methods])), change)
        report = run(prepared.encoded, asked, told=progress)
    if prepared.leaks:
        names = ", ".join(leak.column for leak in prepared.leaks)
        console(stderr=True).print(f"left out as suspected leaks, see `headwater assess`: {names}")
    if plot is not None:
        from headwater.frontier.plot import draw

        draw(report, plot)
    if json_file is not None and str(json_file) == "-":
        print_json(report.as_json())
        return
    _show(report)
    if json_file is not None:
        write_json(json_file, report.as_json())


def _list(given: list[str] | None) -> tuple[str, ...]:
    return tuple(name for each in given or () for name in each.split(",") if name)


def _show(report: object) -> None:
    from headwater.cli.output import table
    from headwater.frontier.report import Report
    from headwater.frontier.screen import chart, told_of_regimes

    assert isinstance(report, Report)
    names = list(report.policies[0].metrics)
    headers = ["policy", *names, "core-seconds", "of always", "full updates", "lag, ms"]
    rows = [
        [
            r.name,
            *(r.metrics[m] for m in names),
            f"{r.core_seconds:.3f}",
            f"{r.share_of_always:.2%}",
            r.full_updates,
            f"{r.lag_ms:.0f}",
        ]
        for r in report.policies
    ]
    table(headers, rows, title=f"always: {report.always}", right=headers[1:])
    print()
    print(chart(report))
    print()
    for line in told_of_regimes(report):
        print(line)
    print(report.why)
