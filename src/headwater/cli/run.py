"""`headwater run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import ConfigFile, State

if TYPE_CHECKING:
    from headwater.app import App
    from headwater.runtime.supervisor import Supervisor

_EXAMPLES = {"float": 1.5, "int": 1, "bool": True, "str": "a"}


def run(
    app: Annotated[Path, typer.Argument(metavar="APP", help="The Python file that declares the app.")],
    config: ConfigFile = None,
    state: State = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; without it the setting server.host decides.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, 0 for a free one; else server.port decides.")
    ] = None,
) -> None:
    """Serve an app and learn from what comes in, until Ctrl-C.

    Ctrl-C or SIGTERM finishes what is in flight, learns what is in the log and saves; a second one ends at once, which
    loses nothing that was acknowledged.

    Where the app has changed since the state was saved, what is new is folded from the log first; `headwater plan` shows it.

    For example:

        headwater run app.py

        headwater run examples/flights.py --port 0 --state flights-state
    """
    import signal

    from headwater.cli.options import configured
    from headwater.cli.output import console
    from headwater.runtime.applying import Applier
    from headwater.runtime.declared import load_app
    from headwater.runtime.supervisor import Supervisor
    from headwater.runtime.warm import is_compiled, warm

    settings = configured(config, state, app, server_host=host, server_port=port).settings
    screen = console()
    supervisor = Supervisor(load_app(app), str(app.resolve()), settings, lambda role, what: screen.print(f"{role} {what}"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    applier = Applier(supervisor)
    signal.signal(signal.SIGHUP, lambda *_: applier.hear())  # `headwater apply`
    try:
        if not is_compiled():
            with screen.status("compiling the kernels: once, about half a minute"):
                warm(supervisor.app)
        supervisor.start()
        screen.print("\n".join(_greeting(supervisor)))
        supervisor.wait()
    except KeyboardInterrupt:
        screen.print("stopping: requests in flight are finished, the log is learnt, the state is saved")
    finally:
        _stop(supervisor, screen)


def _stop(supervisor: Supervisor, screen: Any) -> None:
    try:
        supervisor.stop()
    except KeyboardInterrupt:
        supervisor.kill()
        screen.print("killed; what was acknowledged is in the log, and the next start learns it")
        raise typer.Exit(130) from None
    if supervisor.is_started:
        screen.print(f"saved at seq {supervisor.saved_seq()}")


def _greeting(supervisor: Supervisor) -> list[str]:
    app, url = supervisor.app, supervisor.url
    pids = ", ".join(f"{child.role} (process {child.pid})" for child in supervisor.children.values())
    model = next(iter(app.models))
    return [
        f"{app.name} answers at {url}: {pids}",
        f"state: {supervisor.settings.state_dir}",
        "",
        "Send events, ask, and look, from another terminal:",
        *(f"  {line}" for line in _lines(app, url, model)),
        "",
        "Ctrl-C stops it.",
    ]


def _lines(app: App, url: str, model: str) -> list[str]:
    import json

    schema = app.models[model].schema
    row = {f.name: _EXAMPLES[f.kind.value] for f in schema.fields}
    event = json.dumps({"id": "1", **row})
    content = "-H 'content-type: application/json'"
    return [
        f"curl -s {url}/events/{schema.stream} {content} -d '{event}'",
        f"curl -s {url}/predict/{model} {content} -d '{json.dumps(row)}'",
        f"headwater send events.jsonl --url {url}",
        f"headwater status --url {url}",
    ]
