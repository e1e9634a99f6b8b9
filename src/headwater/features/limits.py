"""What a model's guard is told: which values of a feature are possible, and what becomes of those that are not.

Pure description; `guarding` holds the arithmetic and `guard` the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, isfinite, isnan, nan
from typing import Any, Literal, get_args

import numpy as np

from headwater.core.batch import Floats
from headwater.core.errors import DeclarationError, nearest

Action = Literal["impute", "clip", "drop", "abstain", "quarantine"]
ACTIONS: tuple[str, ...] = get_args(Action)
LOW, HIGH, MOST_STEP, STUCK, LEARNT, SETTLE, DOING, N_LIMITS = range(8)  # columns of `Guard.matrix`


@dataclass(frozen=True, slots=True)
class Limits:
    """What one feature may be, and what is done where it is not.

    Attributes:
        low, high: A value outside is never accepted, however long it lasts; None: no such bound.
        step: Greatest change from one question to the next; None: learnt, if `learnt`.
        stuck: So many equal values in a row are a stuck sensor; None: learnt, if `learnt`.
        learnt: Learn from accepted values what is usual: the greatest step, how often values repeat, how often they are
            missing, and, for a category, how often an unseen value comes. What is far from it is not accepted.
        settle: After so many values in a row that were not usual they are taken for the new usual, so that a guard
            never locks out what has really changed. Declared bounds, infinities and values beyond 1e100 never settle.
        action: "impute": a stand-in is used, made from what was accepted before, in the right unit where one was mistaken.
            "clip": the nearest value that would be accepted. "drop": the value counts as missing. "abstain": the question is
            answered by "no change", judged, and not learnt. "quarantine": the model is not asked; the answer says "no
            change", and the question is neither judged nor learnt. A category has no stand-in and no nearest value: "impute"
            and "clip" drop it.
    """

    low: float | None = None
    high: float | None = None
    step: float | None = None
    stuck: int | None = None
    learnt: bool = True
    settle: int = 200
    action: Action = "impute"

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            _check(
                value is None or (_is_number(value) and isfinite(value)), f"Limits.{name}", "a finite number, or None", value
            )
        _check(self.step is None or self.step > 0, "Limits.step", "a positive number, or None", self.step)
        _check(self.low is None or self.high is None or self.low < self.high, "Limits", "low < high", (self.low, self.high))
        _check(self.stuck is None or (_is_whole(self.stuck) and self.stuck > 1), "Limits.stuck", "at least 2", self.stuck)
        _check(isinstance(self.learnt, bool), "Limits.learnt", "True or False", self.learnt)
        _check(_is_whole(self.settle) and self.settle > 0, "Limits.settle", "a positive number of values", self.settle)
        _check(self.action in ACTIONS, "Limits.action", " or ".join(ACTIONS), self.action)

    def row(self) -> list[float]:
        """The numbers that the kernel reads; NaN where nothing is declared."""
        return [
            -inf if self.low is None else float(self.low), inf if self.high is None else float(self.high),
            nan if self.step is None else float(self.step), float(self.stuck or 0), float(self.learnt), float(self.settle),
            float(ACTIONS.index(self.action)),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guard:
    """Looks at each question's features before the model does: `hw.Model(..., guard=hw.Guard())`.

    It accepts a feature's value, or does what its limits say. Types need no guard: the door refuses an event with a field of
    the wrong type.

    Attributes:
        limits: By the feature's name, or by the field's alone where no two features have it.
        otherwise: For all other features.
        warm_up: What is learnt is held against values only after so many were accepted.
        together: What becomes of a question of whose numbers half, and at least three, are missing at once that hardly ever
            are, as when a whole site falls silent: "impute" leaves it to each feature's limits.
        quiet: A burst is over after so many accepted values; until then, whatever comes belongs to it and is not said again.
    """

    limits: Mapping[str, Limits] = field(default_factory=dict)
    otherwise: Limits = field(default_factory=Limits)
    together: Literal["impute", "abstain", "quarantine"] = "abstain"
    warm_up: int = 300
    quiet: int = 12

    def __post_init__(self) -> None:
        for name, limits in {**self.limits, "otherwise": self.otherwise}.items():
            _check(isinstance(limits, Limits), f"Guard {name}", "hw.Limits(...)", limits)
        _check(self.together in ("impute", *ACTIONS[3:]), "Guard.together", "impute, abstain or quarantine", self.together)
        _check(_is_whole(self.warm_up) and self.warm_up > 0, "Guard.warm_up", "a positive number of values", self.warm_up)
        _check(_is_whole(self.quiet) and self.quiet > 0, "Guard.quiet", "a positive number of values", self.quiet)

    def named(self, names: Sequence[str], model: str) -> list[Limits]:
        """The limits of features of these names, in their order.

        Raises:
            DeclarationError: Limits are given for what is no feature, or twice for one.
        """
        found: dict[str, Limits] = {}
        for name, limits in self.limits.items():
            meant = [n for n in names if name in (n, n.rpartition(".")[2])]
            if name in meant:
                meant = [name]
            if len(meant) != 1 or meant[0] in found:
                raise DeclarationError(
                    "limits are given for no feature, or for several" if len(meant) != 1 else "limits are given twice",
                    where=f"{model}: guard", expected="the name of one feature", got=name,
                    next_step=nearest(name, meant or names),
                )  # fmt: skip
            found[meant[0]] = limits
        return [found.get(name, self.otherwise) for name in names]

    def matrix(self, names: Sequence[str], model: str) -> Floats:
        """float64[n, N_LIMITS], what the kernel reads of each feature."""
        return np.array([limits.row() for limits in self.named(names, model)], np.float64).reshape(-1, N_LIMITS)

    def describe(self) -> dict[str, Any]:
        """The declaration as plain data."""
        limits = {name: asdict(given) for name, given in sorted(self.limits.items())}
        return {
            "limits": limits, "otherwise": asdict(self.otherwise), "together": self.together, "warm_up": self.warm_up,
            "quiet": self.quiet,
        }  # fmt: skip

    def pace(self) -> Floats:
        """float64[3], what the kernel reads beside the limits."""
        return np.array([self.warm_up, self.quiet, max(0, ACTIONS.index(self.together) - 2)], np.float64)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(ok: bool, where: str, expected: str, got: object) -> None:
    if not ok:
        raise DeclarationError("a limit is out of range", where=where, expected=expected, got=repr(got))
