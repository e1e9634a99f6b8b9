"""`headwater assess`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headwater.assess.assessment import Assessment
    from headwater.assess.table import Progress


def assess(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table of history: CSV (also .gz), JSON lines or Parquet.")],
    label: Annotated[str, typer.Option(metavar="COL", help="The column that holds what turned out to be true.")],
    time: Annotated[str, typer.Option(metavar="COL", help="The column that says when each event happened.")],
    label_time: Annotated[
        str | None, typer.Option(metavar="COL", help="When each label became known; without it, right after its event.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COL", help="Whom an event is about; no change then repeats its own last label.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="COL,...", help="Columns that are not to be read at all.")] = None,
    category: Annotated[
        list[str] | None, typer.Option(metavar="COL,...", help="Columns that get a weight for each of their values.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="COL,...", help="Columns that get a weight for each of their words.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COL,...", help="Columns that are no leaks, whatever they look like.")
    ] = None,
    task: Annotated[
        str, typer.Option(metavar="TASK", help="auto (by the label's values), binary, multiclass or regression.")
    ] = "auto",
    rows: Annotated[int | None, typer.Option(min=100, metavar="N", help="Read only the first N rows of the file.")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="APP", help="Save the app as a Python file, and the table's events beside it.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the report as JSON; - for stdout.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Draw the ladder as a picture (.png, .svg); needs headwater[plot].")
    ] = None,
) -> None:
    """Tell what freshness is worth on a table of history: one learner, published at every event, now and then, or once.

    Columns that know the label are named and left out. With --write, the app that was inferred is saved; it runs as it is.

    For example:

        headwater assess flights.csv.gz --label late --time ts --label-time label_ts

        headwater assess clicks.parquet --label clicked --time at --key user --drop session --write app.py --json report.json
    """
    from headwater.assess.assessment import assess as run
    from headwater.assess.choices import Choices
    from headwater.cli.ladders import show
    from headwater.cli.output import print_json, write_json
    from headwater.cli.progress import bar

    choices = Choices(label, time, label_time, key, _split(drop), _split(category), _split(text), _split(keep), task)
    if plot is not None:
        from headwater.assess import plot as picture

        picture.check()
    if write is not None:
        _check_free(write)
    with bar() as progress:
        found = run(file, choices, progress, rows)
        events = _write(found, write, progress) if write is not None else {}
    if plot is not None:
        picture.draw(found, plot)
    if json_file is not None and str(json_file) == "-":
        print_json(found.report())
        return
    show(found, write, events)
    if json_file is not None:
        write_json(json_file, found.report())


def _split(given: list[str] | None) -> tuple[str, ...]:
    """`--drop a,b --drop c` -> a, b, c."""
    return tuple(name.strip() for names in given or [] for name in names.split(",") if name.strip())


def _check_free(path: Path) -> None:
    """Refuse to write over a file that somebody else wrote."""
    from headwater.assess.declaration import MARK
    from headwater.core.errors import Fatal

    if path.exists() and (not path.is_file() or MARK not in path.read_text(encoding="utf-8", errors="replace")):
        raise Fatal(
            "there is a file already, which was not written by assess",
            where=f"--write {path}",
            next_step="Choose another name.",
        )
    if not path.parent.is_dir():
        raise Fatal("there is no such folder", where=f"--write {path}", got=str(path.parent))


def _write(found: Assessment, path: Path, progress: Progress) -> dict[str, Path]:
    from headwater.assess.declaration import declare
    from headwater.assess.events import write_events

    path.write_text(declare(found), encoding="utf-8")
    return write_events(found, path.with_name(f"{path.stem}_events"), progress)
