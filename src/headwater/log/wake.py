"""Doorbells: an appender wakes the readers of a log without either of them polling.

Each reader binds a Unix datagram socket in a shared folder; whoever appends sends an empty datagram to every socket there. A
ring says "look", not what to look at: rings may be merged, and one that nobody hears is no loss, since a reader hangs its
doorbell up *before* it reads to the end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater.core.errors import ConfigError

_SUFFIX = ".bell"
_LONGEST = 100  # bytes of a socket's address; systems allow 103-107
_LONGEST_NAME = 32  # bytes of a slash and a socket's name


class Doorbell:
    """The reader's side: a socket of its own in the folder `path`, which is made if need be.

    Raises:
        ConfigError: The folder's path is too long for a socket's address.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        # The name never occurs again, so that a stale file can be removed without a look at who made it.
        self._file = path / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._poll = select.poll()  # unlike select, for any descriptor
        self._poll.register(self._socket, select.POLLIN)
        with _reachable(path) as folder:
            self._socket.bind(f"{folder}/{self._file.name}")

    def fileno(self) -> int:
        """For selectors and event loops: readable when it has rung; call `clear` then."""
        return self._socket.fileno()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it rings or has rung since the last call; whether it did. None waits without end."""
        if not self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Forget the rings so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)

    def close(self) -> None:
        """Take it down. A reader that was killed leaves its file; the next `ring` removes it."""
        self._socket.close()
        self._file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def ring(path: Path) -> int:
    """Ring every doorbell in the folder `path`; how many were there.

    Never blocks and never fails: a full queue means that the reader has rings to hear already, an absent folder that nobody
    listens, and a file that nobody listens to is removed. Cost: 10-20 us.
    """
    try:
        names = [name for name in os.listdir(path) if name.endswith(_SUFFIX)]  # noqa: PTH208 - twice as fast as Path.iterdir
    except OSError:
        return 0
    if not names:
        return 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, _reachable(path) as folder:
            sender.setblocking(False)
            return sum(_rung(sender, f"{folder}/{name}") for name in names)
    except (OSError, ConfigError):  # the folder went away, or no descriptor is left: a ring is a favour, not a duty
        return 0


def _rung(sender: socket.socket, address: str) -> bool:
    try:
        sender.sendto(b"", address)
    except BlockingIOError:
        return True
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(address)  # noqa: PTH108
        return False
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """The folder under a name that is short enough for a socket's address."""
    if len(os.fsencode(path)) + _LONGEST_NAME <= _LONGEST:
        yield str(path)
        return
    if not Path("/proc/self/fd").is_dir():
        raise ConfigError(
            "the path is too long for a socket", where=str(path), expected=f"at most {_LONGEST - _LONGEST_NAME} bytes",
            got=str(len(os.fsencode(path))), next_step="Use a shorter state folder.",
        )  # fmt: skip
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}"
    finally:
        os.close(folder)
