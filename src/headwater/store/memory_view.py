"""The online view inside one process: the same calls as `view`, over a dictionary. For tests and notebooks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from headwater.core.errors import Retryable
from headwater.store.view import View, ViewMeta


class MemoryView:
    """Writer and reader in one."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._meta: ViewMeta | None = None

    def seq(self) -> int:
        return self._meta.seq if self._meta else 0

    def questions(self) -> list[bytes]:
        return [key for key in self._rows if key.startswith(b"q")]

    def clear(self) -> None:
        self._rows.clear()

    def publish(
        self, meta: ViewMeta, puts: Sequence[tuple[bytes, Any]], deletes: Sequence[bytes] = (), status: bytes | None = None
    ) -> None:
        for key in deletes:
            self._rows.pop(key, None)
        self._rows.update((key, bytes(value)) for key, value in puts)
        if status is not None:
            self._rows[b"s"] = status
        self._meta = meta

    @contextlib.contextmanager
    def open(self) -> Iterator[View]:
        """The newest published state.

        Raises:
            Retryable: Nothing is published yet.
        """
        if self._meta is None:
            raise Retryable("nothing is published yet", where="view", next_step="Send an event first.")
        yield View(self._rows, self._meta)

    def close(self) -> None:
        pass
