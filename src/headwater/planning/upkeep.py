"""One slow model's upkeep: evidence in, plans out, every core-second on the ledger.

It puts together what a decision needs: what the fast layer has lost, which labels a fit would read, what that may cost, what
the rules ask for. It fits nothing: whoever carries an order out says how that ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.evaluation.metrics import YES
from headwater.learning.protocol import Tally
from headwater.planning.bucket import Bucket
from headwater.planning.declaring import Updating
from headwater.planning.keeping import kept, put_back
from headwater.planning.ledger import Job, Ledger
from headwater.planning.methods import Name
from headwater.planning.planner import Evidence, Plan, Planner, Policy
from headwater.planning.probe import FRESH_POINTS
from headwater.planning.rules import Rules, Sensor
from headwater.planning.rungs import Rungs
from headwater.planning.windows import WORTH, Window

_AT_LIMIT = 0.8  # of its limit: a fit that was stopped after so much was too expensive, not asleep
_ELSEWHERE = ("policy", "ladder")  # attributes of the planner that are declared, or kept by the rungs
_NUMBERS = re.compile(r"[\d.e+-]+")


@dataclass(frozen=True, slots=True)
class Order:
    """A fit to be carried out.

    Attributes:
        at: Place in the log of the decision.
        at_ms: Its event time.
        rows: The newest examples that it reads; where windows are tried, the most that it may learn from.
        method: "full", "window" or "steps".
        seen: What was known.
        limit_core_s: What was reserved: it is stopped when it has taken that.
        why: The plan's sentence.
        more: Trees to add to those that serve; 0 fits all of them anew.
        after: Hash of those that serve; empty where they have no file.
        windows: To be tried before one is refitted on, longest first; none is a refit on `rows`.
        worth: Loss a label for which a window with few labels waits.
    """

    at: int
    at_ms: int
    rows: int
    method: Name
    seen: Evidence
    limit_core_s: float
    why: str
    more: int = 0
    after: str = ""
    windows: tuple[Window, ...] = ()
    worth: float = 0.0


class Upkeep:
    """Decides for one model.

    Args:
        model: Its name.
        spec: As declared.
        rungs: What can be done about its slow part.
        ledger: Where jobs are written down.
        absolute: Whether labels are numbers.
        sensors: One for each of `spec.sensors`.

    Attributes:
        plans: Told of every plan that is not "wait", and of each whose reason is another than before: (place, time, plan).
    """

    def __init__(
        self, model: str, spec: Updating, rungs: Rungs, ledger: Ledger, *, absolute: bool,
        sensors: Sequence[Sensor] | None = None,
    ) -> None:  # fmt: skip
        # What gives up has no mark in the log to take effect at.
        policy = Policy(by_itself=spec.by_itself, first_by_itself=spec.first_by_itself, gives_up=False)
        self.model, self.spec, self.rungs = model, spec, rungs
        self.planner = Planner(policy, Bucket(spec.rate, spec.depth, spec.first), rungs.ladder if rungs.chooses else None)
        self.ledger, self._absolute = ledger, absolute
        self.rules = Rules(spec, sensors or [], absolute=absolute)
        self.plans: Callable[[int, int, Plan], None] = lambda *_: None
        self.seq = -1
        self._before_ms, self._last_kind, self._method, self._n_points = -1, "", "", FRESH_POINTS
        self._put_off = ""  # why a rule wants a fit, while none may begin after those that failed

    def learn(self, examples: Floats) -> None:
        """Take in float64[n, 2 or more] examples in the order in which they were learnt: label, answer, ..."""
        self.rungs.learn(examples[:, 0])
        self.rules.learn(examples[:, :2])

    def remember(self, labels: Floats) -> None:
        """After a restart: the labels of the window, which were taken in before."""
        self.rungs.labels = np.array(labels)[-self.rungs.window :]

    def decide(self, at: int, at_ms: int, tally: Tally, now_ms: int, asked: str = "", held: str = "") -> Order | None:
        """What to do at a decision point; an order where a fit shall begin.

        Args:
            at: The point's place in the log.
            at_ms: Its event time.
            tally: What was lost since the one before.
            now_ms: By the clock that the budget counts on.
            asked: Why a person wants a fit; empty where none does.
            held: Why no fit may begin now, whatever the plan: one is under way, or the learner lags behind.
        """
        elapsed = (now_ms - self._before_ms) / 1000 if self._before_ms >= 0 else 0.0
        self._before_ms, self.seq = now_ms, at
        self._charge_sensors(at_ms)
        self._n_points += 1
        rule = self.rules.fired(at_ms, tally.n_known, is_fresh=self._n_points <= FRESH_POINTS) or self._put_off
        why, self._put_off = asked or rule, ""
        self._gain(at_ms, tally)
        if held:
            self.planner.bucket.advance(elapsed)
            if why:
                self._tell(at, at_ms, Plan("wait", f"{why} But {held}"))
            return None
        rows = self.rungs.rows(self.planner.bucket.level)
        seen = self._evidence(tally, rows, elapsed)
        plan = self.planner.decide(seen, asked, rule)
        if self.planner.probe.owed == 0.0:
            self.rungs.is_calm(tally.n_known)
        self._put_off = rule if plan.action == "wait" else ""
        self._tell(at, at_ms, plan)
        return self._order(at, at_ms, seen, plan) if plan.action == "fit" else None

    def _order(self, at: int, at_ms: int, seen: Evidence, plan: Plan) -> Order:
        rungs, limit_core_s = self.rungs, plan.numbers["reserved_core_s"]
        if plan.method == "steps":
            assert rungs.trees is not None
            more, rows = rungs.ladder.methods["steps"].trees, rungs.new_rows(seen.n_known)
            return Order(at, at_ms, rows, "steps", seen, limit_core_s, plan.why, more, rungs.trees.sha256)
        if plan.method == "window":
            windows, worth = rungs.windows(seen.n_known), WORTH * self.planner.loss_scale
            return Order(at, at_ms, seen.n_window, "window", seen, limit_core_s, plan.why, windows=windows, worth=worth)
        method: Name = "full" if seen.n_window >= seen.n_known else "window"
        return Order(at, at_ms, seen.n_window, method, seen, limit_core_s, plan.why)

    def ended(self, order: Order, core_s: float, outcome: str, failure: str = "", rows: int | None = None) -> None:
        """An order has been carried out, or not: "served", "waits", "failed", "stopped" or "lost".

        Args:
            order: The order.
            core_s: What it has taken.
            outcome: What came of it; "waits" is a window in which there are too few labels yet.
            failure: Why it is not served.
            rows: That it learnt from, where it was not `order.rows`.
        """
        rows = order.rows if rows is None else rows
        job = Job(order.at_ms, "fit", rows, order.limit_core_s, core_s, outcome, order.why, self.model, order.method)
        self.ledger.append(job)
        if outcome == "waits":
            self.planner.postponed(core_s)
            self._tell(order.at, order.at_ms, Plan("refuse", f"Wait: {failure} The served model stays.", {"core_s": core_s}))
            return
        self.planner.ended(order.seen, core_s, served=outcome == "served")
        if outcome == "stopped" and core_s >= _AT_LIMIT * order.limit_core_s:
            self.rungs.ended(order.method, rows, core_s, order.windows)
        if outcome == "served":
            self.rungs.served(order.method, order.seen.n_known, rows, core_s, order.windows)
            self._method, self._n_points = order.method, 0
            return
        why = f"The fit failed after {core_s:.3g} core-seconds ({failure or outcome}). The served model stays."
        self._tell(order.at, order.at_ms, Plan("refuse", why, {"core_s": core_s}))

    def charge(self, kind: str, at_ms: int, core_s: float, rows: int = 0) -> None:
        """What was spent without asking: learning of the fast layer, evidence, sensors."""
        if core_s > 0:
            self.planner.bucket.charge(core_s)
            self.ledger.append(Job(at_ms, kind, rows, 0.0, core_s, "done", "", self.model, "fast"))

    def _charge_sensors(self, at_ms: int) -> None:
        self.charge("sensor", at_ms, self.rules.spent())

    def _gain(self, at_ms: int, tally: Tally) -> None:
        """What the slow model has spared us since the last decision point; negative where it did harm."""
        gained = tally.n * (tally.losses.get("bare", np.nan) - tally.losses.get("served", np.nan))
        if self._method and np.isfinite(_model(tally)) and np.isfinite(gained):
            self.ledger.append(Job(at_ms, "gain", tally.n, 0.0, 0.0, "done", "", self.model, self._method, gained))

    def _evidence(self, tally: Tally, rows: int, elapsed: float) -> Evidence:
        labels = self.rungs.labels
        yes = int((labels[labels.size - rows :] >= YES).sum())
        rarer = None if self._absolute else min(yes, rows - yes)
        unchanged = _number(tally.losses.get("no change", np.nan))
        costs, most = self.rungs.prices(tally.n_known, rows)
        return Evidence(
            tally.n, _probe(tally), _number(_model(tally)), unchanged, tally.n_known, rows, rarer, costs["full"], elapsed,
            costs=costs, most=most,
        )  # fmt: skip

    def _tell(self, at: int, at_ms: int, plan: Plan) -> None:
        kind = plan.action + _NUMBERS.sub("", plan.why)
        if plan.action != "wait" or kind != self._last_kind:
            self.plans(at, at_ms, plan)
        self._last_kind = kind

    def kept(self) -> dict[str, Any]:
        """What a restart has to know, as JSON can say it."""
        own = {"seq": self.seq, "before_ms": self._before_ms, "last_kind": self._last_kind, "method": self._method}
        planner = {name: value for name, value in kept(self.planner).items() if name not in _ELSEWHERE}
        return {"own": own, "planner": planner, "rungs": self.rungs.kept(), "rules": self.rules.kept()}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on from what was kept; budget and settings are those of the present declaration."""
        own = found["own"]
        self.seq, self._before_ms = int(own["seq"]), int(own["before_ms"])
        self._last_kind, self._method = own["last_kind"], own["method"]
        put_back(self.planner, found["planner"], skip=_ELSEWHERE)
        if "rungs" in found:
            self.rungs.restore(found["rungs"])
        else:  # of a release that knew full refits only
            put_back(self.rungs.ladder.methods["full"].costs, found["costs"])
        self.rules.restore(found["rules"])
        self.planner.bucket.resize(self.spec.rate, self.spec.depth)


def _probe(tally: Tally) -> float:
    """What the better one of the learners without trees has lost."""
    return _number(_least(tally, "bold", "careful"))


def _model(tally: Tally) -> float:
    """What the slow model has lost, by itself or with its leaves learnt on; NaN where there is none."""
    return _least(tally, "leaves", "slow")


def _least(tally: Tally, *names: str) -> float:
    both = [tally.losses.get(name, np.nan) for name in names]
    return min(both, key=lambda loss: np.inf if np.isnan(loss) else loss)


def _number(loss: float) -> float:
    return float(loss) if np.isfinite(loss) else 0.0
