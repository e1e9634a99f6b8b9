"""A model of the event lane that may hang, die or talk nonsense, and still there is an answer before the deadline.

Two processes take turns: one holds the state that answered well last, the other is given the newest. Only when that has
answered well is it the one to fall back on. Where the newest state fails, the older answers, and says so; where that fails
too, the model says nothing, and the answer is "no change". A breaker keeps a model that goes on failing from costing every
answer its deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Untrusted
from headwater.core.seals import Seal
from headwater.serving.breaker import CLOSED, Breaker
from headwater.serving.isolation import IsolatedLearner, ModelFailed
from headwater.serving.lanes import Scored, bounded, unpack

OpensTell = Callable[[str, str, int], None]
BUSY = 'the model is busy with other questions: "no change" answers'
LAST_GOOD = "the model fails: its last good state answers"
SILENT = 'the model fails: "no change" answers'
_FIRST_S = 10.0  # for a first answer, before which there is none to fall back on


@dataclass(slots=True, eq=False)
class _Loaded:
    """A process, and the state that it holds.

    Attributes:
        tag: Of the state; NaN where it holds none.
        seq: The newest place in the log at which this state was the published one.
    """

    learner: IsolatedLearner
    tag: float = float("nan")
    seq: int = 0


class GuardedLane:
    """One model's `Scorer`.

    Args:
        line: The model's name.
        loss: As declared.
        start: Makes a learner in a process of its own.
        deadline_s: For one answer.
        seal: Must be on what is published; None takes it as it comes.
        on_open: Told (model, reason, seq) when the breaker opens; on the thread of a question.
        now_s: A monotonic clock, in seconds.
    """

    def __init__(
        self, line: str, loss: str, start: Callable[[], IsolatedLearner], deadline_s: float, seal: Seal | None,
        on_open: OpensTell, now_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._line, self._loss, self._deadline_s, self._seal, self._on_open = line, loss, deadline_s, seal, on_open
        self._lock, self._now_s = threading.Lock(), now_s
        self._newest, self._older = _Loaded(start()), _Loaded(start())
        self._good: _Loaded | None = None
        self.breaker, self._second = Breaker(now_s), Breaker(now_s)
        self._n_degraded = 0

    def status(self) -> dict[str, Any]:
        """For people: the breaker, how often it opened, why, and how many answers were not the newest state's."""
        said: dict[str, Any] = {
            "breaker": self.breaker.state, "opened": self.breaker.n_opened, "degraded_answers": self._n_degraded,
        }  # fmt: skip
        return said if self.breaker.state == CLOSED else {**said, "reason": self.breaker.reason}

    def score(self, block: Floats, seq: int, xs: Floats, cs: Ints) -> Scored:
        """See `Scorer.score`. Takes no longer than the deadline, but for the very first."""
        if not self._lock.acquire(timeout=self._deadline_s):
            self._n_degraded += 1
            return Scored(None, seq, BUSY)
        try:
            said = self._newest_says(block, seq, xs, cs) if self.breaker.allows() else None
            if said is not None:
                return said
            self._n_degraded += 1
            return self._older_says(seq, xs, cs)
        finally:
            self._lock.release()

    def _newest_says(self, block: Floats, seq: int, xs: Floats, cs: Ints) -> Scored | None:
        """The newest state's answer within half of the deadline, the other half being the older one's; None where it fails."""
        until_s = self._now_s() + (self._deadline_s / 2 if self._good else _FIRST_S)
        try:
            loaded = self._load(block, until_s)
            scores = self._ask(loaded, xs, cs, until_s)
        except (ModelFailed, Untrusted) as error:
            if self.breaker.failed(str(error)):
                self._on_open(self._line, str(error), seq)
            return None
        self.breaker.succeeded()
        loaded.seq = seq
        self._good = loaded
        return Scored(scores, seq)

    def _load(self, block: Floats, until_s: float) -> _Loaded:
        """The process that holds the newest state; it is not the one that answered well before."""
        tag = float(block[0])
        if self._newest.tag != tag:
            packed = unpack(block, self._line, self._seal)
            if self._newest is self._good:
                self._newest, self._older = self._older, self._newest
            self._newest.tag = float("nan")
            self._newest.learner.load_packed(packed, until_s - self._now_s())
            self._newest.tag = tag
        return self._newest

    def _ask(self, loaded: _Loaded, xs: Floats, cs: Ints, until_s: float) -> Floats:
        scores = loaded.learner.score_many(xs, cs, until_s - self._now_s())
        if not np.isfinite(scores).all():
            raise ModelFailed(f"it gave {int((~np.isfinite(scores)).sum())} scores that are no numbers")
        return bounded(scores, self._loss)

    def _older_says(self, seq: int, xs: Floats, cs: Ints) -> Scored:
        """What answered well last, if it still does."""
        if self._good is None or not self._second.allows():
            return Scored(None, seq, SILENT)
        try:
            scores = self._ask(self._good, xs, cs, self._now_s() + self._deadline_s / 2)
        except ModelFailed as error:
            self._second.failed(str(error))
            return Scored(None, seq, SILENT)
        self._second.succeeded()
        return Scored(scores, self._good.seq, LAST_GOOD)

    def close(self) -> None:
        """End both processes."""
        for loaded in (self._newest, self._older):
            loaded.learner.kill()
