"""The data plane's API as an OpenAPI 3.1 document, made from the schemas of streams and models.

Each model and each stream has its own path with its own typed body, so that a generated client knows their fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.serving.routes import Route
from headwater.serving.scopes import ADMIN, OPEN

Json = dict[str, Any]

_TYPES: dict[Kind, Json] = {
    Kind.FLOAT: {"type": "number"},
    Kind.INT: {"type": "integer", "format": "int64"},
    Kind.BOOL: {"type": "boolean"},
    Kind.STR: {"type": "string"},
}
_TIME = {
    "description": "Event time: ISO 8601 with an offset, or milliseconds since 1970 UTC.",
    "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "format": "int64"}],
}
_ID = {
    "description": "The producer's id; with the source it is what duplicates are known by.",
    "type": "string",
    "minLength": 1,
}
_CLASSES: Json = {
    "label": {"type": ["string", "null"], "description": "Of several classes: the likeliest; null while none is known."},
    "probabilities": {
        "type": "object",
        "additionalProperties": {"type": "number"},
        "description": "Of several classes: the probability of each; what lacks to 1 is that of a class never met.",
    },
}
_ARROW = "application/vnd.apache.arrow.stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_KEY = {"type": "http", "scheme": "bearer", "description": "A key of `headwater keys add`, or the token of server.token_file."}


def document(models: Mapping[str, Schema], streams: Mapping[str, Schema], routes: Iterable[Route]) -> Json:
    """The whole document; valid OpenAPI 3.1. What there is, is what the table of routes has."""
    schemas: Json = {"Problem": _problem(), "Event": {"type": "object", "required": ["stream", "id"]}, "Infer": _infer()}
    schemas |= {f"event.{name}": _event(schema) for name, schema in streams.items()}
    for name, schema in models.items():
        schemas |= {f"row.{name}": _row(schema), f"answer.{name}": _answer(schema)}
    paths: Json = {}
    for route in routes:
        for path, operation in _operations(route, models, streams).items():
            item = paths.setdefault(path, _item(path))
            item[route.method.lower()] = {**operation, "security": _security(route)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headwater data plane", "version": version("headwater")},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": _KEY}},
    }


def _operations(route: Route, models: Mapping[str, Schema], streams: Mapping[str, Schema]) -> Json:
    """Path -> operation: one for each stream or model where their bodies differ."""
    if route.pattern == "/events":
        return {route.pattern: _events("any stream", "Event")}
    if route.pattern == "/events/{stream}":
        return {f"/events/{name}": _events(f"the stream {name}", f"event.{name}") for name in streams}
    if route.pattern == "/predict/{model}":
        return {f"/predict/{name}": _predict(name) for name in models}
    operation: Json = {"summary": route.says, "responses": _says(route.says)}
    if route.pattern.startswith("/streams/"):
        operation |= _follow(route.says)
    if route.pattern.endswith("/infer"):
        kinds = {"application/json": _ref("Infer"), "application/octet-stream": _BINARY}
        operation["requestBody"] = {"required": True, "content": kinds}
    return {route.pattern: operation}


def _item(path: str) -> Json:
    """A path's item, with the parameters in its pattern."""
    names = re.findall(r"\{(\w+)\}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {"parameters": parameters} if parameters else {}


def _security(route: Route) -> list[Json]:
    """Which keys open a route; none is asked for where callers without one may come, as on a loopback address by default."""
    if route.scopes is OPEN:
        return []
    return [{}, *({"key": [scope]} for scope in sorted(route.scopes | {ADMIN}))]


def _type(spec: FieldSpec) -> Json:
    kind = dict(_TYPES[spec.kind])
    if spec.nullable:
        kind["type"] = [kind["type"], "null"]
    if not spec.required:
        kind["default"] = spec.default
    return kind


def _fields(schema: Schema) -> Json:
    return {f.name: _type(f) for f in schema.fields}


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _event(schema: Schema) -> Json:
    """An event as the door takes it: the envelope beside the fields."""
    envelope = {"id": _ID, "source": {"type": "string"}, "time": _TIME, "stream": {"const": schema.stream}}
    return _object({**envelope, **_fields(schema)}, ["id", *(f.name for f in schema.fields if f.required and not f.nullable)])


def _row(schema: Schema) -> Json:
    return _object({"id": _ID, "time": _TIME, **_fields(schema)}, [schema.key])


def _answer(schema: Schema) -> Json:
    """What `/predict/{model}` says; `recorded` is there only where a row was wanted as an event and cannot be one."""
    shares = {"type": "object", "additionalProperties": {"type": "number"}}
    row = {
        schema.key: _type(schema.field(schema.key)),
        "score": {"type": "number"},
        "stored": {"type": "boolean", "description": "The row was in the log; its stored vector was scored."},
        **{name: kind for name, kind in _CLASSES.items() if name != schema.key},
        "shares": {**shares, "description": "Each feature's share; with `intercept` they add up to the linear predictor."},
        "guarded": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "For each feature that the model's guard did not accept: what was wrong, and what was done.",
        },
        "recorded": {"const": False},
        "why": {"type": "string", "description": "Why the row will not become an event."},
    }
    predictions = {"type": "array", "items": _object(row, [schema.key, "score", "stored"])}
    return _object(
        {"model": {"type": "string"}, "version": {"type": "string"}, "predictions": predictions},
        ["model", "version", "predictions"],
    )


