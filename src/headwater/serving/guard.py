"""What is decided from a request's headers alone, before anything else looks at it."""

from __future__ import annotations

from starlette.types import Scope

from headwater.serving.access import Access, forbidden, unauthorized
from headwater.serving.limits import LOOPBACK, Limits
from headwater.serving.problems import Problem
from headwater.serving.requests import Headers
from headwater.serving.scopes import OPEN, Scopes

_ONCE = (b"host", b"content-type", b"content-length", b"authorization", b"origin")
_REMEMBERED = 256  # Host values whose check is remembered


class Guard:
    """Decides from the headers alone whether a request may go on. It stands before everything else.

    A page in a browser must not reach a gateway on its user's machine: neither by another site's script (Origin,
    Sec-Fetch-Site) nor by a name that resolves to the loopback address (Host; DNS rebinding).
    """

    def __init__(self, limits: Limits, access: Access) -> None:
        self._limits, self._access = limits, access
        self._hosts = LOOPBACK | {host.lower() for host in limits.hosts}
        self._good: set[bytes] = set()

    def admit(self, scope: Scope, needed: Scopes) -> Headers:
        """The request's headers by lower-case name.

        Args:
            scope: ASGI's; only `headers` is looked at.
            needed: The scopes of which the caller must have one; `OPEN` asks for none.

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
        if needed is not OPEN:
            self._check_scopes(headers.get(b"authorization"), needed)
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

    def _check_scopes(self, authorization: bytes | None, needed: Scopes) -> None:
        if self._access.scopes(authorization).isdisjoint(needed):
            raise unauthorized() if authorization is None else forbidden(needed)


def _refuse_repeated(pairs: list[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in pairs]
    for name in _ONCE:
        if names.count(name) > 1:
            raise Problem(400, "repeated-header", "This header may occur only once", where=name.decode())
