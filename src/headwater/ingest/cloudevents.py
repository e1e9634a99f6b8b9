"""CloudEvents 1.0 over HTTP: structured, batched and binary (https://github.com/cloudevents/spec).

`id`, `source` and `time` are the event's own, `type` is the stream's name, perhaps with its major version (`arrival.v1`),
`data` is an object of the stream's fields. Other attributes are extensions and are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from headwater.ingest.examine import resolve
from headwater.ingest.letters import Bad
from headwater.ingest.shapes import Row, Shapes, Time

SPECVERSION = "ce-specversion"
_ATTRIBUTES = ("specversion", "id", "source", "type", "time")


class CloudEvent(msgspec.Struct, gc=False):
    """The attributes that matter here; `data` stays text until its stream is known."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw
    time: Time = None


_one = msgspec.json.Decoder(CloudEvent)
_many = msgspec.json.Decoder(list[CloudEvent])


def rows(shapes: Shapes, text: bytes, stream: str | None, *, is_array: bool, strict: bool) -> list[Row]:
    """Structured events, typed.

    Raises:
        ValueError, msgspec.MsgspecError, RecursionError: One of them is not as it should be.
    """
    events = _many.decode(text) if is_array else [_one.decode(text)]
    return [_row(shapes, event, stream, strict=strict) for event in events]


def _row(shapes: Shapes, event: CloudEvent, stream: str | None, *, strict: bool) -> Row:
    if not event.specversion.startswith("1.") or not event.id or not event.source:
        raise ValueError("a required attribute is empty or of another version")
    try:
        name = event.type if event.type == stream else resolve(shapes, event.type, stream)
    except Bad as bad:
        raise ValueError(bad.code) from None
    shape = shapes.by_stream[name]
    row: Row = (shape.strict if strict else shape.lenient).decode(event.data)
    if row.id or row.time is not None:
        raise ValueError("data has members of the envelope")
    row.id, row.source = event.id, event.source
    row.time = event.time
    return row


def data_members(text: bytes) -> Iterable[str]:
    """Names of the members of a structured event's data."""
    return msgspec.json.decode(_one.decode(text).data, type=dict[str, msgspec.Raw])


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether a request carries one event in binary mode."""
    return SPECVERSION in headers


def from_binary(body: bytes, headers: Mapping[str, str]) -> bytes:
    """A binary-mode event in structured mode: headers are percent-encoded attributes, the body is the data."""
    attributes: dict[str, Any] = {a: unquote(headers[f"ce-{a}"]) for a in _ATTRIBUTES if f"ce-{a}" in headers}
    head = msgspec.json.encode(attributes)
    return head[:-1] + (b"," if attributes else b"") + b'"data":' + (body.strip() or b"null") + b"}"
