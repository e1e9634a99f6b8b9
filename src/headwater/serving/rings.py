"""The log's doorbell for the tasks of one event loop: hung up only while one of them waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.log.wake import Doorbell


class Rings:
    """Wakes whoever waits for something new in a log.

    Args:
        folder: Where appenders ring; None: only `wake` is heard.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._bell: Doorbell | None = None
        self._next = asyncio.Event()
        self.n_listening = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While this lasts, rings are heard; look at the log after this has begun."""
        self.n_listening += 1
        try:
            if self.n_listening == 1:
                self._hang_up()
            yield
        finally:
            self.n_listening -= 1
            if not self.n_listening:
                self._take_down()

    def next(self) -> asyncio.Event:
        """Is set by the next ring. Take it before the look that may find nothing."""
        return self._next

    def wake(self) -> None:
        """A ring by hand."""
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    def _hang_up(self) -> None:
        if self._folder is not None:
            self._bell = Doorbell(self._folder)
            asyncio.get_running_loop().add_reader(self._bell.fileno(), self._heard)

    def _heard(self) -> None:
        if self._bell is not None:
            self._bell.clear()
        self.wake()

    def _take_down(self) -> None:
        if self._bell is not None:
            asyncio.get_running_loop().remove_reader(self._bell.fileno())
            self._bell.close()
            self._bell = None
