"""The installation's key: Ed25519, made at the first start, and never leaving its folder.

What is signed is a short text that names everything it vouches for; the text begins with its purpose, so that a signature
for one thing is none for another. Whoever can read the key's file can sign: it is readable by its owner only, and lies
beside the registry rather than in it, so that a restored registry does not bring a key of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headwater.core.errors import Untrusted
from headwater.core.files import sync_folder
from headwater.core.seals import Seal
from headwater.registry.artifact import canonical

FILE_NAME = "installation.key"
_KEY_BYTES = 32


def trust_folder(registry: Path) -> Path:
    """Where the key and the signed heads of a registry lie: beside it."""
    return registry.with_name(f"{registry.name}.trust")


class InstallationKey:
    """Signs and verifies.

    Args:
        secret: 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self._public = self._key.public_key()
        self.seal = Seal(HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=b"headwater seal/1").derive(secret))

    @classmethod
    def open(cls, folder: Path, *, make: bool) -> Self:
        """The key in a folder.

        Args:
            folder: See `trust_folder`.
            make: Make one where there is none.

        Raises:
            Untrusted: There is none, or what is there is no key.
        """
        path = folder / FILE_NAME
        if make and not path.exists():
            _make(path)
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise Untrusted(
                f"the installation's key cannot be read ({error.strerror})", where=str(path),
                next_step="Start `headwater run` once as the user who owns the folder, or put the key back from a copy.",
            ) from error  # fmt: skip
        if len(secret) != _KEY_BYTES:
            raise Untrusted(
                "this is no installation's key", where=str(path), expected=f"{_KEY_BYTES} bytes", got=str(len(secret)),
                next_step="Put it back from a copy.",
            )  # fmt: skip
        return cls(secret)

    def sign(self, purpose: str, said: Mapping[str, Any]) -> bytes:
        """The signature, 64 bytes, of plain data; equal data, equal signature."""
        return self._key.sign(_text(purpose, said))

    def is_signed(self, purpose: str, said: Mapping[str, Any], signature: bytes) -> bool:
        """Whether this installation signed just that."""
        try:
            self._public.verify(signature, _text(purpose, said))
        except InvalidSignature:
            return False
        return True


def _text(purpose: str, said: Mapping[str, Any]) -> bytes:
    return f"{purpose}\n{canonical(dict(said))}".encode()


def _make(path: Path) -> None:
    """Of two processes that make one at once, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    sync_folder(path.parent)  # what it signs must not reach the disk before its own name does
