"""`headwater keys add`, `keys list` and `keys revoke`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import ConfigFile, Json, State

if TYPE_CHECKING:
    from headwater.serving.keys import KeyFile


def add(
    name: Annotated[str, typer.Argument(help="Whose key it is, such as shop-till: a-z, 0-9, then also . _ -")],
    scope: Annotated[
        str, typer.Option("--scope", metavar="SCOPES", help="What it opens: ingest, predict, operate, admin; commas between.")
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="End by itself after so long, such as 90d or 12h.")
    ] = None,
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Make a key for a gateway and show it: this once, since only its hash is kept.

    Callers send it as `Authorization: Bearer KEY`; commands take it from HEADWATER_KEY. A running gateway knows it within a
    second.

    For example:

        headwater keys add shop-till --scope ingest

        headwater keys add web --scope ingest,predict --state .headwater --json

        headwater keys add auditor --scope operate --expires 12h
    """
    from headwater.cli.output import console, print_json
    from headwater.core.duration import parse_ms
    from headwater.serving.scopes import parse

    lasts_ms = None if expires is None else parse_ms(expires, where="--expires")
    key, text = _file(config, state).add(name, parse(scope, where="--scope"), lasts_ms=lasts_ms)
    if as_json:
        facts = {"id": key.id, "name": key.name, "scopes": key.scopes, "created": key.created, "expires": key.expires}
        print_json({**facts, "key": text})
        return
    screen = console()
    until = "" if key.expires is None else f" until {key.expires}"
    screen.print(f"{key.name} may {', '.join(key.scopes)}{until}. Its key, which is shown only now:")
    print(text)


def list_(config: ConfigFile = None, state: State = None, as_json: Json = False) -> None:
    """List the keys of a state directory: whose they are, what they open, whether they hold.

    For example:

        headwater keys list

        headwater keys list --state .headwater --json
    """
    from headwater.cli.output import print_json, table

    found = _file(config, state).read()
    if as_json:
        print_json([{name: value for name, value in asdict(key).items() if name != "sha256"} for key in found])
        return
    rows = [(key.name, key.id, ", ".join(key.scopes), key.created, key.expires, key.revoked) for key in found]
    table(("name", "id", "scopes", "created", "expires", "revoked"), rows)


def revoke(
    name: Annotated[str, typer.Argument(help="Whose key shall no longer hold.")],
    config: ConfigFile = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """End a key: a running gateway refuses it within a second.

    For example:

        headwater keys revoke shop-till

        headwater keys revoke web --state .headwater --json
    """
    from headwater.cli.output import console, print_json

    key = _file(config, state).revoke(name)
    if as_json:
        print_json({"id": key.id, "name": key.name, "revoked": key.revoked})
    else:
        console().print(f"the key of {key.name} ({key.id}) no longer holds")


def _file(config: Path | None, state: Path | None) -> KeyFile:
    from headwater.cli.options import configured
    from headwater.serving.keys import KeyFile

    return KeyFile(configured(config, state).settings.state_dir)
