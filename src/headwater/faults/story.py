"""What producers and an installation live through together: requests in order, each sent until it is acknowledged.

What was acknowledged, and what handlers were told, is kept in two files beside the state: they survive a kill, as a producer
and a receiver elsewhere would.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.app import App
from headwater.core import crashpoints
from headwater.core.clock import VirtualClock
from headwater.faults.installation import Installation, parked_in, settings_of
from headwater.faults.oracle import Book, audit
from headwater.faults.world import NOW_US, Line, Recipe, requests, shop

Told = Callable[[Any, Any], object]

TOLD = "told"  # the consumer whose handler writes down what it hears
_OK = 200
_SHOWN = 5
_LEARN_EVERY = 3  # requests
_DAY_MS = 86_400_000


def _nothing(_there: Installation, _number: int) -> None:
    """All is well."""


@dataclass(slots=True)
class Story:
    """One stream and one installation.

    Attributes:
        place: Where.
        requests: The bodies, in order.
        declare: Makes the app, with a handler for one of its streams under the name `TOLD`.
        n_sends: How often each request is sent, though the first one is acknowledged: replies may be lost.
        poison: The handler fails at events that hold this value in some field.
        before: Called before each request, with its number.
        is_sure: Whether nothing but `live` sends, so that each verdict is known beforehand.
        latest_ms: The event time after which the door took each request's events to be from a wrong clock.
    """

    place: Path
    requests: list[list[Line]]
    declare: Callable[[Told], App] = shop
    n_sends: int = 1
    poison: str = ""
    before: Callable[[Installation, int], None] = _nothing
    latest_ms: dict[int, int] = field(default_factory=dict)
    is_sure: bool = True
    _book: Book = field(default_factory=Book)

    @classmethod
    def of(cls, place: Path, recipe: Recipe) -> Story:
        return cls(place, requests(recipe))

    def app(self) -> App:
        """The app, whose handler writes down what it is told."""
        return self.declare(self._told)

    def live(self, arm: Callable[[str], None] | None = None, *, until: int | None = None) -> list[str]:
        """Send what is not acknowledged yet, learn and deliver; what did not hold of the answers.

        Args:
            arm: Called at every crash point.
            until: Stop before this request; None: send all.
        """
        said, first = [], self.n_acked
        crashpoints.arm(arm)
        with self.installed() as there:
            for number in range(first, len(self.requests) if until is None else until):
                self.before(there, number)
                said += self.send(there, number)
                there.clock.advance(1.0)
                if number % _LEARN_EVERY == 0:
                    there.learn()
                    there.deliver()
            there.learn()
            there.deliver()
        crashpoints.arm(None)
        return said

    def installed(self) -> Installation:
        """The app, started; its clock goes on where the last acknowledged request left it."""
        return Installation(self.app(), self.place, VirtualClock(NOW_US + self.n_acked * 1_000_000))

    def send(self, there: Installation, number: int) -> list[str]:
        """Send one request, as often as is said, and note that it is acknowledged."""
        lines = self.requests[number]
        self.latest_ms[number] = there.clock.now_us() // 1000 + _DAY_MS
        for _ in range(self.n_sends):
            wanted = self._book.enter(lines, self.latest_ms[number])
            answer = there.send(lines)
            if answer.status != _OK:
                return [f"request {number} was answered {answer.status}: {answer.content}"]
            got = answer.content["verdicts"]
            # After a kill nobody knows what of a request is stored already: then only their number is sure.
            if len(got) != len(wanted) or (got != wanted and self.is_sure and self._is_whole):
                odd = [(i, *pair) for i, pair in enumerate(zip(wanted, got, strict=False)) if pair[0] != pair[1]][:_SHOWN]
                return [f"request {number} has {len(wanted)} lines, {len(got)} verdicts; (line, expected, got): {odd}"]
        self._note("acked", f"{number}")
        return []

    @property
    def _is_whole(self) -> bool:
        """Whether this process has sent every request, so that its book knows what the log holds."""
        return len(self.latest_ms) == self.n_acked + 1

    @property
    def n_acked(self) -> int:
        """Requests that were acknowledged."""
        return len(self._noted("acked"))

    def _told(self, event: Any, envelope: Any) -> None:
        if self.poison and self.poison in vars(event).values():
            raise ValueError(f"this handler cannot take {self.poison}")
        crashpoints.crashpoint("story.telling")
        self._note(TOLD, f"{envelope.seq}")

    def _note(self, name: str, what: str) -> None:
        handle = os.open(self.place / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, f"{what}\n".encode())
        os.close(handle)

    def _noted(self, name: str) -> list[str]:
        file = self.place / name
        return file.read_text().split() if file.exists() else []

    def verdict(self, *, is_exact: bool = True) -> list[str]:
        """What does not hold now that all is at rest.

        Args:
            is_exact: Whether nothing was killed, so that nothing may have been sent or told once more.
        """
        book = Book()
        for number, lines in enumerate(self.requests):
            for _ in range(self.n_sends):
                book.enter(lines, self.latest_ms.get(number))
        return audit(self.app(), settings_of(self.place), book, is_exact=is_exact) + self._heard(book, is_exact=is_exact)

    def _heard(self, book: Book, *, is_exact: bool) -> list[str]:
        """The handler was told of every event of its stream, in order; of none again, where nothing was killed."""
        consumer = self.app().consumers.get(TOLD)
        if consumer is None:
            return []
        mine = [event for event in book.events.values() if event["stream"] == consumer.stream]
        wanted = sum(not (self.poison and self.poison in event.values()) for event in mine)
        told = [int(seq) for seq in self._noted(TOLD)]
        first = list(dict.fromkeys(told))
        said = []
        if len(first) != wanted or first != sorted(first):
            said.append(f"the handler must hear of {wanted} events in order, and heard of {len(first)}: {first[:5]} ...")
        if is_exact and len(first) != len(told):
            said.append(f"nothing was killed, yet the handler heard {len(told) - len(first)} events again")
        if (n := len(parked_in(self.place))) != len(mine) - wanted:
            said.append(f"{len(mine) - wanted} events are poison to the handler, {n} are parked")
        return said
