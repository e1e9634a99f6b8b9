"""`headwater quarantine list`, `show` and `replay`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from headwater.cli.options import ConfigFile, Json, State

Codes = Annotated[list[str] | None, typer.Option("--code", help="Only those refused for this reason; may be given again.")]
Streams = Annotated[list[str] | None, typer.Option("--stream", help="Only those meant for this stream; may be given again.")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Only those from this source; may be given again.")]

Personal = Annotated[bool, typer.Option("--personal", help="Also what may be about a person, which is hidden otherwise.")]

T = TypeVar("T")


def _any(given: list[T] | None) -> frozenset[T] | None:
    return frozenset(given) if given else None


def list_(
    codes: Codes = None,
    streams: Streams = None,
    sources: Sources = None,
    replayed: Annotated[bool, typer.Option("--all", help="Also those that have been replayed with success.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest first.")] = 50,
    personal: Personal = False,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List the events that were refused, and why.

    For example:

        headwater quarantine list

        headwater quarantine list --stream arrival --code missing_field --json
    """
    from headwater.cli.options import configured, open_events
    from headwater.cli.output import print_json, table, utc
    from headwater.ingest.quarantine import Selection, letters
    from headwater.runtime.masking import mask

    wanted = Selection(codes=_any(codes), streams=_any(streams), sources=_any(sources), replayed=replayed, limit=limit)
    with closing(open_events(config, state, readonly=True)) as log:
        found = list(letters(log, wanted))
    if not personal:
        hide = mask(configured(config, state).settings)
        found = [replace(f, raw=hide.text(f.raw, f.stream)) for f in found]
    if as_json:
        print_json([asdict(letter) for letter in found])
        return
    table(
        ("seq", "refused", "stream", "source", "code", "reason", "bytes"),
        [(f.seq, utc(f.arrival_us // 1000), f.stream, f.source, f.code, f.reason, f.n_bytes) for f in found],
        right=("seq", "bytes"),
    )


def show(
    seq: Annotated[int, typer.Argument(help="Its place in the log, as `quarantine list` prints it.")],
    personal: Personal = False,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show one refused event with its text; what may be personal is hidden in it, unless it is asked for.

    For example:

        headwater quarantine show 1042

        headwater quarantine show 1042 --personal
    """
    from headwater.cli.options import configured, open_events
    from headwater.cli.output import print_json, table, utc
    from headwater.ingest import show as find
    from headwater.runtime.masking import mask

    with closing(open_events(config, state, readonly=True)) as log:
        found = asdict(find(log, seq))
    if not personal:
        found["raw"] = mask(configured(config, state).settings).text(found["raw"], found["stream"])
    if as_json:
        print_json(found)
        return
    refused = utc(found.pop("arrival_us") // 1000)
    table(("", ""), [("refused", refused), *found.items()])


def replay(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The file that declares the streams, such as app.py.")],
    seqs: Annotated[list[int] | None, typer.Option("--seq", help="Only the one at this place; may be given again.")] = None,
    codes: Codes = None,
    streams: Streams = None,
    sources: Sources = None,
    edits: Annotated[
        list[str] | None,
        typer.Option("--edit", help="A repair: 'set name=value', 'drop name' or 'rename old=new'; done in the order given."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be accepted; store nothing.")] = False,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Try refused events again, repaired if asked; what is good now enters once. Exit code 1 if some are refused again.

    For example:

        headwater quarantine replay app.py --dry-run --edit "rename delay=arr_delay"

        headwater quarantine replay app.py --seq 1042 --edit "set carrier=UA"
    """
    from headwater.cli.options import configured, open_events
    from headwater.cli.output import print_json, table
    from headwater.core.clock import SystemClock
    from headwater.ingest import Selection, parse_edit
    from headwater.ingest import replay as try_again
    from headwater.log.wake import ring
    from headwater.runtime.declared import load_app
    from headwater.runtime.places import BELLS

    schemas = load_app(app).streams
    repairs = [parse_edit(text) for text in edits or []]
    wanted = Selection(_any(seqs), _any(codes), _any(streams), _any(sources))
    with closing(open_events(config, state, app, readonly=dry_run)) as log:
        outcomes = try_again(log, schemas, wanted, repairs, clock=SystemClock(), dry_run=dry_run)
    ring(configured(config, state, app).settings.state_dir / BELLS)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        rows = [(o.letter.seq, o.letter.stream, o.verdict, o.seq, o.reason) for o in outcomes]
        table(("seq", "stream", "verdict", "stored at", "reason"), rows, title="Nothing was stored." if dry_run else "")
    if any(outcome.verdict == "quarantined" for outcome in outcomes):
        raise typer.Exit(1)
