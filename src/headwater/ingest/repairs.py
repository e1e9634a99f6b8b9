"""Repairs of dead letters as plain values: what an operator may write without programming.

set carrier=UA        give a member this value: JSON if it reads as JSON, else a text
drop arr_delay        take a member out
rename delay=arr_delay    the old name, then the new one
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from headwater.core.errors import ConfigError

_FORM = "`set name=value`, `drop name` or `rename old=new`"


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to an event's members. Make it with `set_field`, `drop_field`, `rename_field` or `parse_edit`."""

    verb: Literal["set", "drop", "rename"]
    name: str
    value: Any = None  # set: the value; rename: the new name

    def apply(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event after the change; dropping or renaming what is not there changes nothing."""
        if self.verb == "set":
            return {**event, self.name: self.value}
        rest = {k: v for k, v in event.items() if k != self.name}
        if self.verb == "rename" and self.name in event:
            rest[self.value] = event[self.name]
        return rest

    def touches(self, name: str) -> bool:
        return name == self.name or (self.verb == "rename" and name == self.value)

    def __str__(self) -> str:
        if self.verb == "drop":
            return f"drop {self.name}"
        return f"{self.verb} {self.name}={json.dumps(self.value) if self.verb == 'set' else self.value}"


def set_field(name: str, value: Any) -> Edit:
    return Edit("set", name, value)


def drop_field(name: str) -> Edit:
    return Edit("drop", name)


def rename_field(old: str, new: str) -> Edit:
    return Edit("rename", old, new)


def parse_edit(text: str) -> Edit:
    """An edit from its written form.

    >>> parse_edit("set distance=12.5"), str(parse_edit("rename delay=arr_delay"))
    (Edit(verb='set', name='distance', value=12.5), 'rename delay=arr_delay')

    Raises:
        ConfigError: It is not one.
    """
    verb, _, rest = text.strip().partition(" ")
    name, equals, value = (part.strip() for part in rest.partition("="))
    if name and verb == "drop" and not equals:
        return drop_field(name)
    if name and verb == "set" and equals:
        return set_field(name, _value(value))
    if name and verb == "rename" and value:
        return rename_field(name, value)
    raise ConfigError("not a repair", where="repair", expected=_FORM, got=text[:100])


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
