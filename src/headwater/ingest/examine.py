"""The slow, patient reading of one event: says exactly what is wrong with it, or finds that it was only unusual.

Used for events that the typed decoders refused, and for dead letters that are replayed. It reads with the standard
library's tolerant JSON parser, so that `NaN`, 1e999 and integers of any size can be named in the reason.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
from typing import Any

import msgspec

from headwater.core.errors import nearest
from headwater.core.schema import FieldSpec, Kind
from headwater.ingest.columns import INT64, NO_ID
from headwater.ingest.letters import Bad, Letter, letter, printable
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import ENVELOPE, TYPES, Row, Shapes, is_required

_DEEPER = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
_MAJOR = re.compile("[0-9]{1,9}")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_JSON_NAMES = {dict: "object", list: "array", str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}


def examine(shapes: Shapes, limits: Limits, raw: bytes, stream: str | None, *, cloud: bool = False) -> Row | Letter:
    """One event's text as a row, or the dead letter that says why not.

    Args:
        shapes: Known streams.
        limits: Bounds on size and depth.
        raw: UTF-8 JSON, or what claims to be.
        stream: The stream that it was posted to; None where the event names it.
        cloud: It is a CloudEvent in structured mode.
    """
    source, claimed = None, stream
    try:
        event = parse(raw, limits)
        if cloud:
            event = flatten(event)
        source, named = event.get("source"), event.get("stream")
        claimed = stream or (named if isinstance(named, str) else None)
        return convert(shapes, event, stream)
    except Bad as bad:
        source = source if isinstance(source, str) else None
        return letter(bad, raw, source=source, stream=claimed, max_bytes=limits.max_event_bytes)


def parse(raw: bytes, limits: Limits) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises:
        Bad: There is none within the limits.
    """
    if len(raw) > limits.max_event_bytes:
        raise Bad("too_large", f"expected at most {limits.max_event_bytes} bytes, got {len(raw)}")
    if is_deeper(raw, limits.max_depth):
        raise Bad("too_deep", f"expected JSON nested at most {limits.max_depth} deep")
    try:
        event = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise Bad("invalid_utf8", f"expected UTF-8, got another byte at position {error.start}") from None
    except json.JSONDecodeError as error:
        raise Bad("malformed_json", f"expected one JSON object: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):  # a number of more than 4,300 digits
        raise Bad("malformed_json", "expected one JSON object, got one that no parser here reads") from None
    if not isinstance(event, dict):
        raise Bad("not_an_object", f"expected a JSON object, got {_kind(event)}")
    return event


def is_deeper(raw: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than `limit`; never recurses."""
    if raw.count(b"{") + raw.count(b"[") <= limit:
        return False
    depth = 0
    for token in _DEEPER.finditer(raw):
        first = raw[token.start()]
        depth += 1 if first in b"{[" else -1 if first in b"}]" else 0
        if depth > limit:
            return True
    return False


def flatten(event: dict[str, Any]) -> dict[str, Any]:
    """A structured CloudEvent as a plain event.

    Raises:
        Bad: A required attribute is missing, or the data are not an object.
    """
    for name in ("specversion", "id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise Bad("not_a_cloudevent", f"attribute {name}: expected a string, got {_kind(event.get(name))}")
    if not event["specversion"].startswith("1."):
        raise Bad("unknown_version", "attribute specversion: expected 1.0")
    data = _data(event)
    if not isinstance(data, dict):
        raise Bad("wrong_type", f"data: expected an object of the stream's fields, got {_kind(data)}")
    envelope = {"id": event["id"], "source": event["source"], "stream": event["type"], "time": event.get("time")}
    return {**{k: v for k, v in data.items() if k not in ENVELOPE}, **envelope}


def _data(event: dict[str, Any]) -> Any:
    if "data_base64" not in event:
        return event.get("data")
    try:
        return json.loads(base64.b64decode(event["data_base64"], validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise Bad("malformed_json", "data_base64: expected a JSON object in base64") from None


def convert(shapes: Shapes, event: dict[str, Any], stream: str | None) -> Row:
    """A parsed plain event as a row of its stream.

    Raises:
        Bad: It does not fit.
    """
    name = resolve(shapes, event.get("stream"), stream)
    shape = shapes.by_stream[name]
    checked = {"stream": name, "id": _id(event), "time": _time(event.get("time"))}
    if "source" in event:
        checked["source"] = _source(event["source"])
    for spec in shape.schema.fields:
        if spec.name in event:
            checked[spec.name] = _value(spec, event[spec.name])
        elif is_required(spec):
            raise Bad("missing_field", f"field {spec.name}: expected {_expected(spec)}, got nothing")
    try:
        return msgspec.convert(checked, shape.types[False])
    except (msgspec.ValidationError, ValueError, OverflowError):  # what the checks above have not foreseen
        raise Bad("does_not_fit", f"expected an event of stream {name}") from None


def resolve(shapes: Shapes, named: Any, posted_to: str | None) -> str:
    """The stream of an event from its own `stream` (or CloudEvents `type`, perhaps with `.v1`) and its address.

    Raises:
        Bad: It is unknown, of another major version, or contradicts the address.
    """
    if named is None and posted_to is not None:
        return posted_to
    if not isinstance(named, str):
        got = "nothing" if named is None else _kind(named)
        raise Bad("unknown_stream", f"stream: expected a stream's name, got {got}")
    name, version = split_version(named) if named not in shapes.by_stream else (named, None)
    if name not in shapes.by_stream:
        raise Bad("unknown_stream", f"stream: {printable(named)} is not declared. {nearest(named[:100], shapes.by_stream)}")
    major = shapes.by_stream[name].schema.major
    if version not in (None, major):
        raise Bad("unknown_version", f"stream {name}: expected major version {major}, got {version}")
    if posted_to not in (None, name):
        raise Bad("wrong_stream", f"stream: expected {posted_to}, to which it was posted, got {name}")
    return name


def split_version(kind: str) -> tuple[str, int | None]:
    """A CloudEvents type as stream and major version.

    >>> split_version("arrival.v2"), split_version("arrival")
    (('arrival', 2), ('arrival', None))
    """
    name, dot, version = kind.rpartition(".v")
    return (name, int(version)) if dot and _MAJOR.fullmatch(version) else (kind, None)


def _id(event: dict[str, Any]) -> str | int:
    if "id" not in event:
        raise Bad(*NO_ID)
    value = event["id"]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Bad("wrong_type", f"id: expected str or int, got {_kind(value)}")
    return _utf8("id", value) if isinstance(value, str) else value


def _source(value: Any) -> str:
    if not isinstance(value, str):
        raise Bad("wrong_type", f"source: expected str, got {_kind(value)}")
    return _utf8("source", value)


def _time(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise Bad(
            "unreadable_time", f"time: expected ISO 8601 with an offset, or integer ms since 1970 UTC, got {_kind(value)}"
        )
    try:
        moment = dt.datetime.fromisoformat(value)
        return (moment - _EPOCH) // dt.timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise Bad(
            "unreadable_time", "time: expected ISO 8601 with an offset, such as 2024-05-01T12:00:00Z, got another text"
        ) from None
    except TypeError:
        raise Bad("unreadable_time", "time: expected an offset, such as Z or +02:00, got a time without one") from None


def _value(spec: FieldSpec, value: Any) -> Any:
    if value is None and spec.nullable:
        return None
    kind = type(value)
    if kind is not TYPES[spec.kind] and not (spec.kind is Kind.FLOAT and kind is int):
        raise Bad("wrong_type", f"field {spec.name}: expected {_expected(spec)}, got {_kind(value)}")
    if spec.kind is Kind.FLOAT:
        return _finite(spec, value)
    if spec.kind is Kind.INT and value not in INT64:
        raise Bad("int_too_large", f"field {spec.name}: expected an integer of 64 bits, got a larger one")
    return _utf8(f"field {spec.name}", value) if spec.kind is Kind.STR else value


def _finite(spec: FieldSpec, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Bad("not_finite", f"field {spec.name}: expected a finite float, got NaN, infinity or a number beyond 1.8e308")
    return number


def _utf8(what: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Bad("invalid_utf8", f"{what}: expected text, got half of a surrogate pair") from None
    return value


def _expected(spec: FieldSpec) -> str:
    return f"{spec.kind.value} or null" if spec.nullable else spec.kind.value


def _kind(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "nothing")
