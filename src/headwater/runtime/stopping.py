"""Where a model of the event lane stands still: a function of the log, though failing is none.

Code that is not ours may fail today and not tomorrow: it hung, memory was short. So the first fold that sees it fail says so
in the log (`model.stopped`), and every other fold, after a restart or from the beginning, stops the model at the very same
place without trying. The mark comes later in the log than the place that it names; a fold therefore looks ahead for marks
before it begins (`stops_in`). A person has the model go on (`model.resumed`): that holds from the mark's own place.

Stopped as it learnt, a model's last state goes on scoring, and blocks of labels are dropped; stopped as it scored, its
questions get no score of its own either, and are counted as such.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from headwater.app import App, Model
from headwater.core.batch import Floats, Ints
from headwater.learning.protocol import BlockLearner, LearnerState
from headwater.log.control import control_events
from headwater.log.protocol import EventLog
from headwater.registry.artifact import canonical, decode, encode
from headwater.serving.isolation import ModelFailed

STOPPED, RESUMED = "model.stopped", "model.resumed"
LEARN, SCORE = "learn", "score"
_WHAT = (LEARN, SCORE)


class Stop(NamedTuple):
    """A place at which a model stops.

    Attributes:
        what: What it failed at: `LEARN` or `SCORE`.
        at: `LEARN`: how many examples it had learnt; `SCORE`: the place in the log of the first question without a score.
    """

    what: str
    at: int


class Stopped(NamedTuple):
    """A model has just failed, as the log must be told.

    Attributes:
        model: Its name.
        recipe: What was declared of it: a model that is declared anew is not stopped by it.
        stop: Where.
        reason: How it failed.
    """

    model: str
    recipe: str
    stop: Stop
    reason: str

    def body(self) -> dict[str, Any]:
        """The mark's."""
        where = {"what": self.stop.what, "at": self.stop.at}
        return {"model": self.model, "recipe": self.recipe, **where, "reason": self.reason}


def recipe_of(model: Model) -> str:
    """A model's declaration as a short text: equal declarations, equal texts."""
    return hashlib.sha256(canonical(model.describe()).encode()).hexdigest()[:16]


class Stops:
    """What one line knows of its stops.

    Attributes:
        now: The stop in force.
        n_dropped: Examples that were dropped since the line began.
        failed: Stops that nobody knew of before; whoever takes them has the log told.
    """

    def __init__(self) -> None:
        self.now: Stop | None = None
        self.n_dropped = 0
        self.failed: list[tuple[Stop, str]] = []
        self._ahead: deque[Stop] = deque()

    def foresee(self, stops: Iterable[Stop]) -> None:
        """Stops that marks further on in the log tell of, in order."""
        ahead = list(stops)
        known = ahead.index(self.now) + 1 if self.now in ahead else 0  # saved before its mark was folded
        self._ahead = deque(ahead[known:])

    def come_to(self, what: str, at: int) -> None:
        """Learning, or scoring, comes to a place: a stop that is known holds from here."""
        if not self._ahead or self._ahead[0].what != what or (self.now is not None and self.now.what != LEARN):
            return
        known = self._ahead[0].at
        if (what == SCORE and at >= known) or (what == LEARN and at == known and self.now is None):
            self.now = self._ahead.popleft()

    def fail(self, stop: Stop, reason: str) -> None:
        """It has failed, where nobody knew of it."""
        self.now = stop
        self.failed.append((stop, reason))

    def told(self, stop: Stop) -> None:
        """A mark has come: what it tells of holds from here at the latest."""
        if self.now is None:
            self.now = stop

    def resume(self) -> None:
        """A person has the model go on."""
        self.now = None

    def may_learn(self, by: int) -> bool:
        """Whether a block may be learnt whose last label came at a place in the log."""
        return self.now is None or (self.now.what == SCORE and by < self.now.at)

    def scores_before(self) -> int | None:
        """Questions from this place on get no score; None: all get one."""
        return self.now.at if self.now is not None and self.now.what == SCORE else None

    def array(self) -> Ints:
        """int64[3]: 1 + index of what is stopped (0: nothing), where, examples dropped."""
        now = (0, 0) if self.now is None else (1 + _WHAT.index(self.now.what), self.now.at)
        return np.array([*now, self.n_dropped], np.int64)

    def restore(self, array: Ints) -> None:
        kind, at, self.n_dropped = map(int, array)
        self.now = Stop(_WHAT[kind - 1], at) if kind else None


def stop_of(body: dict[str, Any], model: Model) -> Stop | None:
    """What a mark tells of a model; None where it is of another declaration, or not one of ours."""
    what, at = body.get("what"), body.get("at")
    if not isinstance(what, str) or what not in _WHAT or not isinstance(at, int) or body.get("recipe") != recipe_of(model):
        return None
    return Stop(what, at)


def stops_in(app: App, log: EventLog, seq: int) -> dict[str, list[Stop]]:
    """Model -> its stops that marks from a place on tell of, in order; costs one pass over the rest of the log.

    An app whose learners are all compiled has none, and its log is not read.
    """
    found: dict[str, list[Stop]] = {name: [] for name, m in app.models.items() if m.lane is not None}
    if not found:
        return {}
    for chunk in log.read(seq):
        for mark in control_events(chunk.batch):
            name = str(mark.body.get("model"))
            if mark.kind == STOPPED and name in found and (stop := stop_of(mark.body, app.models[name])) is not None:
                found[name].append(stop)
    return found


class CarefulLearner:
    """A learner in this very process that fails as one in a process of its own does: what it raises is `ModelFailed`.

    For systems on which processes cannot be forked. What hangs or dies still takes this process with it.

    Args:
        start: Makes it.
    """

    def __init__(self, start: Callable[[], BlockLearner]) -> None:
        self._start = start
        self._learner = start()

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        """See `BlockLearner.score_many`."""
        try:
            scores = np.asarray(self._learner.score_many(xs, cs), np.float64)
        except Exception as error:
            raise ModelFailed(f"it raised {type(error).__name__}: {error}") from error
        if scores.shape != (xs.shape[0],):
            raise ModelFailed(f"it gave scores of shape {scores.shape}, expected {(xs.shape[0],)}")
        return scores

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        """See `BlockLearner.learn_block`; where it fails, the state is as it was before."""
        before = self.packed()
        try:
            self._learner.learn_block(xs, cs, ys)
        except Exception as error:
            self._learner = self._start()
            self.keep(before)
            raise ModelFailed(f"it raised {type(error).__name__}: {error}") from error

    def packed(self) -> bytes:
        """The whole state as bytes."""
        state = self._learner.state()
        return encode(state.arrays, state.header)

    def keep(self, packed: bytes) -> None:
        """Go on from a state."""
        artifact = decode(packed, "state")
        self._learner.load(LearnerState(artifact.header, artifact.arrays))

    def state(self) -> LearnerState:
        """See `BlockLearner.state`."""
        return self._learner.state()

    def load(self, state: LearnerState) -> None:
        """See `BlockLearner.load`."""
        self._learner.load(state)
