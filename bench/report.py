"""The table on the screen and the page `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.result import Result
from bench.row import Row

Json = dict[str, Any]


def number(value: float | None) -> str:
    """Three significant digits, thousands in groups; a dash for none.

    >>> number(1234567.0), number(0.01234), number(None)
    ('1,234,567', '0.0123', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - four digits and more are whole


def _cells(row: Json) -> tuple[str, ...]:
    sign = ">=" if row["better"] == "higher" else "<="
    unit = "x" if row["unit"] == "x" else f" {row['unit']}"
    return (
        row["slug"], row["peer"] or "own figure", f"{number(row['value'])}{unit}",
        f"{number(row['low'])} .. {number(row['high'])}",
        f"{sign} {number(row['reach'])}", f"{sign} {number(row['moonshot'])}", "yes" if row["ok"] else "no",
        number(row["ours"]), number(row["theirs"]), row["measure"],
    )  # fmt: skip


HEADINGS = ("row", "peer", "value", "range", "reach", "moonshot", "reached", "ours", "theirs", "measured in")


def table(console: Console, rows: Sequence[Json]) -> None:
    made = Table(*HEADINGS, header_style="bold", box=None, padding=(0, 1))
    for row in rows:
        made.add_row(*_cells(row), style="" if row["ok"] else "yellow")
    console.print(made)


def facts(result: Result) -> str:
    """What else a result tells, on one line."""
    shown = {"n": f"{result.n:,}", "rounds": result.rounds, **result.facts}
    return ", ".join(f"{name} {_fact(value)}" for name, value in shown.items())


def _fact(value: object) -> str:
    if isinstance(value, list | tuple):
        return " / ".join(_fact(v) for v in value)
    return number(value) if isinstance(value, float) else str(value)


def page(rows: Sequence[Row], results: Sequence[Result], cpu: str, *, busy: bool, quick: bool) -> str:
    """The whole page."""
    where = f"Measured on {cpu}" + (", a busy machine: other programs took part of it" if busy else "")
    lines = [
        "# Benchmarks", "",
        "This page is written by `make bench`; `make bench ARGS='--json FILE'` gives the same as data,",
        "`ARGS='--only SLUG'` one row.", "",
        f"{where}. Each row runs both sides by turns, each in a process of its own on the same core; the value is the",
        "median of the rounds' ratios and the range is their least and greatest. Where there is no peer the figure is our own."
        + (" This was a quick run: fewer rounds, less work." if quick else ""),
        "", "| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS),
    ]  # fmt: skip
    lines += ["| " + " | ".join(_cells(r.row(cpu))) + " |" for r in results]
    by_slug = {r.spec.slug: r for r in results}
    for row in rows:
        mine = [by_slug[slug] for slug in row.slugs if slug in by_slug]
        if mine:
            lines += _section(row, mine)
    return "\n".join(lines) + "\n"


def _section(row: Row, results: Sequence[Result]) -> list[str]:
    versions = ", ".join(f"{name} {v}" for name, v in results[0].versions.items())
    lines = ["", f"## {', '.join(row.slugs)}", "", f"{row.path[0].upper()}{row.path[1:]}.", "", f"- Headwater: {row.ours}"]
    if row.peer:
        lines.append(f"- {row.peer}: {row.theirs}")
    elif row.theirs:
        lines.append(f"- Conditions: {row.theirs}")
    if not all(r.is_right for r in results):
        lines.append("- **The sides did not compute the same: this row does not count.**")
    return [*lines, f"- This run: {facts(results[0])}.", f"- Versions: {versions}."]
