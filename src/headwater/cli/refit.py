"""`headwater refit`."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, State


def refit(
    model: Annotated[str, typer.Argument(help="A model with learner=hw.Fast(slow=...).")],
    config: ConfigFile = None,
    state: State = None,
) -> None:
    """Ask for a refit of a model's slow part now. It begins if the budget can pay it and its window can be learnt from.

    The wish is written to the log; the running learner plans it, and `headwater ledger --plans` says what came of it.
    For example:

        headwater refit late

        headwater refit late --state .headwater
    """
    import uuid

    from headwater.cli.options import configured, open_events
    from headwater.cli.output import console
    from headwater.core.clock import SystemClock
    from headwater.core.errors import Fatal, nearest
    from headwater.log.wake import ring
    from headwater.runtime.changes import remembered
    from headwater.runtime.marks import ask_refit
    from headwater.runtime.places import BELLS, STATE

    folder = configured(config, state).settings.state_dir
    declared = (remembered(folder / STATE) or {"models": {}})["models"]
    slow = [name for name, described in declared.items() if described["learner"].get("slow")]
    if model not in slow:
        raise Fatal("no such model with a slow part", where=str(folder), got=model, next_step=nearest(model, slow))
    clock = SystemClock()
    with closing(open_events(config, state, readonly=False)) as log:
        log.append(ask_refit(model, clock.now_us() // 1000, uuid.uuid4().hex, clock))
    ring(folder / BELLS)
    console().print(f"Asked for a refit of {model}; `headwater ledger --plans` says what comes of it.")
