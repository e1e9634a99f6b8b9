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
from headwater.planning.cost import CostModel
from headwater.planning.declaring import Updating
from headwater.planning.keeping import kept, put_back
from headwater.planning.ledger import Job, Ledger
from headwater.planning.planner import Evidence, Plan, Planner, Policy
from headwater.planning.probe import FRESH_POINTS
from headwater.planning.rules import Rules, Sensor

WINDOWS = (1.0, 0.5, 0.25, 0.125)  # shares of the known labels; the largest that the budget can pay
_AT_LIMIT = 0.8  # of its limit: a fit that was stopped after so much was too expensive, not asleep
_NUMBERS = re.compile(r"[\d.e+-]+")


@dataclass(frozen=True, slots=True)
class Order:
    """A fit to be carried out.

    Attributes:
        at: Place in the log of the decision.
        at_ms: Its event time.
        rows: The newest examples that it reads.
        method: "full" or "window".
        seen: What was known.
        limit_core_s: What was reserved: it is stopped when it has taken that.
        why: The plan's sentence.
    """

    at: int
    at_ms: int
    rows: int
    method: str
    seen: Evidence
    limit_core_s: float
    why: str


class Upkeep:
    """Decides for one model.

    Args:
        model: Its name.
        spec: As declared.
        work: What the cost of a fit on so many rows grows with.
        window: The most labels that a fit learns from.
        ledger: Where jobs are written down.
        absolute: Whether labels are numbers.
        sensors: One for each of `spec.sensors`.

    Attributes:
        plans: Told of every plan that is not "wait", and of each whose reason is another than before: (place, time, plan).
    """

    def __init__(
        self, model: str, spec: Updating, work: Callable[[int], float], window: int, ledger: Ledger, *, absolute: bool,
        sensors: Sequence[Sensor] | None = None,
    ) -> None:  # fmt: skip
        policy = Policy(by_itself=spec.by_itself, first_by_itself=spec.first_by_itself)
        self.model, self.spec, self.work, self.window = model, spec, work, window
        self.planner = Planner(policy, Bucket(spec.rate, spec.depth, spec.first))
        self.costs, self.ledger, self._absolute = CostModel(), ledger, absolute
        self.rules = Rules(spec, sensors or [], absolute=absolute)
        self.plans: Callable[[int, int, Plan], None] = lambda *_: None
        self.seq = -1
        self._labels: Floats = np.zeros(0)
        self._before_ms, self._last_kind, self._method, self._n_points = -1, "", "", FRESH_POINTS
        self._put_off = ""  # why a rule wants a fit, while none may begin after those that failed

    def learn(self, examples: Floats) -> None:
        """Take in float64[n, 2 or more] examples in the order in which they were learnt: label, answer, ..."""
        self._labels = np.concatenate([self._labels, examples[:, 0]])[-self.window :]
        self.rules.learn(examples[:, :2])

    def remember(self, labels: Floats) -> None:
        """After a restart: the labels of the window, which were taken in before."""
        self._labels = np.array(labels)[-self.window :]

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
        rows = self._rows()
        seen = self._evidence(tally, rows, elapsed)
        plan = self.planner.decide(seen, asked, rule)
        self._put_off = rule if plan.action == "wait" else ""
        self._tell(at, at_ms, plan)
        if plan.action != "fit":
            return None
        method = "full" if rows >= tally.n_known else "window"
        return Order(at, at_ms, rows, method, seen, plan.numbers["reserved_core_s"], plan.why)

    def ended(self, order: Order, core_s: float, outcome: str, failure: str = "") -> None:
        """An order has been carried out, or has failed: "served", "failed", "stopped" or "lost"."""
        served = outcome == "served"
        self.planner.ended(order.seen, core_s, served=served)
        self.ledger.append(
            Job(order.at_ms, "fit", order.rows, order.limit_core_s, core_s, outcome, order.why, self.model, order.method)
        )
        if outcome == "stopped" and core_s >= _AT_LIMIT * order.limit_core_s:
            self.costs.ended(self.work(order.rows), core_s)
        if served:
            self.costs.observe(self.work(order.rows), core_s)
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

    def _rows(self) -> int:
        """The newest labels: as many as the budget can pay now, but no fewer than an eighth."""
        n = self._labels.size
        for share in WINDOWS:
            rows = int(n * share)
            if self.costs.upper(self.work(rows)) <= self.planner.bucket.level:
                return rows
        return n

    def _evidence(self, tally: Tally, rows: int, elapsed: float) -> Evidence:
        yes = int((self._labels[self._labels.size - rows :] >= YES).sum())
        rarer = None if self._absolute else min(yes, rows - yes)
        unchanged = _number(tally.losses.get("no change", np.nan))
        work = self.work(rows)
        return Evidence(
            tally.n, _probe(tally), _number(_model(tally)), unchanged, tally.n_known, rows, rarer, self.costs.upper(work),
            elapsed, most_core_s=self.costs.most(work),
        )  # fmt: skip

    def _tell(self, at: int, at_ms: int, plan: Plan) -> None:
        kind = plan.action + _NUMBERS.sub("", plan.why)
        if plan.action != "wait" or kind != self._last_kind:
            self.plans(at, at_ms, plan)
        self._last_kind = kind

    def kept(self) -> dict[str, Any]:
        """What a restart has to know, as JSON can say it."""
        own = {"seq": self.seq, "before_ms": self._before_ms, "last_kind": self._last_kind, "method": self._method}
        return {"own": own, "planner": kept(self.planner), "costs": kept(self.costs), "rules": self.rules.kept()}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on from what was kept; budget and settings are those of the present declaration."""
        own = found["own"]
        self.seq, self._before_ms = int(own["seq"]), int(own["before_ms"])
        self._last_kind, self._method = own["last_kind"], own["method"]
        put_back(self.planner, found["planner"], skip=("policy",))
        put_back(self.costs, found["costs"])
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
