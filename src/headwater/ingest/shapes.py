"""A schema as msgspec structs: the typed decoders of the good path.

A row's struct holds the envelope (`id`, `source`, `time`) beside the schema's fields; the member `stream` is its tag, so
that lines of several streams decode in one call, and an event posted to another stream's address is noticed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Union

import msgspec

from headwater.core.errors import DeclarationError
from headwater.core.schema import FieldSpec, Kind, Schema

ENVELOPE = ("id", "source", "time", "stream")
DEFAULT_SOURCE = "default"

TYPES: dict[Kind, type[Any]] = {Kind.FLOAT: float, Kind.INT: int, Kind.BOOL: bool, Kind.STR: str}
Time = Annotated[dt.datetime, msgspec.Meta(tz=True)] | int | None
# An absent id decodes to "", which is refused with the empty ones when the columns are checked.
_MEMBERS: list[Any] = [("id", str | int, ""), ("source", str, DEFAULT_SOURCE), ("time", Time, None)]

Row = Any  # a struct made here: attributes id, source, time and the schema's fields


def is_required(spec: FieldSpec) -> bool:
    """Whether an event must have the field: absence means null where null may be, else the default where there is one."""
    return not spec.nullable and (spec.required or spec.default is None)


def _member(spec: FieldSpec) -> Any:
    kind: Any = TYPES[spec.kind]
    kind = kind | None if spec.nullable else kind
    if is_required(spec):
        return (spec.name, kind)
    return (spec.name, kind, None if spec.required else spec.default)


def _struct(schema: Schema, *, strict: bool) -> type[msgspec.Struct]:
    members = [*_MEMBERS, *(_member(f) for f in schema.fields)]
    return msgspec.defstruct(
        "Row", members, kw_only=True, gc=False, tag_field="stream", tag=schema.stream, forbid_unknown_fields=strict
    )


class Shape:
    """One stream's decoders and the order of its columns.

    Attributes:
        schema: What it was made from.
        strict: Decodes an event; a member that the schema does not know is an error.
        lenient: Decodes an event; such a member is ignored.
        members: All names that an event may have.
    """

    def __init__(self, schema: Schema) -> None:
        clash = [f.name for f in schema.fields if f.name in ENVELOPE]
        if clash:
            raise DeclarationError(
                f"a field cannot be called {clash[0]}",
                where=schema.stream,
                expected=f"a name other than {', '.join(ENVELOPE)}",
                next_step="Those name the event itself; rename the field.",
            )
        self.schema = schema
        self.types = {strict: _struct(schema, strict=strict) for strict in (True, False)}
        self.strict = msgspec.json.Decoder(self.types[True])
        self.lenient = msgspec.json.Decoder(self.types[False])
        self.members = frozenset(ENVELOPE) | {f.name for f in schema.fields}


class Shapes:
    """All streams that the door knows, and the decoders for events that name their stream."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self.by_stream = {name: Shape(schema) for name, schema in schemas.items()}
        self.stream_of = {kind: name for name, shape in self.by_stream.items() for kind in shape.types.values()}
        self._mixed = {strict: _union([s.types[strict] for s in self.by_stream.values()]) for strict in (True, False)}
        self._lists: dict[tuple[str | None, bool], msgspec.json.Decoder[Any]] = {}

    def decoder(self, stream: str | None, *, strict: bool) -> msgspec.json.Decoder[Any]:
        """Decodes one event, of the given stream or of the one that it names."""
        if stream is None:
            return self._mixed[strict]
        shape = self.by_stream[stream]
        return shape.strict if strict else shape.lenient

    def list_decoder(self, stream: str | None, *, strict: bool) -> msgspec.json.Decoder[Any]:
        """Decodes a JSON array of events."""
        key = (stream, strict)
        if key not in self._lists:
            self._lists[key] = msgspec.json.Decoder(list[self.decoder(stream, strict=strict).type])  # type: ignore[misc]
        return self._lists[key]


def _union(kinds: list[type[msgspec.Struct]]) -> msgspec.json.Decoder[Any]:
    # Without any stream nothing decodes; `NoReturn` has no decoder, an unmatchable literal has.
    return msgspec.json.Decoder(Union[tuple(kinds)] if kinds else type(None))  # noqa: UP007 - built at run time
