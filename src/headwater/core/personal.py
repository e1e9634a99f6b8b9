"""Fields about a person: their values go where data goes, and nowhere else.

Learners, followers and answers have the values. Logs, errors, metrics, status and listings have not: whoever reads those came
for the system, not for the people in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from headwater.core.schema import Schema

HIDDEN = "***"
_SHOWN = frozenset({"id", "source", "time", "stream", "specversion", "type", "datacontenttype"})  # the envelope's members
_DEPTH = 32


def pseudonym(value: object) -> str:
    """A name for a value that is not the value. Who knows the possible values can find it: this is no anonymity."""
    return hashlib.sha256(str(value).encode(errors="surrogatepass")).hexdigest()[:32]


def has_personal(streams: Mapping[str, Schema]) -> bool:
    """Whether any stream has a field about a person."""
    return any(schema.is_personal for schema in streams.values())


class Mask:
    """Hides values in the texts of events, for listings.

    Shown are the envelope and the fields that are declared and not personal. A member that nobody declared is hidden, since
    a misspelt name may hold anything; so is a text that cannot be read.

    Args:
        streams: Stream -> field -> whether it is personal. None: nobody knows the declaration, everything may be personal.
    """

    def __init__(self, streams: Mapping[str, Mapping[str, bool]] | None) -> None:
        self._streams = streams

    @classmethod
    def of(cls, schemas: Mapping[str, Schema]) -> Mask:
        """For declared streams."""
        return cls({name: {field.name: field.personal for field in schema.fields} for name, schema in schemas.items()})

    @property
    def is_needed(self) -> bool:
        """Whether anything has to be hidden."""
        return self._streams is None or any(any(fields.values()) for fields in self._streams.values())

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

    def _shown(self, stream: str) -> frozenset[str]:
        assert self._streams is not None
        name = stream.partition(".v")[0] if stream not in self._streams else stream
        fields = self._streams.get(name)
        if fields is not None:
            return _SHOWN | {field for field, personal in fields.items() if not personal}
        everywhere = [fields for fields in self._streams.values() if any(fields.values())]
        personal = {field for fields in everywhere for field, is_personal in fields.items() if is_personal}
        return _SHOWN | ({field for fields in self._streams.values() for field in fields} - personal)


def _masked(value: Any, shown: frozenset[str], depth: int, name: str | None = None) -> Any:
    if depth and isinstance(value, dict):
        return {key: _masked(inner, shown, depth - 1, key) for key, inner in value.items()}
    if depth and isinstance(value, list):
        return [_masked(inner, shown, depth - 1, name) for inner in value]
    return value if name in shown else HIDDEN
