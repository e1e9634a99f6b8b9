"""The worker process: handlers and webhooks, each with a thread and a cursor of its own.

It only reads the log, and writes nothing but cursors and what was parked: whatever a user's function does here, events come in
and answers go out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from math import isinf

import structlog

from headwater.app import App
from headwater.core.clock import Clock, SystemClock
from headwater.following.consumer import Consumer
from headwater.following.cursors import Cursors
from headwater.following.delivering import Delivery
from headwater.following.notices import Notices
from headwater.following.streams import Streams
from headwater.log.open import open_log
from headwater.log.wake import Doorbell, ring
from headwater.runtime.places import BELLS, FOLLOWING
from headwater.runtime.settings import Settings

_STORAGE_FAILED_S = 5.0  # pause after a failure that is not the consumer's: a full disk, a log that is damaged
_LONGEST_S = 5.0  # a ring that was missed is made good after so long
_TOGETHER_S = 0.002  # rings within this are one: what appends a thousand times a second does not wake everybody as often
_GRACE_S = 20.0  # for calls under way when the worker stops

_log = structlog.stdlib.get_logger("headwater.worker")


class Worker:
    """Serves the consumers of one app on one state directory.

    Raises:
        WrongState: There is no log yet, or a consumer's name was another stream's.
    """

    def __init__(self, app: App, settings: Settings, clock: Clock | None = None) -> None:
        folder, clock = settings.state_dir, clock or SystemClock()
        self._bells, self._stop = folder / BELLS, threading.Event()
        with ExitStack() as held:
            log = held.enter_context(closing(open_log(settings.log_url, readonly=True)))
            notices = held.enter_context(closing(Notices(folder / FOLLOWING)))
            cursors = held.enter_context(closing(Cursors(folder / FOLLOWING)))
            self._bell = held.enter_context(Doorbell(self._bells))
            streams = Streams(log, app.streams, notices)
            cursors.retire_others(list(app.consumers))
            self._threads = [_Thread(delivery(app, c, streams, cursors, clock), self.stop) for c in app.consumers.values()]
            self._held = held.pop_all()

    def run(self) -> bool:
        """Deliver until told to stop; whether all went well.

        A thread that breaks stops the others: a fresh process is the cure.
        """
        for thread in self._threads:
            thread.start()
        while not self._stop.is_set():
            if self._bell.wait(_LONGEST_S):
                self._stop.wait(_TOGETHER_S)
            for thread in self._threads:
                thread.wake()
        for thread in self._threads:
            thread.stop()
        for thread in self._threads:
            thread.join(_GRACE_S)
        return not any(thread.is_broken for thread in self._threads)

    def stop(self) -> None:
        """Have `run` return; calls under way are finished first."""
        self._stop.set()
        ring(self._bells)

    def close(self) -> None:
        """Release what is held; call it after `run`."""
        self._held.close()


def delivery(app: App, consumer: Consumer, streams: Streams, cursors: Cursors, clock: Clock) -> Delivery:
    """Serves one consumer of an app."""
    schema = app.streams.get(consumer.stream)
    is_personal = schema is not None and schema.is_personal
    return Delivery(consumer, streams.open(consumer.stream), cursors, clock, is_personal=is_personal)


class _Thread(threading.Thread):
    """Steps one delivery; sleeps while there is nothing to do, until it is woken."""

    def __init__(self, delivery: Delivery, on_broken: Callable[[], None]) -> None:
        super().__init__(name=f"consumer-{delivery.name}", daemon=True)
        self._delivery, self._on_broken = delivery, on_broken
        delivery.on_trouble = self._tell
        self._bell, self._halt = threading.Event(), threading.Event()
        self.is_broken = False

    def wake(self) -> None:
        """Something new may be there."""
        self._bell.set()

    def stop(self) -> None:
        """Return from `run` once the call under way is finished."""
        self._halt.set()
        self._bell.set()

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                self._bell.clear()  # before the look: what comes during it is not slept over
                wait_s = self._step()
                if wait_s and not self._halt.is_set():
                    self._bell.wait(None if isinf(wait_s) else wait_s)
            self._delivery.close()
        except BaseException as error:  # noqa: BLE001 - a function of the user's may even exit
            _log.error("a consumer broke", consumer=self._delivery.name, exc_info=error)
            self.is_broken = True
            self._on_broken()

    def _tell(self, what: str, seq: int, why: str) -> None:
        _log.warning("a delivery did not go through", consumer=self._delivery.name, what=what, seq=seq, error=why)

    def _step(self) -> float:
        try:
            return self._delivery.step()
        except Exception as error:  # noqa: BLE001 - the cursor has not moved
            _log.error("events cannot be read or cursors not kept", consumer=self._delivery.name, error=str(error))
            self._halt.wait(_STORAGE_FAILED_S)
            return 0.0
