"""Every stream that can be followed, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.core.errors import Fatal, nearest
from headwater.core.schema import CONTROL, DEAD, SYSTEM_SCHEMAS, Schema
from headwater.following.log_stream import LogStream
from headwater.following.notices import SAYS, Notices
from headwater.following.protocol import Followed
from headwater.log.protocol import EventLog

_LOGGED = {CONTROL: "marks, costs and commands", DEAD: "events that were refused"}


class UnknownStream(Fatal):
    """There is no stream of that name."""


class Streams:
    """The app's streams, the log's own and those of notices.

    Args:
        log: Where events are.
        declared: The app's streams by name.
        notices: Where notices are.
    """

    def __init__(self, log: EventLog, declared: Mapping[str, Schema], notices: Notices) -> None:
        self._log, self._notices = log, notices
        self._schemas = {**declared, **{schema.stream: schema for schema in SYSTEM_SCHEMAS}}

    def open(self, name: str) -> Followed:
        """A stream to read.

        Raises:
            UnknownStream: None has that name; the nearest are listed.
        """
        if name in self._schemas:
            return LogStream(self._log, self._schemas[name])
        if name in (known := self._notices.names()):
            return self._notices.stream(name)
        raise UnknownStream("there is no such stream", where=name, next_step=nearest(name, [*self._schemas, *known]))

    def describe(self) -> list[dict[str, Any]]:
        """Each stream's name, what it holds, and its bounds: `first` can be read, `end` is the next to come."""
        holds = {name: _LOGGED.get(name, "events") for name in self._schemas}
        holds |= {name: SAYS.get(name, "notices") for name in self._notices.names()}
        found = []
        for name, says in holds.items():
            first, end = self.open(name).bounds()
            found.append({"name": name, "holds": says, "first": first, "end": end})
        return found
