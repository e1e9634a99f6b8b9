"""Reading a request without trusting it: its headers first, then its body up to a limit and a deadline."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope

from headwater.core.errors import nearest
from headwater.serving.limits import LOOPBACK, Limits
from headwater.serving.problems import Problem
from headwater.serving.replies import JSON

Headers = Mapping[bytes, bytes]

_JSON = JSON.encode()
_ONCE = (b"host", b"content-type", b"content-length", b"authorization", b"origin")
_PARAMETERS = 16
_REMEMBERED = 256  # Host values whose check is remembered


class Disconnected(Exception):  # noqa: N818
    """The client left before its request was complete; there is nobody to answer."""


class Guard:
    """Decides from the headers alone whether a request may go on. It stands before everything else.

    A page in a browser must not reach a gateway on its user's machine: neither by another site's script (Origin,
    Sec-Fetch-Site) nor by a name that resolves to the loopback address (Host; DNS rebinding).
    """

    def __init__(self, limits: Limits, token: str | None = None) -> None:
        self._limits = limits
        self._hosts = LOOPBACK | {host.lower() for host in limits.hosts}
        self._good: set[bytes] = set()
        self._token = None if token is None else b"Bearer " + token.encode()

    def admit(self, scope: Scope) -> Headers:
        """The request's headers by lower-case name.

        Raises:
            Problem: 400, 401, 403, 421 or 431.
        """
        pairs = scope["headers"]
        headers: Headers = dict(pairs)
        size = sum(map(len, headers)) + sum(map(len, headers.values()))
        if len(headers) != len(pairs):
            _refuse_repeated(pairs)
            size = sum(len(name) + len(value) for name, value in pairs)
        if len(pairs) > self._limits.headers or size > self._limits.head_bytes:
            raise Problem(431, "too-many-headers", "The request's headers are too many or too long")
        host = headers.get(b"host", b"")
        if host not in self._good:
            self._check_host(host)
        if b"origin" in headers or b"sec-fetch-site" in headers:
            self._check_origin(headers)
        if self._token is not None and scope["path"] != "/healthz":
            self._check_token(headers)
        return headers

    def _check_host(self, host: bytes) -> None:
        if not self._allows(host.decode("latin-1")):
            raise Problem(
                421, "wrong-host", "This host name is not served here", where="Host", got=host.decode("latin-1"),
                next_step="Call it by a loopback name, or add the name to the allowed hosts.",
            )  # fmt: skip
        if len(self._good) < _REMEMBERED:
            self._good.add(host)

    def _allows(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            return host.lower() in self._hosts
        return name.lower() in self._hosts and port.isascii() and port.isdigit()

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get(b"origin", b"").decode("latin-1")
        site = headers.get(b"sec-fetch-site", b"none")
        scheme, _, rest = origin.partition("://")
        ours = not origin or (scheme in {"http", "https"} and self._allows(rest))
        if not ours or site not in {b"none", b"same-origin"}:
            raise Problem(403, "cross-site", "Another site may not call this one", where="Origin", got=origin)

    def _check_token(self, headers: Headers) -> None:
        assert self._token is not None
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            challenge = {"www-authenticate": "Bearer"}
            raise Problem(
                401,
                "unauthorized",
                "A valid token is needed",
                where="Authorization",
                expected="Bearer <token>",
                headers=challenge,
            )


def _refuse_repeated(pairs: list[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in pairs]
    for name in _ONCE:
        if names.count(name) > 1:
            raise Problem(400, "repeated-header", "This header may occur only once", where=name.decode())


def content_type(headers: Headers) -> str:
    """The media type in lower case, without parameters; JSON where none is given."""
    given = headers.get(b"content-type", _JSON)
    return JSON if given == _JSON else given.partition(b";")[0].strip().decode("latin-1").lower()


class Deadlines:
    """Ends reads that take too long, by one timer for all of them: a timer for each costs more than most reads.

    A read may last up to a quarter longer than `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def start(self, task: asyncio.Task[Any]) -> None:
        self._since[task] = monotonic()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._seconds / 4, self._cancel_overdue)

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Whether the read was ended here."""
        self._since.pop(task, None)
        late = task in self._overdue
        self._overdue.discard(task)
        return late

    def _cancel_overdue(self) -> None:
        latest = monotonic() - self._seconds
        for task in [t for t, since in self._since.items() if since <= latest]:
            del self._since[task]
            self._overdue.add(task)
            task.cancel()
        again = bool(self._since)
        self._sweep = asyncio.get_running_loop().call_later(self._seconds / 4, self._cancel_overdue) if again else None


class BodyReader:
    """Reads whole bodies within the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadlines = Deadlines(limits.body_s)

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            Problem: 408, 413 or 415.
            Disconnected: The client left.
        """
        if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
            raise Problem(415, "compressed", "Compressed bodies are not taken", where="Content-Encoding", expected="identity")
        task = asyncio.current_task()
        assert task is not None
        self._deadlines.start(task)
        try:
            return await _read(headers, receive, self._limits)
        except asyncio.CancelledError:
            if not self._deadlines.end(task):
                raise
            task.uncancel()
            close = {"connection": "close"}
            expected = f"{self._limits.body_s:g} s"
            raise Problem(408, "slow-body", "The body did not arrive in time", expected=expected, headers=close) from None
        finally:
            self._deadlines.end(task)


async def _read(headers: Headers, receive: Receive, limits: Limits) -> bytes:
    if _declared(headers) > limits.body_bytes:
        raise await _too_long(headers, receive, limits, 0)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) <= limits.body_bytes:
            return body
    return await _read_on(message, headers, receive, limits)


def _declared(headers: Headers) -> int:
    value = headers.get(b"content-length", b"0")
    if not value.isdigit():
        raise Problem(400, "wrong-header", "The body's length is not a number", where="Content-Length")
    return int(value)


async def _read_on(message: Message, headers: Headers, receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body_bytes:
            parts.clear()
            raise await _too_long(headers, receive, limits, size, more=message.get("more_body", False))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def _too_long(headers: Headers, receive: Receive, limits: Limits, size: int, *, more: bool = True) -> Problem:
    """The refusal of a long body, once so much of it was thrown away that a sender who reads last can hear it."""
    drained = more and b"expect" not in headers and _declared(headers) <= limits.drain_bytes
    while more and drained and size <= limits.drain_bytes:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    close = {"connection": "close"} if more else {}
    return Problem(413, "body-too-long", "The body is too long", expected=f"at most {limits.body_bytes} bytes", headers=close)


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
