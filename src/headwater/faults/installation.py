"""Door, log, learner and deliveries of one app in one process, on a real folder: what `headwater run` spreads over four.

Nothing runs by itself: the caller says when events come, when the learner learns, and what time it is. A fault at a drawn step
is then at the same step again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import ExitStack, closing
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self

from headwater.app import App
from headwater.core.clock import VirtualClock
from headwater.faults.world import NDJSON, NOW_US, Line, body_of
from headwater.following.cursors import Cursors, Parked
from headwater.following.delivering import Delivery
from headwater.following.notices import Notices
from headwater.following.streams import Streams
from headwater.ingest.door import Door
from headwater.ingest.limits import Limits
from headwater.log.open import open_log
from headwater.runtime.learner import Learner
from headwater.runtime.places import FOLLOWING
from headwater.runtime.settings import Settings

_INSTANT_S = 1e-6
_PATIENCE = 200  # pauses of a delivery before it is left alone


class Answer(NamedTuple):
    """What the door said: status, and the reply's JSON."""

    status: int
    content: dict[str, Any]


def settings_of(place: Path, *, tells: bool = False) -> Settings:
    """The settings of an installation in a folder; it saves when it is told to, or on virtual time."""
    learner = {"idle_after": None, "checkpoint_every_s": 10.0, "tell_features": tells}
    return Settings.model_validate({"state_dir": place / "state", "learner": learner})


class Installation:
    """One app on one folder; close it, or die with it.

    Args:
        app: The app.
        place: Where its state directory is, or will be.
        clock: Stamps and measures; None starts one at the time of the shop.
        tells: Whether it tells the features of each question.

    Attributes:
        settings: Its settings.
        log: Its log.
        learner: Its learner.
        clock: Its clock.
    """

    def __init__(self, app: App, place: Path, clock: VirtualClock | None = None, *, tells: bool = False) -> None:
        self.app, self.settings = app, settings_of(place, tells=tells)
        self.clock = clock or VirtualClock(NOW_US)
        with ExitStack() as held:
            self.log = held.enter_context(closing(open_log(self.settings.log_url, clock=self.clock)))
            self.learner = held.enter_context(closing(Learner(app, self.log, self.settings, self.clock)))
            self._loop = held.enter_context(asyncio.Runner())
            self._door = Door(self.log, app.streams, clock=self.clock, limits=Limits(), on_append=_nothing)
            held.callback(lambda: self._loop.run(self._door.close()))
            self._held = held.pop_all()

    def send(self, lines: list[Line]) -> Answer:
        """Send one request; the answer comes once its events are on disk."""
        reply = self._loop.run(self._door.submit(body_of(lines), NDJSON, {"prefer": "verdicts"}, None))
        return Answer(reply.status, json.loads(reply.body))

    def learn(self) -> None:
        """Fold what is in the log, register, publish, save, and wait for the disk."""
        stop = threading.Event()
        stop.set()
        self.learner.run(stop)

    def deliver(self) -> None:
        """Hand the app's handlers what is new to them; pauses are over at once on a virtual clock."""
        following = self.settings.state_dir / FOLLOWING
        with closing(Notices(following)) as notices, closing(Cursors(following)) as cursors:
            streams = Streams(self.log, self.app.streams, notices)
            for consumer in self.app.consumers.values():
                with closing(Delivery(consumer, streams.open(consumer.stream), cursors, self.clock)) as delivery:
                    self._step(delivery)

    def _step(self, delivery: Delivery) -> None:
        n_pauses = 0
        while n_pauses < _PATIENCE and (wait_s := delivery.step()) < inf:
            n_pauses += wait_s > 0
            self.clock.advance(wait_s + _INSTANT_S)

    def hang_up(self, lines: list[Line], turns: int) -> None:
        """Send one request and go away before the answer, after so many turns of the event loop."""

        async def gone() -> None:
            task = asyncio.ensure_future(self._door.submit(body_of(lines), NDJSON, {}, None))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        self._loop.run(gone())

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _nothing() -> None:
    """Nobody waits to be woken here."""


def parked_in(place: Path) -> list[Parked]:
    """What the handlers of an installation would not take."""
    with closing(Cursors(settings_of(place).state_dir / FOLLOWING)) as cursors:
        return cursors.parked()
