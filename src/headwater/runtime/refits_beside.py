"""Refits of a running app: planned by the learner, fitted in a process beside it, taken over at a mark in the log.

A plan rests on clocks and measured costs, so it is no function of the events: what it leads to is. The fit reads examples
that the fold has saved, writes trees under their hash, and only then a mark goes into the log; the fold exchanges its trees
when it comes to the mark. A crash before the mark leaves the served model as it was, and the job on the ledger as lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from headwater.core.batch import Batch
from headwater.core.clock import Clock
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import DiskFull
from headwater.following.notices import PLANS, Notices
from headwater.planning.ledger import FILE_NAME, Ledger
from headwater.planning.planner import Evidence, Plan
from headwater.planning.rungs import Trees
from headwater.planning.upkeep import Order, Upkeep
from headwater.runtime.fitter import examples_of
from headwater.runtime.fitting import FitProcess
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.lane import Point
from headwater.runtime.marks import REFITS, Refit, planned
from headwater.runtime.places import PLANNING, STATE
from headwater.runtime.refitting import ASKED, plan_notice, slow_fit, upkeep_of
from headwater.runtime.stopping import recipe_of
from headwater.store.checkpoint import Checkpoints

_log = structlog.stdlib.get_logger("headwater.refits")


class RefitsBeside:
    """The refits of one running learner.

    Args:
        fold: Its fold, with a clock that charges models by their names; see `Fold.seconds`.
        folder: The state directory.
        registry: The registry's folder.
        notices: Where plans are said.
        clock: The budget counts on it.
        append: Appends a mark to the log.
        on_answer: Wakes the learner.
        store: The saved state: a fit reads its examples from there.
        command: Of the process that fits, for tests.
    """

    def __init__(
        self, fold: Fold, folder: Path, registry: Path, notices: Notices, clock: Clock, append: Callable[[Batch], object],
        on_answer: Callable[[], object], store: Checkpoints, command: list[str] | None = None,
    ) -> None:  # fmt: skip
        self._fold, self._notices, self._clock, self._append = fold, notices, clock, append
        self._store, self._folder = store, folder / PLANNING
        self._folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(self._folder / FILE_NAME)
        self._process = FitProcess(folder / STATE, registry / REFITS, clock, on_answer, command)
        self._job: tuple[str, Order] | None = None
        self._answer: dict[str, Any] | None = None
        self._fits = {name: fit for name, model in fold.app.models.items() if (fit := slow_fit(model)) is not None}
        self.upkeeps = {name: upkeep_of(fold.app.models[name], self.ledger) for name in self._fits}
        self._spent_s = dict.fromkeys(self.upkeeps, 0.0)
        for name, upkeep in self.upkeeps.items():
            upkeep.plans = partial(self._tell, name)
            upkeep.remember(examples_of(store, name, self._n_vector(name), upkeep.rungs.window)[:, 0])
            self._restore(name, upkeep)

    def _n_vector(self, name: str) -> int:
        model = self._fold.app.models[name]
        return len(model.numbers) + len(model.categories)

    def take(self, effects: Effects, lag_s: float) -> None:
        """Take in what a step has learnt, and decide at the points that it passed.

        Args:
            effects: Of the step.
            lag_s: How long the newest event of the step has waited for it.
        """
        for name, blocks in effects.examples.items():
            self.upkeeps[name].learn(np.concatenate(blocks))
        for name, sha256, n_trees in effects.refits:
            self.upkeeps[name].rungs.trees = Trees(n_trees, sha256)
            self._keep(name)  # before the fold saves that it is past the mark
        for name, point in effects.points:
            if point.seq > self.upkeeps[name].seq:  # else it is folded again after a crash
                self._decide(name, point, lag_s)

    def _decide(self, name: str, point: Point, lag_s: float) -> None:
        upkeep, spent_s = self.upkeeps[name], self._fold.seconds[name]
        upkeep.charge("fast", point.time_ms, spent_s - self._spent_s[name], point.tally.n)
        self._spent_s[name] = spent_s
        now_ms = self._clock.now_us() // 1000
        asked = ASKED if point.asked else ""
        order = upkeep.decide(point.seq, point.time_ms, point.tally, now_ms, asked, self._held(upkeep, lag_s))
        if order is not None:
            self._job = name, order
        self._keep(name)

    def _held(self, upkeep: Upkeep, lag_s: float) -> str:
        """Why no fit may begin now."""
        if self._job is not None:
            return "a fit is under way."
        freshness_s = upkeep.spec.freshness_s
        if freshness_s is not None and lag_s > freshness_s / 2:
            return f"the learner lags {lag_s:.1f} s behind the log, and answers may be {freshness_s:g} s old."
        return ""

    def poll(self) -> None:
        """Take over what has been fitted, if anything has; call it often."""
        if self._job is None:
            return
        name, order = self._job
        if not self._process.is_busy and self._answer is None:
            if self._store.seq() >= order.at:  # what it reads has been saved
                self._process.begin(self._said(name, order))
            return
        answer = self._answer or self._process.poll()
        if answer is None:
            return
        if answer["outcome"] == "served":
            refit = Refit(self._fold.app.models[name], answer["sha256"], answer["rows"], answer["core_s"], order.why, order.at)
            try:
                self._append(refit.mark(self._fold.watermarks.high_mark(), self._clock))
            except DiskFull as error:
                _log.warning("a refit waits for room on the disk", model=name, error=str(error))
                self._answer = answer
                return
            crashpoint("refit.marked")
        self._job = self._answer = None
        upkeep = self.upkeeps[name]
        start_s, self._process.start_core_s = self._process.start_core_s, 0.0
        upkeep.charge("start", order.at_ms, start_s)
        if answer["outcome"] == "served":
            upkeep.rungs.trees = None  # until the fold comes to the mark
        upkeep.ended(order, answer["core_s"], answer["outcome"], answer.get("failure", ""), answer.get("rows"))
        self._keep(name)

    def _said(self, name: str, order: Order) -> dict[str, Any]:
        """A job as the process that fits takes it."""
        return {
            "model": name, "fit": asdict(self._fits[name]), "rows": order.rows, "limit_core_s": order.limit_core_s,
            "at": order.at, "n_vector": self._n_vector(name), "more": order.more, "after": order.after,
            "windows": [asdict(window) for window in order.windows], "worth": order.worth,
        }  # fmt: skip

    def _tell(self, name: str, seq: int, time_ms: int, plan: Plan) -> None:
        try:
            self._notices.append_all(PLANS, [plan_notice(name, seq, time_ms, plan)])
        except DiskFull as error:
            _log.warning("a plan could not be said", model=name, why=plan.why, error=str(error))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _keep(self, name: str) -> None:
        """Write down what a restart has to know: either the whole of it or what was there before."""
        under_way = asdict(self._job[1]) if self._job is not None and self._job[0] == name else None
        own = {"under_way": under_way, "recipe": recipe_of(self._fold.app.models[name])}
        temporary = self._file(name).with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps({**self.upkeeps[name].kept(), **own}))
            temporary.replace(self._file(name))
        except OSError as error:
            _log.warning("the planner's state could not be kept", model=name, error=str(error))

    def _restore(self, name: str, upkeep: Upkeep) -> None:
        """Go on from what was kept; without anything, say in the log that refits are planned from here on."""
        if not self._file(name).exists():
            self._append(planned(self._fold.app.models[name], self._fold.watermarks.high_mark(), self._clock))
            self._keep(name)
            return
        found = json.loads(self._file(name).read_text())
        upkeep.restore(found)
        if found.get("recipe") != recipe_of(self._fold.app.models[name]):
            upkeep.rungs.trees = None  # they are of other features
        if found["under_way"] is not None:
            order = Order(**{**found["under_way"], "seen": Evidence(**found["under_way"]["seen"]), "windows": ()})
            # What it took died with the learner: no more than was reserved.
            upkeep.ended(order, order.limit_core_s, "lost", "the learner ended before it did")
            self._keep(name)

    def close(self) -> None:
        """End the process that fits; a fit under way is lost."""
        self._process.close()
        self.ledger.close()
