"""Dead letters: events that were refused, as rows of the `_dead` stream of the same log.

A letter's id is a hash of its source and text, so that a resent bad event is stored once.
"""

from __future__ import annotations

import hashlib

import msgspec

from headwater.ingest.shapes import DEFAULT_SOURCE

NAME_LIMIT = 200  # characters kept of a name that a producer made up


class Bad(Exception):  # noqa: N818 - a finding about one event, always turned into a letter
    """One event cannot be stored as what it claims to be.

    Args:
        code: A stable word for programs.
        reason: What was expected and what came; names and types only, never a value (it may be personal).
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Letter(msgspec.Struct, gc=False):
    """A row of `_dead`. Its event time is its arrival: the event's own time may be what is wrong with it."""

    id: str
    source: str
    code: str
    reason: str
    stream: str
    raw: str
    truncated: bool
    time: int | None = None


def printable(name: str, limit: int = NAME_LIMIT) -> str:
    """A name from outside as text that any UTF-8 column can hold."""
    return name.encode(errors="backslashreplace").decode()[:limit]


def letter(bad: Bad, raw: bytes, *, source: str | None, stream: str | None, max_bytes: int) -> Letter:
    """The dead letter for one event's original text; each byte that is not UTF-8 is written with a backslash."""
    source = printable(source) if source else DEFAULT_SOURCE
    name = hashlib.sha256(source.encode() + b"\0" + raw).hexdigest()[:32]
    text = raw[:max_bytes].decode(errors="backslashreplace")
    return Letter(
        f"dead-{name}", source, bad.code, printable(bad.reason, 1000), printable(stream or ""), text, len(raw) > max_bytes
    )
