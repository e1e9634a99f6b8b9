"""Which way a request's body is to be read, from its headers alone."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from headwater.ingest.cloudevents import is_binary
from headwater.ingest.reply import Refusal


class Format(enum.Enum):
    """How events lie in a body; the value is the content type that names it."""

    LINES = "application/x-ndjson"
    JSON = "application/json"
    ARROW = "application/vnd.apache.arrow.stream"
    CLOUD = "application/cloudevents+json"
    CLOUD_BATCH = "application/cloudevents-batch+json"
    CLOUD_BINARY = "application/json with ce- headers"


_NAMES = {f.value: f for f in Format} | {
    "application/jsonl": Format.LINES,
    "application/ndjson": Format.LINES,
    "application/json-lines": Format.LINES,
    "text/json": Format.JSON,
}
_OFFERED = (Format.LINES, Format.JSON, Format.ARROW, Format.CLOUD, Format.CLOUD_BATCH)


def format_of(content_type: str, headers: Mapping[str, str]) -> Format:
    """The format that a request names.

    Args:
        content_type: The header's value.
        headers: All headers, names in lower case.

    Raises:
        Refusal: 415, with the types that are taken.
    """
    name, _, parameters = content_type.lower().partition(";")
    found = _NAMES.get(name.strip())
    if found is None:
        raise _unsupported(f"got content type {name.strip()[:80] or 'none'}")
    charset = parameters.replace('"', "").replace(" ", "").partition("charset=")[2].partition(";")[0]
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise _unsupported(f"got charset {charset[:40]}, only UTF-8 is read")
    if (encoding := headers.get("content-encoding", "identity").lower()) != "identity":
        raise _unsupported(f"got content encoding {encoding[:40]}, bodies are read as they are")
    if is_binary(headers) and found is Format.JSON:
        return Format.CLOUD_BINARY
    return found


def _unsupported(got: str) -> Refusal:
    offered = [f.value for f in _OFFERED]
    detail = f"expected one of {', '.join(offered)}; {got}. For one JSON event on each line send {Format.LINES.value}."
    return Refusal(415, "unsupported_media_type", "Unknown kind of body", detail, accepts=offered)
