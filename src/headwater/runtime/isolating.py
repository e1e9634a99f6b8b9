"""Which models of an app run in processes of their own, and who answers for them.

Those whose arithmetic is ours and compiled stay where they are: they cannot hang or run away, and a call to them costs less
than a message. All others (River, scikit-learn, LightGBM, a user's own class) are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from headwater.app import App, Model
from headwater.core.clock import Clock
from headwater.core.seals import Seal
from headwater.following.notices import INCIDENTS, Notices
from headwater.learning.protocol import BlockLearner
from headwater.runtime.settings import Server, Settings
from headwater.runtime.stopping import CarefulLearner
from headwater.runtime.trust import Trust
from headwater.serving.guarded import GuardedLane
from headwater.serving.isolation import IsolatedLearner
from headwater.serving.lanes import Scorer
from headwater.serving.nursery import Nursery, can_isolate
from headwater.serving.parts import FastLane, Lanes, lane_here

_START_S = 10.0  # for a state to be loaded where nobody waits for an answer

_log = structlog.stdlib.get_logger("headwater.models")


def is_foreign(model: Model) -> bool:
    """Whether a model's learner is code that is not ours."""
    return model.lane is not None and not getattr(model.lane, "is_compiled", False)


def foreign(app: App) -> dict[str, Model]:
    """The models whose learners are kept apart."""
    return {name: model for name, model in app.models.items() if is_foreign(model)}


def names(model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a model's numbers, and of its categories."""
    return tuple(f.name for f in model.numbers), tuple(c.name for c in model.categories)


def nursery_for(app: App, memory_mb: int) -> Nursery | None:
    """Forks the nursery of an app's models; None where none needs one, or where processes cannot be forked.

    Call it before this process has threads, and before it opens anything that its forks should not hold.
    """
    starts = {name: _start(model) for name, model in foreign(app).items()}
    if not starts:
        return None
    if not can_isolate():
        _log.warning("models run in this process: it cannot be forked here", models=list(starts))
        return None
    return Nursery(starts, memory_mb << 20)


def _start(model: Model) -> Callable[[], BlockLearner]:
    learner = model.lane
    assert learner is not None
    return lambda: learner.start(*names(model))


def scorers(
    app: App, nursery: Nursery | None, settings: Server, seal: Seal, on_open: Callable[[str, str, int], None]
) -> Lanes:  # fmt: skip
    """Who answers for each model of the event lane."""
    found: dict[str, Scorer | FastLane] = {}
    for number, (name, model) in enumerate(app.models.items()):
        if model.lane is None:
            continue
        if nursery is not None and is_foreign(model):
            found[name] = GuardedLane(
                name, model.lane.loss, _isolated(nursery, name), settings.model_deadline_ms / 1000, seal, on_open
            )
        else:
            numbers, categories = names(model)
            found[name] = lane_here(name, number, model.lane, (*numbers, *categories), len(numbers), seal)
    return found


def lanes_of(
    app: App, settings: Settings, nursery: Nursery | None, on_open: Callable[[str, str, int], None]
) -> Lanes:  # fmt: skip
    """`scorers` of an installation; an app without such models needs no key for them."""
    if all(model.lane is None for model in app.models.values()):
        return {}
    return scorers(app, nursery, settings.server, Trust.of(settings.registry_dir).seal, on_open)


def _isolated(nursery: Nursery, name: str) -> Callable[[], IsolatedLearner]:
    return lambda: IsolatedLearner(nursery, name, _START_S)


def learners(app: App, nursery: Nursery | None, deadline_s: float) -> dict[str, Callable[[], BlockLearner]]:
    """What makes the learner of each foreign model for the fold: apart where there is a nursery, else carefully here."""
    return {name: _learner(name, model, nursery, deadline_s) for name, model in foreign(app).items()}


def _learner(name: str, model: Model, nursery: Nursery | None, deadline_s: float) -> Callable[[], BlockLearner]:
    if nursery is None:
        return lambda: CarefulLearner(_start(model))
    return lambda: IsolatedLearner(nursery, name, deadline_s)


def guarded(lanes: Lanes) -> dict[str, GuardedLane]:
    """Those that run apart."""
    return {name: lane for name, lane in lanes.items() if isinstance(lane, GuardedLane)}


def teller(notices: Notices, clock: Clock, ring: Callable[[], None]) -> Callable[[str, str, int], None]:
    """What notes on `_incidents` that a breaker has opened."""

    def tell(model: str, reason: str, seq: int) -> None:
        _log.error("a model fails; it is asked again after a pause", model=model, reason=reason)
        now_ms = clock.now_us() // 1000
        told = {"kind": "model.failing", "model": model, "reason": reason, "seq": seq}
        notices.append(INCIDENTS, f"model.failing@{model}@{now_ms}", now_ms, told)
        ring()

    return tell
