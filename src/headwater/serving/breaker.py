"""Keeps a model that fails from being asked again and again, so that its deadline is not paid for every answer.

Closed: it is asked. After so many failures in a row, open: it is not asked for a pause, which doubles each time. After the
pause one question tries it (half open): the answer closes the breaker or opens it again.
"""

from __future__ import annotations

from collections.abc import Callable

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker:
    """One model's breaker; its owner sees to it that one thread at a time uses it.

    Args:
        now_s: A monotonic clock, in seconds.
        failures: So many in a row open it.
        pause_s: The first pause.
        longest_s: The longest one.

    Attributes:
        n_opened: How often it has opened.
        reason: Of the last failure.
    """

    def __init__(self, now_s: Callable[[], float], *, failures: int = 3, pause_s: float = 1.0, longest_s: float = 60.0) -> None:
        self._now_s, self._most, self._first_s, self._longest_s = now_s, failures, pause_s, longest_s
        self._n_failed, self._pause_s, self._until_s = 0, pause_s, 0.0
        self._is_open = False
        self.n_opened, self.reason = 0, ""

    @property
    def state(self) -> str:
        """`CLOSED`, `OPEN` or `HALF_OPEN`."""
        if not self._is_open:
            return CLOSED
        return OPEN if self._now_s() < self._until_s else HALF_OPEN

    def allows(self) -> bool:
        """Whether the model may be asked now."""
        return self.state != OPEN

    def succeeded(self) -> None:
        """It answered well."""
        self._n_failed, self._is_open, self._pause_s = 0, False, self._first_s

    def failed(self, reason: str) -> bool:
        """It did not; whether the breaker opened by that, having been closed."""
        self.reason = reason
        self._n_failed += 1
        if self._is_open:
            self._pause_s = min(2 * self._pause_s, self._longest_s)
        elif self._n_failed < self._most:
            return False
        opens, self._is_open = not self._is_open, True
        self.n_opened += opens
        self._until_s = self._now_s() + self._pause_s
        return opens
