"""Rules that ask for a refit: calendars, drift sensors, metrics. They advise; the planner sees to budget and window."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from headwater.core.batch import Floats
from headwater.core.duration import format_ms
from headwater.evaluation.metrics import YES, exact_auc
from headwater.learning.mixture import losses
from headwater.planning.declaring import Calendar, Updating, When


class Sensor(Protocol):
    """A drift detector."""

    def feed(self, errors: Floats) -> bool:
        """Look at the errors float64[n] of labels in the order in which they came; whether it alarmed."""


class Rules:
    """The rules of one model.

    Args:
        spec: As declared.
        absolute: Whether labels are numbers, judged by their distance.
        sensors: One for each of `spec.sensors`.

    Attributes:
        core_s: What sensors have taken, measured, since `spent`.
    """

    def __init__(self, spec: Updating, sensors: Sequence[Sensor], *, absolute: bool) -> None:
        self._spec, self._sensors, self._absolute = spec, sensors, absolute
        self._alarms: list[str] = []
        over = max((when.metric.over for when in spec.conditions), default=0)
        self._newest: Floats = np.zeros((0, 2))
        self._over, self.core_s = over, 0.0
        self._due: list[float] = [0.0 if rule.every_ms else float(rule.every_labels) for rule in spec.calendars]

    def learn(self, judged: Floats) -> None:
        """Look at float64[n, 2]: labels, and what was said before they were known."""
        if self._sensors:
            began = time.thread_time()
            lost = losses(judged[:, 1], judged[:, 0], absolute=self._absolute)
            for name, sensor in zip(self._spec.sensors, self._sensors, strict=True):
                if sensor.feed(lost):
                    self._alarms.append(name)
            self.core_s += time.thread_time() - began
        if self._over:
            self._newest = np.concatenate([self._newest, judged])[-self._over :]

    def fired(self, time_ms: int, n_known: int, *, is_fresh: bool) -> str:
        """Why a refit is asked for at a decision point; empty where it is not. Calendars then wait for their next turn.

        While the last update is fresh, metrics are not looked at: they still speak of the model before.
        """
        found = [text for i, rule in enumerate(self._spec.calendars) if (text := self._rang(i, rule, time_ms, n_known))]
        found += [f"{name} has alarmed" for name in self._alarms]
        found += [when.describe() for when in self._spec.conditions if not is_fresh and self._holds(when)]
        self._alarms = []
        return f"Refit: {', '.join(found)}." if found else ""

    def _rang(self, i: int, rule: Calendar, time_ms: int, n_known: int) -> str:
        now = time_ms if rule.every_ms else n_known
        due, step, offset = self._due[i], rule.every_ms or rule.every_labels, rule.offset_ms if rule.every_ms else 0
        if now < due:
            return ""
        self._due[i] = float((now - offset) // step * step + offset + step)
        if due == 0.0:
            return ""  # the first event only says where the calendar starts
        return f"{format_ms(step)} have passed" if rule.every_ms else f"{step} labels have come"

    def _holds(self, when: When) -> bool:
        rows = self._newest[-when.metric.over :]
        if rows.shape[0] < when.metric.over:
            return False
        value = measure(when.metric.name, rows)
        return value < when.bound if when.side == "<" else value > when.bound

    def spent(self) -> float:
        """Core-seconds of sensors since the last time."""
        spent, self.core_s = self.core_s, 0.0
        return spent

    def kept(self) -> dict[str, Any]:
        """What a restart has to know; sensors start anew."""
        return {"due": self._due, "newest": self._newest.tolist()}

    def restore(self, kept: dict[str, Any]) -> None:
        if len(kept["due"]) == len(self._due):
            self._due = list(kept["due"])
        self._newest = np.array(kept["newest"], np.float64).reshape(-1, 2)


def measure(name: str, judged: Floats) -> float:
    """A metric of float64[n, 2] labels and answers."""
    label, said = judged[:, 0], judged[:, 1]
    if name == "auc":
        return exact_auc((label >= YES).astype(np.float64), said)
    if name == "accuracy":
        return float(((said >= YES) == (label >= YES)).mean())
    if name == "rmse":
        return float(np.sqrt(np.mean((said - label) ** 2)))
    return float(losses(said, label, absolute=name == "mae").mean())
