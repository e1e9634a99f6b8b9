"""What can go wrong, and what a caller can do about it.

Every error says what happened, where, what was expected and got, and the next step. Two classes carry the only
distinction on which code may act: `Retryable` (the same call may succeed later) and `Fatal` (it never will).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 12  # names in one sentence


class HeadwaterError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: What happened, as one sentence without its full stop.
        where: The stream, key, offset, file or setting concerned.
        expected: What would have been right.
        got: What was there instead.
        next_step: What the reader can do about it.
    """

    def __init__(self, what: str, *, where: str = "", expected: str = "", got: str = "", next_step: str = "") -> None:
        self.what, self.where, self.expected, self.got, self.next_step = what, where, expected, got, next_step
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.got:
            parts.append(f"got {self.got}")
        message = "; ".join(parts)
        return f"{message}. {self.next_step}" if self.next_step else message


class Retryable(HeadwaterError):  # noqa: N818 - named for what the caller may do
    """The same call may succeed after `delay_s` seconds."""

    delay_s: float = 1.0


class Fatal(HeadwaterError):  # noqa: N818
    """The same call will never succeed: change the input, the declaration or the machine."""


class DeclarationError(Fatal):
    """An app was declared in a way that cannot work; raised before anything runs."""


class ConfigError(Fatal):
    """A setting is unknown, of the wrong type, or contradicts another."""


class CorruptData(Fatal):
    """Bytes on disk are not what was written there. Nothing is deleted; nothing of them is served."""


class Untrusted(CorruptData):
    """Bytes that this installation did not write, or that are older than what it wrote last. They are not even parsed."""


class WrongState(Fatal):
    """A state directory belongs to another app, format or machine."""


class EventsDropped(Fatal):
    """Rows that a reader asks for are no longer retained."""

    def __init__(self, seq: int, first: int) -> None:
        self.seq, self.first = seq, first
        super().__init__(
            "these events have been dropped by retention",
            where=f"log, seq {seq}",
            expected=f"at least {first}, the first retained seq",
            next_step="Start from a checkpoint at or after it, and let retention keep what readers still need.",
        )


class DiskFull(Retryable):
    """No room to make an append durable. Nothing was acknowledged; serving goes on."""

    delay_s = 5.0


class Overloaded(Retryable):
    """More work is waiting than is allowed; the caller should slow down."""

    def __init__(self, what: str, *, delay_s: float, where: str = "", next_step: str = "") -> None:
        self.delay_s = delay_s
        super().__init__(what, where=where, next_step=next_step)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that helps with an unknown name: the closest known ones, or the first dozen of all.

    >>> nearest("carier", ["carrier", "origin"])
    'Did you mean carrier?'
    >>> nearest("x", [f"late@{i}" for i in range(100, 140)]).rpartition(", ")[2]
    'late@111 and 28 more.'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"Known: {', '.join(names[:_SHOWN])}{more}." if names else "None is known."


# Libraries say it in exceptions of their own: CPython's threads, the loader, Arrow, SQLite.
_NO_MEMORY = ("start new thread", "failed to map segment", "Cannot allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that this process may have no more memory, or no more threads, which take some.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("can't start new thread"))
    (True, True)
    >>> is_out_of_memory(ValueError("out of memory"))
    False
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # Of errors of ours, and of what a value is wrong, the text may be a stranger's.
    is_of_a_library = isinstance(error, RuntimeError | ImportError | OSError | SystemError)
    return is_of_a_library and any(said in str(error) for said in _NO_MEMORY)
