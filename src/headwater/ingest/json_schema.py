"""The door's events as JSON Schema (2020-12): what it stores is valid, what it quarantines for its form is not.

Three things a schema cannot say: a float that is whole counts as an integer, an unpaired surrogate is a character, and
how far ahead of the clock is too far (`x-max-ahead-ms`). Members that a stream does not know are allowed and ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.ingest.columns import EARLIEST_MS, INT64, LATEST_MS
from headwater.ingest.shapes import DEFAULT_SOURCE, is_required
from headwater.ingest.units import unit_of

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FINITE = sys.float_info.max
_TYPES: dict[Kind, Json] = {
    Kind.FLOAT: {"type": "number", "minimum": -_FINITE, "maximum": _FINITE},
    Kind.INT: {"type": "integer", "minimum": INT64.start, "maximum": INT64.stop - 1},
    Kind.BOOL: {"type": "boolean"},
    Kind.STR: {"type": "string"},
}
_MOMENT = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)$"
_TIME: Json = {
    "description": "Event time: ISO 8601 with an offset, or milliseconds since 1970 UTC; absent or null: the arrival.",
    "anyOf": [
        {"type": "string", "format": "date-time", "pattern": _MOMENT},
        {"type": "integer", "minimum": EARLIEST_MS, "maximum": LATEST_MS, "x-unit": "ms"},
        {"type": "null"},
    ],
}
_ID: Json = {
    "description": "The producer's id; with the source it is what duplicates are known by.",
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}],
}
_SOURCE: Json = {"description": "Who sends.", "type": "string", "minLength": 1, "default": DEFAULT_SOURCE}


def document(app: str, streams: Mapping[str, Schema]) -> Json:
    """One schema for each stream under `$defs`, and at the top what `POST /events` takes: an event that names its stream."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:headwater:{app}:streams",
        "title": f"Events of {app}",
        "$defs": {name: event(schema) for name, schema in streams.items()},
        "oneOf": [{"$ref": f"#/$defs/{name}", "required": ["stream"]} for name in streams],
    }


def event(schema: Schema) -> Json:
    """One stream's events, as `POST /events/{stream}` takes them: the envelope beside the fields."""
    envelope = {"id": _ID, "source": _SOURCE, "time": _TIME, "stream": {"const": schema.stream}}
    about = {"description": schema.doc} if schema.doc else {}
    return {
        "title": schema.stream, **about, "type": "object",
        "properties": {**envelope, **{spec.name: _property(spec, schema) for spec in schema.fields}},
        "required": ["id", *(spec.name for spec in schema.fields if is_required(spec))],
        **extras(schema),
    }  # fmt: skip


def extras(schema: Schema) -> Json:
    """What describes a stream and has no word in any of these formats."""
    return {
        "x-key": schema.key, "x-lateness-ms": schema.lateness_ms, "x-max-ahead-ms": schema.max_ahead_ms,
        "x-major": schema.major, "x-fingerprint": schema.fingerprint(),
    }  # fmt: skip


def _property(spec: FieldSpec, schema: Schema) -> Json:
    told = dict(_TYPES[spec.kind])
    if spec.name == schema.key and spec.kind is Kind.STR:
        told["minLength"] = 1
    if spec.nullable:
        told["type"] = [told["type"], "null"]
    if not is_required(spec):
        told["default"] = None if spec.required else spec.default
    if spec.doc:
        told["description"] = spec.doc
    if unit := unit_of(spec):
        told["x-unit"] = unit
    return told
