"""What a request says of itself: its headers, its media type, its switches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from headwater.core.errors import nearest
from headwater.serving.problems import Problem
from headwater.serving.replies import JSON

Headers = Mapping[bytes, bytes]

_JSON = JSON.encode()
_PARAMETERS = 16


@dataclass(slots=True)
class Call:
    """One request whose headers were admitted.

    Attributes:
        scope: ASGI's.
        headers: By lower-case name.
        receive: ASGI's: gives the body, and tells when the caller leaves.
        named: The values of its route's named segments.
        started: When its last byte was read, by `perf_counter`.
        body: The whole body, where its route belongs to a lane of data; else it is not read.
    """

    scope: Scope
    headers: Headers
    receive: Receive
    named: Mapping[str, str]
    started: float
    body: bytes = b""

    @property
    def path(self) -> str:
        path: str = self.scope["path"]
        return path

    @property
    def query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query


def content_type(headers: Headers) -> str:
    """The media type in lower case, without parameters; JSON where none is given."""
    given = headers.get(b"content-type", _JSON)
    return JSON if given == _JSON else given.partition(b";")[0].strip().decode("latin-1").lower()


def flags(query: bytes, known: frozenset[str]) -> dict[str, bool]:
    """The query string's switches, such as `explain=true`."""
    if not query:
        return {}
    found = {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_PARAMETERS)
    except ValueError:
        raise Problem(400, "too-many-parameters", "There are too many query parameters") from None
    for name, value in pairs:
        if name not in known:
            raise Problem(
                400, "unknown-parameter", "There is no such query parameter", where=name, next_step=nearest(name, known)
            )
        if value not in {"true", "false"}:
            raise Problem(
                400, "wrong-parameter", "A query parameter has a wrong value", where=name, expected="true or false", got=value
            )
        found[name] = value == "true"
    return found
