"""Refits of slow models outside of the fold: who decides, and how it is done where nothing runs beside.

A fold comes to decision points; here they become plans. In a replay and in `LocalRun` a fit is carried out at once, and takes
effect right where it was decided: its cost is what the cost model says, never what was measured, so that the same events give
the same plans and the same bits. A running learner does it beside serving; see `refits_beside`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headwater.app import App, Model
from headwater.core.batch import Floats
from headwater.following.notices import PLANS, Notices, Said
from headwater.learning.fast import MAX_LEAVES
from headwater.learning.fast_lane import Fast
from headwater.learning.forest import Forest
from headwater.learning.protocol import Array
from headwater.learning.slow_fit import ENDED, SlowFit
from headwater.planning.declaring import updating
from headwater.planning.ledger import Job, Ledger
from headwater.planning.methods import GROWTH
from headwater.planning.planner import Plan
from headwater.planning.rungs import Rungs, Trees
from headwater.planning.sensors import Sensor
from headwater.planning.upkeep import Order, Upkeep
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.lane import Point
from headwater.runtime.places import FOLLOWING
from headwater.runtime.trying import try_windows

ASKED = "Refit: a person has asked for it."
_FIT_CORE_S, _FIT_CORE_S_PER_WORK = 0.005, 1.5e-8  # the cost model of a replay; see `planning.cost`
_FAST_CORE_S = 5e-6  # of each label that the fast layer learns


def slow_fit(model: Model) -> SlowFit | None:
    """How a model's slow part is fitted; None where it has none."""
    if not isinstance(model.learner, Fast):
        return None
    return model.learner.slow_fit(tuple(f.name for f in model.numbers), tuple(c.name for c in model.categories))


