"""`headwater late list`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest ones, the oldest of them first.")] = 50,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List the late events: they are in the log, but came too late to be learnt.

    How late is told by the newest event of the stream that came before. A stream waits for late events as long as its
    `lateness` says.

    For example:

        headwater late list

        headwater late list --limit 10 --state .headwater --json
    """
    from headwater.cli.options import configured, open_events
    from headwater.cli.output import console, print_json, table, utc
    from headwater.runtime.checkpointing import late_rows
    from headwater.runtime.late import late_events
    from headwater.runtime.places import STATE
    from headwater.store.checkpoint import Checkpoints

    with closing(Checkpoints(configured(config, state).settings.state_dir / STATE, readonly=True)) as store:
        seqs = late_rows(store)
    with closing(open_events(config, state, readonly=True)) as log:
        found = list(late_events(log, seqs[-limit:]))
    if as_json:
        print_json([asdict(event) for event in found])
        return
    if len(seqs) > len(found):
        console().print(f"{len(found):,} of {len(seqs):,} late events:")
    table(
        ("seq", "stream", "source", "id", "event time", "behind"),
        [(e.seq, e.stream, e.source, e.id, utc(e.time_ms), timedelta(milliseconds=e.behind_ms)) for e in found],
        right=("seq", "behind"),
    )
