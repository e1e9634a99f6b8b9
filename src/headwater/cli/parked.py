"""`headwater parked list` and `headwater parked retry`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import ConfigFile, Json, State

if TYPE_CHECKING:
    from headwater.following import Cursors

_SHOWN_CHARS = 80


def list_(
    consumer: Annotated[str | None, typer.Argument(help="Only what this consumer would not take.")] = None,
    personal: Annotated[
        bool, typer.Option("--personal", help="Also what may be about a person, which is hidden otherwise.")
    ] = False,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List the events that a handler or webhook would not take, with what it said of them.

    A handler that raises `hw.Fatal` and a webhook's receiver that answers 4xx have the event put aside, so that it does
    not hold up what comes after.

    For example:

        headwater parked list

        headwater parked list notify_shop --state .headwater --json
    """
    from headwater.cli.options import configured
    from headwater.cli.output import print_json, table, utc
    from headwater.runtime.masking import mask

    with closing(_cursors(config, state, readonly=True)) as cursors:
        found = cursors.parked(consumer)
    if not personal:
        hide = mask(configured(config, state).settings)
        found = [one._replace(event=hide.text(one.event, json.loads(one.event).get("type", ""))) for one in found]
    if as_json:
        print_json([{**one._asdict(), "event": _event(one.event)} for one in found])
        return
    rows = [(p.consumer, p.seq, utc(p.parked_us // 1000), p.error[:_SHOWN_CHARS], p.event[:_SHOWN_CHARS]) for p in found]
    table(("consumer", "seq", "parked", "why", "event"), rows, right=("seq",))


def retry(
    consumer: Annotated[str, typer.Argument(help="The consumer that shall be told of them once more.")],
    seqs: Annotated[list[int] | None, typer.Argument(metavar="[SEQ]...", help="Which of its parked events; else all.")] = None,
    config: ConfigFile = None,
    state: State = None,
) -> None:
    """Have parked events handed over once more, after what was wrong with their consumer was put right.

    A running worker does it at once, another one when it starts. What is refused again stays parked.

    For example:

        headwater parked retry notify_shop

        headwater parked retry notify_shop 1042 1057 --state .headwater
    """
    from headwater.cli.options import configured
    from headwater.cli.output import console
    from headwater.log import ring
    from headwater.runtime.places import BELLS

    with closing(_cursors(config, state, readonly=False)) as cursors:
        n = cursors.want(consumer, seqs or None)
    ring(configured(config, state).settings.state_dir / BELLS)
    console().print(f"{n:,} parked events of {consumer} will be handed over once more")
    if not n:
        raise typer.Exit(1)


def _event(text: str) -> Any:
    """An event as data; as text where all of it is hidden."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _cursors(config: Path | None, state: Path | None, *, readonly: bool) -> Cursors:
    from headwater.cli.options import configured
    from headwater.following import Cursors
    from headwater.runtime.places import FOLLOWING

    folder = configured(config, state).settings.state_dir / FOLLOWING
    Cursors(folder, read_only=True).close()  # a folder is not made by looking
    return Cursors(folder, read_only=readonly)
