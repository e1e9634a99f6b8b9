"""API keys: a file of names, scopes and hashes that a running gateway reads again when it changes.

A key is `hw_<id>_<secret>` with 256 random bits, so that a plain SHA-256 keeps it: there is nothing to guess by trying words.
The key itself is shown once and stored nowhere.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import ConfigError, Fatal, nearest
from headwater.serving.scopes import SCOPES, Scopes, granted

FILE_NAME = "keys.json"
_FORMAT = 2
_READABLE = (1, 2)  # in the first, no key ends by itself
_SECRET_BYTES, _ID_BYTES = 32, 5
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_OTHERS_MAY_WRITE = 0o022
_LEAST_MS = 1000  # times are kept in whole seconds


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as it is stored.

    Attributes:
        id: The part of the key that is no secret; what logs may show.
        name: Whose it is.
        scopes: What it opens, sorted.
        sha256: Hash of the whole key, hex.
        created: When, ISO 8601 in UTC.
        revoked: When it was revoked; None while it holds.
        expires: When it ends by itself; None: never.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    created: str
    revoked: str | None = None
    expires: str | None = None

    def holds(self, now: str) -> bool:
        """Whether it opens anything at this time."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    keys: list[Key]


class KeyFile:
    """The keys of one state directory. Any process may read; writers take turns.

    Args:
        folder: The state directory; made when the first key is added.
        clock: Dates keys.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder, self._file = folder, folder / FILE_NAME
        self._clock = clock or SystemClock()

    def stamp(self) -> tuple[int, int] | None:
        """Changes whenever the file does; None where there is none."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def read(self) -> list[Key]:
        """All keys, also revoked ones, in the order of their making.

        Raises:
            ConfigError: The file is damaged, or others may write it.
        """
        try:
            mode, data = self._file.stat().st_mode, self._file.read_bytes()
        except FileNotFoundError:
            return []
        if mode & _OTHERS_MAY_WRITE:
            step = f"Look whether its keys are yours, then: chmod 600 {self._file}"
            raise ConfigError("other users of this machine may write the keys", where=str(self._file), next_step=step)
        try:
            stored = msgspec.json.decode(data, type=_Stored)
        except msgspec.MsgspecError:
            step = "Move it away and make new keys with `headwater keys add`."
            raise ConfigError("the file of keys is damaged", where=str(self._file), next_step=step) from None
        if stored.format not in _READABLE:
            raise ConfigError(
                "the file of keys has another format", where=str(self._file), expected=str(_FORMAT), got=str(stored.format)
            )
        return stored.keys

    def add(self, name: str, scopes: Scopes, *, lasts_ms: int | None = None) -> tuple[Key, str]:
        """A new key and its text, which is not kept; it ends by itself after `lasts_ms`, where that is given.

        Raises:
            ConfigError: The name is not usable, a key that holds has it, or this one would never hold.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError("this name is not usable", where="keys", expected="a-z, 0-9, then also . _ -", got=name)
        if lasts_ms is not None and lasts_ms < _LEAST_MS:
            step = "Leave the duration out for a key that does not end by itself."
            raise ConfigError(
                "such a key would never hold", where=name, expected="at least 1s", got=f"{lasts_ms} ms", next_step=step
            )
        with self._writing() as keys:
            if any(key.name == name and key.holds(self.now()) for key in keys):
                step = f"Choose another name, such as {name}-2, or revoke the old one with `headwater keys revoke {name}`."
                raise ConfigError("a key of this name is there already", where=name, next_step=step)
            id_ = _random(_ID_BYTES)
            text = f"hw_{id_}_{_random(_SECRET_BYTES)}"
            expires = None if lasts_ms is None else self.now(lasts_ms)
            key = Key(id_, name, tuple(sorted(scopes & SCOPES.keys())), _hash(text), self.now(), expires=expires)
            keys.append(key)
        return key, text

    def revoke(self, name: str) -> Key:
        """End the key of this name.

        Raises:
            Fatal: None that holds has it.
        """
        with self._writing() as keys:
            for at, key in enumerate(keys):
                if key.name == name and key.holds(self.now()):
                    keys[at] = replace(key, revoked=self.now())
                    return keys[at]
            known = [key.name for key in keys if key.holds(self.now())]
            raise Fatal("there is no key of this name that holds", where=name, next_step=nearest(name, known))

    def now(self, ahead_ms: int = 0) -> str:
        """The time now, or so much later, as keys have it: such texts sort by time."""
        return datetime.fromtimestamp(self._clock.now_us() / 1e6 + ahead_ms / 1e3, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @contextmanager
    def _writing(self) -> Iterator[list[Key]]:
        """The keys, to be changed; written as a whole when all went well. One writer at a time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            keys = self.read()
            yield keys
            self._write(keys)
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, keys: list[Key]) -> None:
        temporary = self._folder / f".{FILE_NAME}.{secrets.token_hex(4)}"
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode({"format": _FORMAT, "keys": [asdict(key) for key in keys]})))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)


class Keyring:
    """The keys that hold, ready to be asked; as they were when it was made.

    Attributes:
        until: When the first of them ends by itself; "" where none does.
    """

    def __init__(self, keys: list[Key], now: str) -> None:
        self._by_id = {key.id: key for key in keys if key.holds(now)}
        self.until = min((key.expires for key in self._by_id.values() if key.expires is not None), default="")

    def __len__(self) -> int:
        return len(self._by_id)

    def scopes(self, text: str) -> Scopes | None:
        """What a key opens; None where it is none that holds."""
        parts = text.split("_")
        key = self._by_id.get(parts[1]) if len(parts) == 3 else None  # noqa: PLR2004 - hw, id, secret
        if key is None or not hmac.compare_digest(_hash(text), key.sha256):
            return None
        return granted(list(key.scopes))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _random(n_bytes: int) -> str:
    """Random bytes in the letters of base32, which no shell, header or eye mistakes."""
    return base64.b32encode(secrets.token_bytes(n_bytes)).decode().rstrip("=").lower()
