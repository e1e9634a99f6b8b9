"""One consumer: read on from its cursor, hand over, and only then move the cursor.

At least once and in order: whatever happens between the handing over and the move, the rows come again. What a consumer will
never take is parked, so that it does not hold up what comes after; what it does not take now is tried again for as long as it
takes. Time is the caller's: `step` never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from headwater.core.clock import Clock
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, EventsDropped, Fatal, Retryable, WrongState
from headwater.following.consumer import Consumer
from headwater.following.cursors import Cursors, Parked
from headwater.following.formats import cloud_event
from headwater.following.page import Page
from headwater.following.protocol import Followed
from headwater.following.retrying import pause_s

_READ_ROWS, _READ_BYTES = 1000, 4 << 20
_COMMIT_S = 0.1  # a cursor moves in a transaction with a disk sync: not for each of thousands of events a second
_IDLE_COMMIT_S = 1.0  # how long a cursor that only passed other streams' rows may be behind on disk
_LOOK_S = 1.0  # how often it is asked whether parked events are wanted again

Trouble = Callable[[str, int, str], None]


class Delivery:
    """Serves one consumer. One thread calls `step`.

    Args:
        consumer: Who is told, and how; the cursor is kept under its name.
        followed: Its stream.
        cursors: Where the cursor is.
        clock: Measures pauses and stamps what is parked.
        is_personal: The stream has fields about persons: of what a handler raises only the kind is told.

    Attributes:
        on_trouble: Hears (what happened, at which seq, why) of what is retried, parked or missed.

    Raises:
        WrongState: See `Cursors.claim`.
    """

    def __init__(
        self, consumer: Consumer, followed: Followed, cursors: Cursors, clock: Clock, *, is_personal: bool = False
    ) -> None:
        self.name, self._target, self._manner = consumer.name, consumer.target, consumer.manner
        self._followed, self._cursors, self._clock = followed, cursors, clock
        self._hides = is_personal and consumer.manner.kind == "handler"
        self.on_trouble: Trouble = lambda _what, _seq, _why: None
        first = followed.bounds()[1 if self._manner.start == "end" else 0]
        progress = cursors.claim(self.name, consumer.stream, self._manner.kind, first)
        self._saved = self._next = progress.next
        self._page: Page | None = None
        self._at = 0  # rows of the page that are done
        self._alone = 0  # rows that are handed over one by one, since together they were refused
        self._attempt, self._n_done = progress.attempt, 0
        self._committed_s = self._retry_at_s = clock.monotonic_s()
        self._looked_s = -inf

    def step(self) -> float:
        """Deliver what is next; how many seconds to wait for the next step: 0 for none, infinity until something is new.

        Asked too early, it does nothing but say how long is left.
        """
        if (left_s := self._retry_at_s - self._clock.monotonic_s()) > 0:
            return left_s
        if self._page is None:
            self._hand_over_parked()
            try:
                if not self._read():
                    return self._rest()
            except (WrongState, CorruptData) as error:
                return self._again(self._next, error)  # shown in its status; whoever mends the log has it go on
        assert self._page is not None
        most = 1 if self._alone else self._target.most
        part = self._page.part(self._at, min(self._at + most, self._page.n))
        try:
            self._target.hand_over(part)
        except Exception as error:  # noqa: BLE001 - it is the user's code
            return self._failed(part, error)
        crashpoint("consumer.handed")
        self._n_done += part.n
        self._passed(part)
        if self._clock.monotonic_s() - self._committed_s >= _COMMIT_S:
            self._commit()
        return 0.0

    def close(self) -> None:
        """Write down how far it got, and let the target go."""
        if self._saved != self._next:
            self._commit()
        self._target.close()

    def _read(self) -> bool:
        """Read the next page; False where there is none yet."""
        try:
            page = self._followed.read(self._next, _READ_ROWS, _READ_BYTES)
        except EventsDropped as error:
            self.on_trouble("missed", error.seq, str(error))
            self._cursors.skip(self.name, error.first, error.first - self._next, str(error))
            self._saved = self._next = error.first
            return self._read()
        if page.n:
            self._page, self._at = page, 0
        else:
            self._next = page.next
        return bool(page.n)

    def _hand_over_parked(self) -> None:
        """Parked events that somebody wants tried again, each once; they are out of order by then."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        for seq in self._cursors.wanted(self.name):
            error = None
            try:
                self._target.hand_over(self._followed.read(seq, 1, _READ_BYTES))
            except Exception as raised:  # noqa: BLE001 - the user's code; or the log no longer has it
                error = self._said(raised)
                self.on_trouble("stays parked", seq, error)
            self._cursors.settle(self.name, seq, error)

    def _rest(self) -> float:
        """Nothing to hand over: how long until there may be."""
        if self._attempt:  # it could not be read, and now it can: all is well again
            self._cursors.move(self.name, self._next, self._n_done)
            self._saved, self._n_done, self._attempt = self._next, 0, 0
        if self._next < self._followed.bounds()[1]:
            return 0.0
        if self._saved == self._next:
            return inf
        waited_s = self._clock.monotonic_s() - self._committed_s
        left_s = (_COMMIT_S if self._n_done else _IDLE_COMMIT_S) - waited_s
        if left_s > 0:
            return left_s
        self._commit()
        return inf

    def _failed(self, part: Page, error: Exception) -> float:
        self._attempt += 1
        is_final = isinstance(error, Fatal) or (self._manner.attempts is not None and self._attempt >= self._manner.attempts)
        said = self._said(error)
        if is_final and part.n > 1:
            self._alone, self._attempt = part.n, 0
            return 0.0
        self._commit()
        if is_final:
            self.on_trouble("parked", int(part.seq[0]), said)
            event = cloud_event(part).decode()
            self._cursors.park(Parked(self.name, int(part.seq[0]), self._clock.now_us(), said, event), part.next)
            self._passed(part)
            self._saved = self._next
            return 0.0
        return self._wait(int(part.seq[0]), error)

    def _again(self, seq: int, error: Exception) -> float:
        """What is next could not even be read."""
        self._attempt += 1
        return self._wait(seq, error)

    def _wait(self, seq: int, error: Exception) -> float:
        """Note a failure, and have the next step wait."""
        wait_s = pause_s(self._attempt, f"{self.name}/{seq}", error.delay_s if isinstance(error, Retryable) else None)
        self.on_trouble(f"failed {self._attempt} times", seq, self._said(error))
        self._retry_at_s = self._clock.monotonic_s() + wait_s
        self._cursors.fail(self.name, self._attempt, self._clock.now_us() + int(wait_s * 1e6), self._said(error))
        return wait_s

    def _passed(self, part: Page) -> None:
        """These rows are done with, one way or the other."""
        assert self._page is not None
        self._at += part.n
        self._next, self._attempt, self._alone = part.next, 0, max(0, self._alone - part.n)
        if self._at == self._page.n:
            self._page = None

    def _commit(self) -> None:
        if self._saved != self._next:
            self._cursors.move(self.name, self._next, self._n_done)
            self._saved, self._n_done = self._next, 0
        self._committed_s = self._clock.monotonic_s()

    def _said(self, error: Exception) -> str:
        """What is told of an error: a handler may have put anything of the event into its text."""
        text = "its text is hidden, since the stream has personal fields" if self._hides else str(error)
        return f"{type(error).__name__}: {text}"