def upkeep_of(model: Model, ledger: Ledger) -> Upkeep:
    """Who decides on a model's refits; it has a slow part."""
    learner, fit = model.learner, slow_fit(model)
    assert isinstance(learner, Fast)
    assert learner.slow is not None
    assert fit is not None
    spec, absolute = updating(learner.update), learner.loss != "log"
    sensors = [Sensor(name, absolute=absolute) for name in spec.sensors]
    slow = learner.slow
    most_trees = min(GROWTH * slow.trees, MAX_LEAVES // slow.num_leaves)
    rungs = Rungs(spec.methods, slow.trees, most_trees, fit.work, slow.window, absolute=absolute)
    return Upkeep(model.name, spec, rungs, ledger, absolute=absolute, sensors=sensors)


def plan_notice(model: str, seq: int, time_ms: int, plan: Plan) -> Said:
    """A plan as it is said on `_plans`."""
    told = {"model": model, "seq": seq, "action": plan.action, "why": plan.why, "numbers": _finite(plan.numbers)}
    return Said(f"{model}@{seq} {plan.action} {plan.why}", time_ms, told)


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


class RefitsAtOnce:
    """Decides and fits in the fold's own turn; attach it to a fold that has learnt nothing.

    Args:
        app: The app.
        ledger: Where jobs are written down; None keeps them in memory.
        notices: Where plans are said; None says nothing.
        cost: Core-seconds of a fit of so much work.

    Attributes:
        plans: (model, place, event time, plan) of all that were told.
    """

    def __init__(
        self, app: App, ledger: Ledger | None = None, notices: Notices | None = None,
        cost: Callable[[float], float] = lambda work: _FIT_CORE_S + _FIT_CORE_S_PER_WORK * work,
    ) -> None:  # fmt: skip
        self.ledger, self._notices, self._cost = ledger or Ledger(), notices, cost
        self.plans: list[tuple[str, int, int, Plan]] = []
        self._fits = {name: fit for name, model in app.models.items() if (fit := slow_fit(model)) is not None}
        self.upkeeps = {name: upkeep_of(app.models[name], self.ledger) for name in self._fits}
        self._examples: dict[str, Floats] = {}
        self._forests: dict[str, Forest] = {}
        for name, upkeep in self.upkeeps.items():
            upkeep.plans = partial(self._tell, name)

    def attach(self, fold: Fold) -> None:
        """Have a fold's decision points decided here."""
        for name in self.upkeeps:
            learner: Any = fold.models[name].learner
            learner.on_point = partial(self._point, name)

    def take(self, effects: Effects) -> None:
        """Take in what a step has learnt after its last decision point."""
        for name, blocks in effects.examples.items():
            self._learn(name, blocks)

    def _learn(self, name: str, blocks: list[Floats]) -> None:
        if name in self.upkeeps and blocks:
            new = np.concatenate(blocks)
            self.upkeeps[name].learn(new)
            before = self._examples.get(name, new[:0])
            self._examples[name] = np.concatenate([before, new])[-self.upkeeps[name].rungs.window :]

    def _point(self, name: str, point: Point, blocks: list[Floats]) -> Mapping[str, Array] | None:
        self._learn(name, blocks)
        upkeep = self.upkeeps[name]
        upkeep.charge("fast", point.time_ms, _FAST_CORE_S * point.tally.n, point.tally.n)
        order = upkeep.decide(point.seq, point.time_ms, point.tally, point.time_ms, ASKED if point.asked else "")
        return None if order is None else self._fit(name, order)

    def _fit(self, name: str, order: Order) -> Mapping[str, Array] | None:
        upkeep, rows = self.upkeeps[name], order.rows
        core_s = self._cost(upkeep.rungs.amount(order.method, rows, order.windows))
        try:
            if order.windows:
                choice = try_windows(self._fits[name], self._examples[name], order.windows, order.worth)
                rows = 0 if choice.window is None else min(choice.window.n, rows)
                core_s = self._cost(upkeep.rungs.amount(order.method, rows, order.windows))
                if not rows:
                    upkeep.ended(order, core_s, "waits", choice.why, rows)
                    return None
            if core_s > order.limit_core_s:
                upkeep.ended(order, order.limit_core_s, "stopped", ENDED.format(order.limit_core_s), rows)
                return None
            forest = self._made(name, order, self._examples[name][-rows:])
        except Exception as error:  # noqa: BLE001 - a method may fail in any way; the served model stays
            upkeep.ended(order, core_s, "failed", f"{type(error).__name__}: {error}", rows)
            return None
        upkeep.ended(order, core_s, "served", rows=rows)
        self._forests[name], upkeep.rungs.trees = forest, Trees(forest.roots.size)
        return forest._asdict()

    def _made(self, name: str, order: Order, examples: Floats) -> Forest:
        fit = self._fits[name]
        return fit.grow(self._forests[name], order.more, examples) if order.more else fit.fit(examples)

    def _tell(self, name: str, seq: int, time_ms: int, plan: Plan) -> None:
        self.plans.append((name, seq, time_ms, plan))
        if self._notices is not None:
            said = plan_notice(name, seq, time_ms, plan)
            self._notices.append_all(PLANS, [said])


def jobs_report(ledger: Ledger, model: str | None = None) -> dict[str, Any]:
    """A ledger for people and programs: costs and gains by model, day and method, and their sums."""
    days = [{field: getattr(day, field) for field in day.__slots__} for day in ledger.days(model)]
    jobs: list[Job] = ledger.jobs(model=model)
    fits = [job for job in jobs if job.kind == "fit"]
    return {
        "core_seconds": sum(job.core_s for job in jobs), "gained_loss": sum(job.gained_loss for job in jobs),
        "updates": len(fits), "served": sum(job.outcome == "served" for job in fits), "days": days,
    }  # fmt: skip


def plans_said(folder: Path, model: str | None = None) -> list[dict[str, Any]]:
    """The plans of a state directory, oldest first: event time, model, place, action, why, numbers."""
    notices = Notices(folder / FOLLOWING)
    try:
        followed = notices.stream(PLANS)
        start, end = followed.bounds()
        said: list[dict[str, Any]] = []
        while start < end:
            page = followed.read(start, end - start, 1 << 30)
            data = page.rows.frames[PLANS].columns["data"].to_list()
            said += [{"time_ms": t, **json.loads(text)} for t, text in zip(page.rows.time.tolist(), data, strict=True)]
            start = page.next
    finally:
        notices.close()
    return [one for one in said if model is None or one["model"] == model]
