"""How an assessment is shown: columns, leaks, the ladder with bars, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table as Grid
from rich.text import Text

from headwater.cli.output import console, plain

if TYPE_CHECKING:
    from headwater.assess.assessment import Assessment

_WIDTH = 24  # of the longest bar
_SHOWN = 24  # columns of a kind that are named
_RUNGS = {
    "every_event": "at every event", "1%": "each 1 %", "5%": "each 5 %", "frozen": "once, after 20 %", "no_change": "no change",
}  # fmt: skip


def show(found: Assessment, app: Path | None, events: Mapping[str, Path]) -> None:
    """Print everything that a person wants to know first."""
    out = console()
    out.print(Text(_head(found), style="bold"))
    _show_columns(found)
    for note in found.prepared.table.notes:
        out.print(plain(f"note: {note}"))
    out.print()
    _show_ladder(found)
    out.print()
    out.print(Text(found.sentence, style="bold"))
    if found.but:
        out.print(found.but)
    out.print()
    for line in _next(app, events):
        out.print(line, soft_wrap=True)  # a command is copied: it must not be broken


def _head(found: Assessment) -> str:
    encoded = found.prepared.encoded
    report = found.report()
    what = "a number" if found.task == "regression" else f"{len(encoded.classes)} classes"
    if found.task == "binary":
        what = f"{encoded.classes[1]} in {100 * report['label']['mean']:.1f} %, else {encoded.classes[0]}"
    return plain(
        f"{found.prepared.table.file.path.name}: {encoded.n:,} rows, {report['first'][:10]} to {report['last'][:10]}; "
        f"{found.choices.label} is {what} ({found.task}); {found.seconds:.1f} s"
    )


def _show_columns(found: Assessment) -> None:
    """A line for each kind, and one for each leak."""
    prepared = found.prepared
    leaks = {leak.column for leak in prepared.leaks}
    groups: dict[str, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    for name, kind in prepared.kinds.items():
        if name in leaks:
            continue
        is_used = kind.name in ("number", "category", "text")
        groups.setdefault(kind.name if is_used else "not used", []).append(name if is_used else f"{name} ({kind.why})")
        if is_used and kind.name == "category" and kind.why:
            reasons.setdefault(kind.why, []).append(name)
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for kind_name, names in groups.items():
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        grid.add_row(
            Text(kind_name, style="cyan"), plain((", " if kind_name == "not used" else " ").join(names[:_SHOWN]) + more)
        )
    for why, names in reasons.items():
        grid.add_row("", plain(f"{why}: {', '.join(names[:_SHOWN])}"))
    for leak in prepared.leaks[:_SHOWN]:
        grid.add_row(Text("suspected leak", style="bold red"), plain(f"{leak.column}: {leak.why}"))
    if leaks:
        names_of = ",".join(leak.column for leak in prepared.leaks)
        grid.add_row("", plain(f"left out; if they are known before the label: --keep {names_of}"))
    console().print(grid)


def _show_ladder(found: Assessment) -> None:
    from headwater.assess.scores import MEASURES
    from headwater.assess.verdict import main_measure, name_of

    main = main_measure(found.ladder, found.task)
    measures = [name for name in MEASURES[found.task] if name in found.ladder["every_event"]]
    grid = Grid(box=None, pad_edge=False, header_style="bold", show_edge=False)
    grid.add_column("published")
    grid.add_column("about every")
    for measure in measures:
        grid.add_column(name_of(measure), justify="right")
    grid.add_column("")
    for rung, values in found.ladder.items():
        cells = [_cell(values.get(measure)) for measure in measures]
        style = "green" if rung == "every_event" else ""
        bar = _bar(found, rung, main)
        grid.add_row(Text(_RUNGS[rung], style=style), _every(found, rung), *cells, Text(bar, style=style or "dim"))
    console().print(grid)


def _every(found: Assessment, rung: str) -> str:
    """How much time lies between two publications."""
    from headwater.assess.times import span

    time = found.prepared.encoded.time_ms
    share = {"1%": 100, "5%": 20}.get(rung)
    return span(int(time[-1] - time[0]) // share) if share else ""


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"  # noqa: PLR2004


def _bar(found: Assessment, rung: str, measure: str) -> str:
    """A bar from 0, of AUC from 0.5: what a coin has."""
    zero = 0.5 if measure == "auc" else 0.0
    longest = max(values[measure] for values in found.ladder.values() if measure in values) - zero
    value = found.ladder[rung].get(measure)
    if value is None or longest <= 0:
        return ""
    return "█" * round(_WIDTH * (value - zero) / longest) or "▏"


def _next(app: Path | None, events: Mapping[str, Path]) -> list[str]:
    if app is None:
        return ["next: the same with --write app.py saves this as an app that serves and learns."]
    inputs = " ".join(f"--input {stream}={path}" for stream, path in events.items())
    return [
        f"wrote {app}, and the table's events beside it.",
        f"next: headwater replay {app} {inputs}",
        f"      headwater run {app}",
        f"      headwater send {inputs}",
    ]
