"""The door's events as Avro: a union of one record for each stream, for producers that keep Avro on their side.

The door itself takes JSON and Arrow. A record's JSON form is an event, but that an id is always a string, that the
record's name is the stream's, and that Avro cannot forbid an empty key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.ingest.json_schema import extras
from headwater.ingest.shapes import DEFAULT_SOURCE, is_required
from headwater.ingest.units import unit_of

Json = dict[str, Any]

_TYPES = {Kind.FLOAT: "double", Kind.INT: "long", Kind.BOOL: "boolean", Kind.STR: "string"}
_ENVELOPE: list[Json] = [
    {"name": "id", "type": "string", "doc": "The producer's id; with the source it is what duplicates are known by."},
    {"name": "source", "type": "string", "default": DEFAULT_SOURCE, "doc": "Who sends."},
    {
        "name": "time",
        "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
        "default": None,
        "doc": "Event time; null: the arrival.",
    },
]


def document(app: str, streams: Mapping[str, Schema]) -> list[Json]:
    """A union of records, in the namespace `headwater.<app>`."""
    return [_record(app, schema) for schema in streams.values()]


def _record(app: str, schema: Schema) -> Json:
    about = {"doc": schema.doc} if schema.doc else {}
    fields = [*_ENVELOPE, *map(_field, schema.fields)]
    return {
        "type": "record",
        "namespace": f"headwater.{app}",
        "name": schema.stream,
        **about,
        "fields": fields,
        **extras(schema),
    }


def _field(spec: FieldSpec) -> Json:
    told: Json = {"name": spec.name, "type": _TYPES[spec.kind]}
    default = None if spec.required else spec.default
    if spec.nullable:  # a default is of a union's first type
        told["type"] = ["null", told["type"]] if default is None else [told["type"], "null"]
    if not is_required(spec):
        told["default"] = float(default) if spec.kind is Kind.FLOAT and default is not None else default
    if spec.doc:
        told["doc"] = spec.doc
    if unit := unit_of(spec):
        told["x-unit"] = unit
    return told
