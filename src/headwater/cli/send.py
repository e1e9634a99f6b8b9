"""`headwater send`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import ConfigFile, Json, State, Url

if TYPE_CHECKING:
    from headwater.ingest.client import Client, Totals

_SHOWN = 10  # problems
_EXPORTED = ("seq", "arrival")  # columns of `headwater streams export` that are no part of an event


def send(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="JSON lines, CSV or Parquet by its name; - reads JSON lines from stdin."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="STREAM=FILE", help="A stream's file instead of FILE; several are merged by `time`."),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(metavar="NAME", help="The stream of all events; without it each names its own in `stream`.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Events in one request; fewer where they are long.")] = 1000,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if any event was refused.")] = False,
    config: ConfigFile = None,
    state: State = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send events from a file to a running Headwater, until each is on disk.

    Sending a file again is harmless: an event is known by its source and id and stored once. Rows of CSV and Parquet
    files without a column `id` are known by the file's name and their number.

    For example:

        headwater send sample.jsonl

        headwater send arrivals.parquet --stream arrival --url http://127.0.0.1:8080

        headwater send --input departure=departures.parquet --input arrival=arrivals.parquet
    """
    from headwater.cli.options import connected
    from headwater.cli.output import print_json
    from headwater.cli.progress import bar
    from headwater.cli.timed import merged, named

    if (file is None) == (not inputs) or (stream and inputs):
        raise typer.BadParameter("give a FILE, with or without --stream, or --input STREAM=FILE, one for each stream")
    files = named(inputs or [])
    with connected(config, state, url) as client, bar() as progress:
        if file is not None:
            rows = _stdin() if file == "-" else _rows(client, Path(file), stream, progress)
        else:
            rows = merged({name: _rows(client, path, name, progress) for name, path in files.items()}, files)
        totals = client.send(stream, rows, batch=batch)
    if as_json:
        print_json(_summary(totals))
    else:
        _show(totals)
    if strict and totals.quarantined:
        raise typer.Exit(1)


def _stdin() -> Iterator[Any]:
    import msgspec

    return (msgspec.Raw(line) for line in map(bytes.strip, sys.stdin.buffer) if line)


def _rows(client: Client, path: Path, stream: str | None, progress: Callable[[str, int, int], None]) -> Iterator[Any]:
    """The file's events; lines as they stand, so that the gateway keeps the very text of what it refuses."""
    import msgspec

    from headwater.ingest.rows import kind_of, read_lines, read_rows

    size = path.stat().st_size if path.exists() else 0
    if "json" in kind_of(path):
        for at, line in read_lines(path):
            progress("sending", at, size)
            yield msgspec.Raw(line)
        return
    fields = _fields(client, stream)
    texts = {name for name, kind in fields.items() if "string" in kind}
    for number, (at, row) in enumerate(read_rows(path, texts=texts)):
        progress("sending", at, size)
        yield _event(row, f"{path.name}:{number}", fields, mixed=stream is None)


def _event(row: dict[str, Any], name: str, fields: dict[str, Any], *, mixed: bool) -> dict[str, Any]:
    """A file's row as an event. Where streams share the columns, an empty cell is no field of this one."""
    kept = {k: v for k, v in row.items() if (k in fields or k not in _EXPORTED) and not (mixed and v is None)}
    if kept.get("id") is None:
        kept["id"] = name
    return kept


def _fields(client: Client, stream: str | None) -> dict[str, Any]:
    """Field -> JSON types, of one stream or of all, as the gateway publishes them."""
    schemas = client.get("/openapi.json")["components"]["schemas"]
    wanted = [s for name, s in schemas.items() if name.startswith("event.") and stream in {None, name.removeprefix("event.")}]
    found: dict[str, Any] = {}
    for schema in wanted:
        for name, spec in schema["properties"].items():
            found[name] = spec.get("type", "")
    return found


def _summary(totals: Totals) -> dict[str, Any]:
    names = ("accepted", "duplicate", "quarantined", "end", "n_retries", "problems", "warnings")
    return {"events": totals.n, **{name: getattr(totals, name) for name in names}}


def _show(totals: Totals) -> None:
    from headwater.cli.output import console, table

    screen = console()
    counts = f"{totals.accepted:,} stored, {totals.duplicate:,} known already, {totals.quarantined:,} refused"
    screen.print(f"{totals.n:,} events: {counts}; the log ends at {totals.end:,}")
    if totals.n_retries:
        screen.print(f"{totals.n_retries} requests were sent again")
    for text in totals.warnings.values():
        screen.print(f"warning: {text}")
    if not totals.problems:
        return
    first = [(p["row"] + 1, p["code"], p["reason"]) for p in totals.problems[:_SHOWN]]
    title = f"The first of {totals.quarantined:,} refused events; `headwater quarantine list` shows all:"
    table(("event", "code", "reason"), first, title=title, right=("event",))
