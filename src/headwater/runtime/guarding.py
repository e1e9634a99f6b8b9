"""Who may reach a gateway: what the settings and the file of keys come to, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from headwater.core.addresses import is_loopback
from headwater.core.errors import ConfigError
from headwater.runtime.settings import Settings
from headwater.serving.keys import KeyFile
from headwater.serving.scopes import NOTHING, Scopes, parse

_TOKEN_CHARS = 20


class Guarding(NamedTuple):
    """What opens a gateway.

    Attributes:
        keys: The file of keys; a running gateway reads it again when it changes.
        token: What is in `server.token_file`; opens everything.
        anonymous: What callers may do who show neither.
    """

    keys: KeyFile
    token: str | None
    anonymous: Scopes


def guarding(settings: Settings) -> Guarding:
    """What opens this installation's gateway.

    Raises:
        ConfigError: Others can reach the address and nobody could show a key; or a key, a token or a scope cannot be read.
    """
    server = settings.server
    keys, token = KeyFile(settings.state_dir), token_of(server.token_file)
    holds = any(key.revoked is None for key in keys.read())
    if not is_loopback(server.host) and token is None and not holds:
        raise ConfigError(
            f"{server.host} can be reached by other machines, and there is no key that they must show", where="server.host",
            expected="a key, or 127.0.0.1",
            next_step="Make one: `headwater keys add NAME --scope ingest,predict`; or set server.token_file.",
        )  # fmt: skip
    is_open = is_loopback(server.host) and token is None
    return Guarding(keys, token, parse(server.without_key, where="server.without_key") if is_open else NOTHING)


def token_of(file: Path | None) -> str | None:
    """The token that callers must send.

    Raises:
        ConfigError: The file cannot be read, or what it holds is too short to be a secret.
    """
    if file is None:
        return None
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"the token cannot be read ({error.strerror})", where=f"server.token_file = {file}") from error
    if len(token) < _TOKEN_CHARS:
        raise ConfigError(
            "the token is too short", where=f"server.token_file = {file}", expected=f"at least {_TOKEN_CHARS} characters",
            got=str(len(token)), next_step="Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )  # fmt: skip
    return token
