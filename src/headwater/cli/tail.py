"""`headwater tail`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import ConfigFile, State, Url

if TYPE_CHECKING:
    from headwater.ingest.client import Client

_WAIT_S = 20.0


def tail(
    stream: Annotated[str, typer.Argument(help="A stream of the app, or a system stream such as _versions.")],
    start: Annotated[
        str, typer.Option("--from", metavar="SEQ", help="Where to begin: a seq, or the start or end of the stream.")
    ] = "end",
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for what comes, or stop where the stream ends now.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON, a CloudEvent.")] = False,
    config: ConfigFile = None,
    state: State = None,
    url: Url = None,
) -> None:
    """Print the events of a stream as they come, until Ctrl-C or SIGTERM, and say where to go on.

    For example:

        headwater tail order

        headwater tail _versions --from start --no-follow --json
    """
    import signal

    from headwater.cli.options import connected

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with closing(connected(config, state, url, timeout_s=3 * _WAIT_S)) as client:
        place = start
        try:
            for page in _pages(client, stream, start, follow=follow):
                place = str(page["next"])
                for event in page["events"]:
                    print(_json(event) if as_json else _line(event))
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:  # `headwater tail | head`
            sys.stdout = None  # nothing is left to be flushed into it
            return
    print(f"go on with: headwater tail {stream} --from {place}", file=sys.stderr)


def _pages(client: Client, stream: str, start: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    """Answers one after another, until the end as it was at first, or for ever."""
    end: int | None = None
    while True:
        page = client.follow(stream, start, wait_s=_WAIT_S if follow else 0.0)
        end = page["end"] if end is None else end
        start = str(page["next"])
        yield page
        if not follow and page["next"] >= end:
            return


def _json(event: dict[str, Any]) -> str:
    import msgspec

    return msgspec.json.encode(event).decode()


def _line(event: dict[str, Any]) -> str:
    """An event for a person.

    >>> _line({"seq": 7, "time": "2025-01-06T10:00:00.000Z", "source": "till", "id": "o-1", "data": {"shop": "north"}})
    '7  2025-01-06T10:00:00.000Z  till/o-1  shop=north'
    """
    from headwater.cli.output import plain

    fields = "  ".join(f"{name}={_short(value)}" for name, value in event["data"].items())
    return plain(f"{event['seq']}  {event['time']}  {event['source']}/{event['id']}  {fields}").replace("\n", "\\n")


def _short(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)
