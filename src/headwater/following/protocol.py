"""What can be followed, and who can be told."""

from __future__ import annotations

from typing import Protocol

from headwater.following.page import Page


class Followed(Protocol):
    """One stream, read from any place that is still kept. Whoever reads keeps the place; nothing is kept here."""

    def bounds(self) -> tuple[int, int]:
        """(first seq that can be read, next seq to be given)."""

    def read(self, start: int, limit: int, max_bytes: int) -> Page:
        """Rows from `start` on: at most `limit`, of about `max_bytes` in columns, but one where there is one.

        A page without rows may still lead on: its `next` is then past rows of other streams.

        Raises:
            EventsDropped: `start` is before the first retained row.
            WrongState: `start` is beyond the end: the reader has seen another log.
        """


class Target(Protocol):
    """Who is told of rows: a handler or a webhook."""

    @property
    def most(self) -> int:
        """How many rows it takes at once."""

    def hand_over(self, page: Page) -> None:
        """Tell it of the page's rows; when this returns, they count as delivered.

        Raises:
            Fatal: These rows will never be taken.
            Exception: Not now. A `Retryable` says when.
        """

    def close(self) -> None:
        """Release what it holds."""
