"""A user's function as the target of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headwater.core.event import EventType
from headwater.following.envelope import Notice
from headwater.following.formats import data, envelopes
from headwater.following.page import Page

_decode = msgspec.json.Decoder().decode


class Handler:
    """Calls a function with a stream's events.

    Args:
        call: Takes an event, or a list of them; with a second parameter also its envelope, or theirs.
        stream: The events' class; None for notices.
        most: Events in one list; 0 calls with each event by itself.
        wants_envelope: Whether it has that parameter.
    """

    def __init__(self, call: Callable[..., object], stream: EventType | None, most: int, *, wants_envelope: bool) -> None:
        self._call, self._stream, self._is_batch, self._wants_envelope = call, stream, most > 0, wants_envelope
        self.most = max(1, most)

    def hand_over(self, page: Page) -> None:
        """See `Target.hand_over`. Whatever the function raises goes on to the caller."""
        said = envelopes(page)
        made = [self._event(fields) for fields in data(page)] if self._stream is not None else _notices(page)
        given: tuple[Any, ...] = (made, said) if self._is_batch else (made[0], said[0])
        self._call(*given[: 2 if self._wants_envelope else 1])

    def _event(self, fields: dict[str, Any]) -> Any:
        assert self._stream is not None
        return self._stream(**fields)

    def close(self) -> None:
        """See `Target.close`."""


def _notices(page: Page) -> list[Notice]:
    pairs = zip(envelopes(page), data(page), strict=True)
    return [Notice(said.stream, said.id, said.time_ms, _decode(raw) if page.is_notices else raw) for said, raw in pairs]
