"""Who is calling: from the Authorization header to scopes, so cheap that it may stand before every request."""

from __future__ import annotations

import hmac
from time import monotonic

import structlog

from headwater.core.errors import ConfigError
from headwater.serving.keys import KeyFile, Keyring
from headwater.serving.problems import Problem
from headwater.serving.scopes import EVERYTHING, Scopes

_LOOK_S = 0.5  # how soon a changed file of keys is seen
_REMEMBERED = 256  # headers that were verified
_SCHEME = b"Bearer "

_log = structlog.stdlib.get_logger("headwater.serving")


class Access:
    """Keys, the token, and what callers have who show neither.

    A header that was verified is remembered until the keys change; one that was not is looked at each time.

    Args:
        keys: The file of keys; None: there are none.
        token: A secret that opens everything, from `server.token_file`.
        anonymous: The scopes of callers without an Authorization header.
        look_s: How often to look whether the keys have changed, in seconds.

    Raises:
        ConfigError: The keys cannot be read.
    """

    def __init__(self, keys: KeyFile | None, token: str | None, anonymous: Scopes, *, look_s: float = _LOOK_S) -> None:
        self._file, self._look_s, self.anonymous = keys, look_s, anonymous
        self._token = None if token is None else token.encode()
        self._stamp = None if keys is None else keys.stamp()
        self._ring = Keyring([], "") if keys is None else Keyring(keys.read(), keys.now())
        self._known: dict[bytes, Scopes] = {}
        self._look_at = monotonic() + look_s

    @property
    def is_guarded(self) -> bool:
        """Whether nobody comes in without a secret, and somebody with one."""
        return not self.anonymous and (self._token is not None or len(self._ring) > 0)

    def scopes(self, authorization: bytes | None) -> Scopes:
        """What a caller with this header may do.

        Raises:
            Problem: 401: the header is there, and holds no key.
        """
        if authorization is None:
            return self.anonymous
        if self._file is not None and monotonic() >= self._look_at:
            self._look()
        found = self._known.get(authorization)
        if found is None:
            found = self._verified(authorization)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[authorization] = found
        return found

    def _verified(self, authorization: bytes) -> Scopes:
        if self._token is None and self._stamp is None and self.anonymous:
            return self.anonymous  # nobody asks for keys here: what a proxy leaves in the header is not for us
        if authorization.startswith(_SCHEME):
            given = authorization[len(_SCHEME) :]
            if self._token is not None and hmac.compare_digest(given, self._token):
                return EVERYTHING
            found = self._ring.scopes(given.decode("latin-1"))
            if found is not None:
                return found
        raise unauthorized()

    def _look(self) -> None:
        """Read the keys again where they have changed, or one has ended; where they cannot be read, none holds."""
        assert self._file is not None
        self._look_at = monotonic() + self._look_s
        has_ended = bool(self._ring.until) and self._ring.until <= self._file.now()
        if (stamp := self._file.stamp()) == self._stamp and not has_ended:
            return
        self._stamp, self._ring = stamp, Keyring([], "")
        self._known.clear()
        try:
            self._ring = Keyring(self._file.read(), self._file.now())
        except (ConfigError, OSError) as error:
            _log.error("the keys cannot be read: none is accepted", exc_info=error)


def unauthorized() -> Problem:
    """401: who are you?"""
    return Problem(
        401, "unauthorized", "A valid key is needed", where="Authorization", expected="Bearer <key>",
        next_step="Ask the operator for one: `headwater keys add NAME --scope ...`.", headers={"www-authenticate": "Bearer"},
    )  # fmt: skip


def forbidden(needed: Scopes) -> Problem:
    """403: known, and not allowed to."""
    return Problem(
        403, "forbidden", "This key may not do that", where="Authorization",
        expected=f"a key with the scope {' or '.join(sorted(needed))}" if needed else "",
    )  # fmt: skip
