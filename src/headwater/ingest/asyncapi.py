"""The door as an AsyncAPI 3.0 document: a channel for each stream, and one for events that name their stream.

Payloads are AsyncAPI's own schema objects, which are a superset of JSON Schema's draft 7; nothing newer is used in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from headwater.core.schema import Schema
from headwater.ingest.json_schema import event, extras

Json = dict[str, Any]

VERSION = "3.0.0"
ANY = "events"


def document(app: str, streams: Mapping[str, Schema]) -> Json:
    """The whole document: what a running app receives."""
    channels = {name: _channel(f"/events/{name}", [name], f"Events of the stream {name}.") for name in streams}
    channels[_any(streams)] = _channel("/events", list(streams), "Events that name their stream.")
    return {
        "asyncapi": VERSION,
        "id": f"urn:headwater:{app}",
        "info": {
            "title": app,
            "version": version("headwater"),
            "description": "Streams of a Headwater app. Events go in over HTTP: JSON objects, arrays, lines, or CloudEvents.",
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": _server()},
        "channels": channels,
        "operations": {f"send_{name}": _operation(name, channel) for name, channel in channels.items()},
        "components": {
            "messages": {name: _message(schema) for name, schema in streams.items()},
            "schemas": {name: event(schema) for name, schema in streams.items()},
        },
    }


def _any(streams: Mapping[str, Schema]) -> str:
    """The name of the channel for all streams; a stream of that name keeps it."""
    return ANY if ANY not in streams else f"{ANY}_any"


def _server() -> Json:
    address = {"default": "127.0.0.1:8080", "description": "The settings server.host and server.port."}
    return {"host": "{address}", "protocol": "http", "variables": {"address": address}}


def _channel(address: str, messages: list[str], description: str) -> Json:
    refs = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {"address": address, "description": description, "messages": refs}


def _operation(name: str, channel: Json) -> Json:
    """`receive`: seen from the app, as AsyncAPI 3 has it."""
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": f"Append: {channel['description']}",
        "messages": [{"$ref": f"#/channels/{name}/messages/{message}"} for message in channel["messages"]],
        "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
    }


def _message(schema: Schema) -> Json:
    about = {"summary": schema.doc} if schema.doc else {}
    return {
        "name": schema.stream,
        "title": schema.stream,
        **about,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{schema.stream}"},
        **extras(schema),
    }
