"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headwater.ingest.client import Client
    from headwater.log import EventLog
    from headwater.registry import Catalog
    from headwater.runtime.config import Config

State = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="State directory; without it the setting state_dir decides.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; without it ./headwater.toml, if there is one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table for a person.")]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where a gateway answers; without it, the one that runs on the state directory."),
]


def configured(config: Path | None, state: Path | None, app: Path | None = None, **given: object) -> Config:
    """The settings that a command runs under; `app` is the user's file, where there is one.

    `given` are further settings from the command line, with `_` for the dot: server_port.
    """
    from headwater.runtime.config import find, load

    return load(find(app, config), {"state_dir": state, **{name.replace("_", ".", 1): value for name, value in given.items()}})


def gateway_url(config: Path | None, state: Path | None, url: str | None) -> str:
    """The gateway to talk to."""
    from headwater.runtime.runfile import address

    return url or address(configured(config, state).settings.state_dir)


@contextmanager
def open_catalog(config: Path | None, state: Path | None) -> Iterator[Catalog]:
    """The versions of a state directory, for reading. What is refused there for want of trust is noted as an incident."""
    from headwater.core.errors import Untrusted
    from headwater.registry import Catalog
    from headwater.runtime.places import FOLLOWING
    from headwater.runtime.trust import note_refused

    settings = configured(config, state).settings
    try:
        with Catalog(settings.registry_dir, read_only=True) as catalog:
            yield catalog
    except Untrusted as error:
        note_refused(settings.state_dir / FOLLOWING, error)
        raise


def open_events(config: Path | None, state: Path | None, app: Path | None = None, *, readonly: bool) -> EventLog:
    """The log of a state directory; close it."""
    from headwater.log import open_log

    settings = configured(config, state, app).settings
    return open_log(settings.log_url, dedupe_for_ms=settings.log.dedupe_for_ms, readonly=readonly)


def connected(
    config: Path | None, state: Path | None, url: str | None, *, timeout_s: float = 30.0, patience_s: float = 120.0
) -> Client:
    """A client for the gateway, with the key in HEADWATER_KEY or, on its own machine, the token of its settings."""
    from headwater.ingest.client import Client
    from headwater.runtime.config import key_to_show

    settings = None if url else configured(config, state).settings
    return Client(gateway_url(config, state, url), token=key_to_show(settings), timeout_s=timeout_s, patience_s=patience_s)
