"""`headwater resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State


def resume(
    model: Annotated[str, typer.Argument(help="The model that was stopped.")],
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Have a model go on that was stopped because it failed: from here, with the state that it had. May be done while it runs.

    `headwater status` shows which models are stopped, `headwater tail _incidents` why. What it dropped is not learnt.

    For example:

        headwater resume late

        headwater resume late --state .headwater --json
    """
    from contextlib import closing
    from uuid import uuid4

    from headwater.cli.options import configured, open_events
    from headwater.cli.output import console, print_json
    from headwater.core.clock import SystemClock
    from headwater.core.errors import Fatal, nearest
    from headwater.log.control import control_batch
    from headwater.log.wake import ring
    from headwater.runtime.changes import remembered
    from headwater.runtime.places import BELLS, STATE
    from headwater.runtime.stopping import RESUMED

    folder = configured(config, state).settings.state_dir
    declared = (remembered(folder / STATE) or {"models": {}})["models"]
    if model not in declared:
        raise Fatal("the app has no such model", where=model, next_step=nearest(model, declared))
    clock = SystemClock()
    mark = control_batch(
        RESUMED, {"model": model}, time_ms=clock.now_us() // 1000, id=f"{RESUMED}@{model}@{uuid4().hex}", clock=clock
    )  # fmt: skip
    with closing(open_events(config, state, readonly=False)) as log:
        seq = int(log.append(mark).seq[0])
    ring(folder / BELLS)
    if as_json:
        print_json({"model": model, "seq": seq})
    else:
        console().print(f"{model} goes on from seq {seq}.")
