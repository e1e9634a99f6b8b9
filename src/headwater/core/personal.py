"""Fields about a person: their values go where data goes, and nowhere else.

Learners, followers and answers have the values. Logs, errors, metrics, status and listings have not: whoever reads those came
for the system, not for the people in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from headwater.core.schema import Kind, Schema

HIDDEN = "***"
_TEXTS = frozenset({"id", "source", "stream", "specversion", "type", "datacontenttype"})  # the envelope's members
_TIME = re.compile(r"[0-9T:.Z +-]{1,40}")
_PYTHON: dict[Kind, tuple[type, ...]] = {Kind.FLOAT: (float, int), Kind.INT: (int,), Kind.BOOL: (bool,), Kind.STR: (str,)}
_DEPTH = 32


def pseudonym(value: object) -> str:
    """A name for a value that is not the value. Who knows the possible values can find it: this is no anonymity."""
    return hashlib.sha256(str(value).encode(errors="surrogatepass")).hexdigest()[:32]


def has_personal(streams: Mapping[str, Schema]) -> bool:
    """Whether any stream has a field about a person."""
    return any(schema.is_personal for schema in streams.values())


class Mask:
    """Hides values in the texts of events, for listings.

    Shown are the envelope and the fields that are declared, are not personal and have a value of their own kind. A member
    that nobody declared is hidden, since a misspelt name may hold anything; so is a text where a number belongs, and all of
    an event that cannot be read.

    Args:
        streams: Stream -> field -> its kind, or None where it is personal. None: nobody knows the declaration, everything may
            be personal.
    """

    def __init__(self, streams: Mapping[str, Mapping[str, Kind | None]] | None) -> None:
        self._streams = streams

    @classmethod
    def of(cls, schemas: Mapping[str, Schema]) -> Mask:
        """For declared streams."""
        return cls({name: {f.name: None if f.personal else f.kind for f in s.fields} for name, s in schemas.items()})

    @property
    def is_needed(self) -> bool:
        """Whether anything has to be hidden."""
        return self._streams is None or any(None in fields.values() for fields in self._streams.values())

    def text(self, raw: str, stream: str) -> str:
        """An event's text with what may be personal hidden."""
        if not self.is_needed:
            return raw
        hidden = f"{HIDDEN} ({len(raw.encode(errors='backslashreplace'))} bytes that may be personal)"
        if self._streams is None:
            return hidden
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            return hidden
        return (
            json.dumps(_masked(event, self._shown(stream), _DEPTH), ensure_ascii=False) if isinstance(event, dict) else hidden
        )

    def _shown(self, stream: str) -> dict[str, Kind]:
        """The fields that may be shown of a stream's events; where it is unknown, what no stream calls personal."""
        assert self._streams is not None
        name = stream if stream in self._streams else stream.partition(".v")[0]
        streams = [self._streams[name]] if name in self._streams else list(self._streams.values())
        personal = {field for fields in streams for field, kind in fields.items() if kind is None}
        return {f: kind for fields in streams for f, kind in fields.items() if kind is not None and f not in personal}


def _masked(value: Any, shown: Mapping[str, Kind], depth: int, name: str = "") -> Any:
    if depth and isinstance(value, dict):
        return {key: _masked(inner, shown, depth - 1, key) for key, inner in value.items()}
    if depth and isinstance(value, list):
        return [_masked(inner, shown, depth - 1, name) for inner in value]
    if name in _TEXTS or (name == "time" and _TIME.fullmatch(str(value))):
        return value
    kinds = _PYTHON[shown[name]] if name in shown else ()
    return value if value is None or type(value) in kinds else HIDDEN
