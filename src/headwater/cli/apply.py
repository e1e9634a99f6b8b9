"""`headwater apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import ConfigFile, State


def apply(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The changed Python file.")],
    config: ConfigFile = None,
    state: State = None,
) -> None:
    """Have a changed app take over from the one that runs, without a request lost.

    What is new is folded from the log beside the running app, which goes on serving; what is unchanged keeps its state. When
    nothing waits any more, the changed app takes over. Ctrl-C here only stops looking on. `headwater plan` shows before what
    will be kept, backfilled and dropped; state and view of the app before stay in the folder `previous`.

    For example:

        headwater plan app.py

        headwater apply app.py
    """
    from headwater.cli.options import configured
    from headwater.cli.output import console
    from headwater.core.errors import Fatal
    from headwater.runtime.applying import ask, follow
    from headwater.runtime.declared import load_app

    load_app(app)  # what cannot be declared is said here
    folder, screen = configured(config, state, app).settings.state_dir, console()
    request = ask(folder, app)
    try:
        for said in follow(folder, request):
            if said.error:
                raise Fatal(said.error, where=str(app), next_step="The app before goes on as it was.")
            screen.print(said.what)
    except KeyboardInterrupt:
        screen.print("it goes on without this command; `headwater status` shows who answers")