def _problem() -> Json:
    text = {"type": "string"}
    names = ("type", "title", "detail", "where", "expected", "got", "next", "instance", "error")
    return {
        "type": "object",
        "properties": {**dict.fromkeys(names, text), "status": {"type": "integer"}},
        "required": ["type", "title", "status"],
    }


def _infer() -> Json:
    """A request of the Open Inference Protocol, as far as it is used here."""
    tensor = {
        "name": {"type": "string"}, "shape": {"type": "array", "items": {"type": "integer"}}, "datatype": {"type": "string"},
        "data": {"type": "array"}, "parameters": {"type": "object"},
    }  # fmt: skip
    inputs = {"type": "array", "items": {"type": "object", "properties": tensor, "required": ["name", "shape", "datatype"]}}
    return {"type": "object", "properties": {"id": {"type": "string"}, "inputs": inputs}, "required": ["inputs"]}


def _ref(name: str) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _says(description: str, content: Json | None = None) -> Json:
    """Responses: one when it goes well, a problem otherwise."""
    problem = {
        "description": "What was wrong, where, and what to do (RFC 9457).",
        "content": {"application/problem+json": _ref("Problem")},
    }
    return {"200": {"description": description, "content": content or {"application/json": {"schema": {}}}}, "default": problem}


def _events(what: str, component: str) -> Json:
    one = _ref(component)["schema"]
    many = {"schema": {"oneOf": [one, {"type": "array", "items": one}]}}
    body = {"required": True, "content": {"application/json": many, _ARROW: _BINARY}}
    return {
        "summary": f"Append events of {what}",
        "requestBody": body,
        "responses": _says("The verdict on each event; they are on disk."),
    }


def _predict(model: str) -> Json:
    row = _ref(f"row.{model}")["schema"]
    rows = {"type": "object", "properties": {"rows": {"type": "array", "items": row}, "time": _TIME}, "required": ["rows"]}
    body = {"schema": {"oneOf": [row, rows, {"type": "array", "items": row}]}}
    switches = [
        _switch("explain", "Also give each feature's share of the score.", default=False),
        _switch("record", "Append rows that are not in the log as events.", default=True),
    ]
    answer = _says("One version's answer to all rows.", {"application/json": _ref(f"answer.{model}"), _ARROW: _BINARY})
    answer["200"]["headers"] = {"headwater-version": {"description": "line@seq", "schema": {"type": "string"}}}
    asked = {"required": True, "content": {"application/json": body, _ARROW: _BINARY}}
    return {"summary": f"Score rows with {model}", "parameters": switches, "requestBody": asked, "responses": answer}


def _switch(name: str, description: str, *, default: bool) -> Json:
    return _query(name, description, {"type": "boolean", "default": default})


def _follow(summary: str) -> Json:
    """Events of one stream, from a place on."""
    start = {"oneOf": [{"type": "integer", "minimum": 0}, {"enum": ["start", "end"]}], "default": "start"}
    parameters = [
        _query("from", "The place of the first event that is wanted.", start),
        _query("limit", "Most events.", {"type": "integer", "minimum": 1, "default": 1000}),
        _query("wait", "How many seconds to wait for a first event.", {"type": "number", "minimum": 0, "default": 0}),
    ]
    kinds = ("application/x-ndjson", "application/json", "application/cloudevents-batch+json")
    answer = _says("Events from there on, as CloudEvents.", {**{kind: {"schema": {}} for kind in kinds}, _ARROW: _BINARY})
    says = "The place to ask for next: every event before it has been given."
    answer["200"]["headers"] = {"headwater-next": {"description": says, "schema": {"type": "integer"}}}
    return {"summary": summary, "parameters": parameters, "responses": answer}


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}
