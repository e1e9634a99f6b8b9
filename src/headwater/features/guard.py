"""A model's guard as it runs: it looks at each question's vector before the model does, and says when a sensor fails.

Its state is part of the fold: verdicts depend on the questions before, in their order, and on nothing else. What is published
of it lets a gateway come to the same verdict about a question that is not in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.core.batch import Bytes, Floats, Ints
from headwater.features.guarding import (
    ABSTAIN,
    ACCEPTED,
    ASKED,
    BEGAN,
    CLIP,
    CONVERTED,
    EVERYTHING,
    KIND,
    KINDS,
    N_SEEN,
    N_STATE,
    N_TOLD,
    NULLS,
    SETTLED,
    T_FEATURE,
    T_FIRST,
    T_KIND,
    T_LATEST,
    T_PHASE,
    T_ROW,
    T_UNIT,
    T_VALUES,
    UNITS,
    UNSEEN,
    guard_alone,
    guard_in_order,
)  # fmt: skip
from headwater.features.limits import ACTIONS, DOING, Guard

WHOLE = "*"  # the whole vector's name
_ROOM = 256  # bursts that may begin or end before they are taken down
_PHASES = ("began", "ended", "settled")
_DONE = {"impute": "imputed", "clip": "clipped", "drop": "dropped", "abstain": "abstained", "quarantine": "quarantined"}


@dataclass(frozen=True, slots=True)
class Burst:
    """A failure of one feature that began or ended.

    Attributes:
        model: The model's name.
        feature: The feature's, or "*" for the whole vector.
        phase: "began", "ended", or "settled": it has lasted for so long that it is taken for what is usual now.
        what: What is wrong, as in `guarding.KINDS`.
        unit: For a change of units, which one was taken for which.
        action: What was done, as in `Limits.action`.
        first, latest: Places in the log of its first and its latest value.
        values: How many there were.
        seq: Place of the question at which it began or ended.
        time_ms: That question's event time.
    """

    model: str
    feature: str
    phase: str
    what: str
    unit: str
    action: str
    first: int
    latest: int
    values: int
    seq: int
    time_ms: int

    @property
    def id(self) -> str:
        """Follows from its cause: the same burst has the same id however often it is folded."""
        return f"guard/{self.model}/{self.feature}@{self.first}/{_PHASES[0] if self.phase == _PHASES[0] else _PHASES[1]}"

    def data(self) -> dict[str, Any]:
        """As it is said on `_incidents`."""
        unit = {"unit": self.unit} if self.unit else {}
        return {
            "kind": "guard", "model": self.model, "feature": self.feature, "phase": self.phase, "what": self.what, **unit,
            "action": self.action, "first_seq": self.first, "latest_seq": self.latest, "values": self.values,
        }  # fmt: skip


class Verdicts:
    """The part that a gateway shares: verdicts about single questions, by a published state.

    Args:
        guard: As declared.
        numbers: The names of the model's numbers.
        categories: Of its categories.
        model: The model's name.
    """

    def __init__(self, guard: Guard, numbers: Sequence[str], categories: Sequence[str], model: str) -> None:
        self.names, self.model = [*numbers, *categories, WHOLE], model
        self.n_categories = len(categories)
        self.limits = guard.matrix(self.names[:-1], model)
        self.pace, self.together = guard.pace(), guard.together

    def judge(self, xs: Floats, cs: Ints, state: Floats, seen: Bytes) -> tuple[Bytes, list[dict[str, str]]]:
        """Guard each row as the next question; changes the vectors in place.

        Args:
            xs: float64[n, d].
            cs: int64[n, k].
            state: float64[d + k + 1, N_STATE], as it was published.
            seen: uint8[k, N_SEEN], likewise.

        Returns:
            uint8[n], what becomes of each question (`guarding.ASKED` ...), and for each of them feature -> what was done.
        """
        fates, kinds = np.zeros(xs.shape[0], np.uint8), np.zeros((xs.shape[0], len(self.names)), np.uint8)
        guard_alone(xs, cs, self.limits, self.pace, state, seen, fates, kinds)
        said: list[dict[str, str]] = [{} for _ in range(xs.shape[0])]
        for row, feature in np.argwhere(kinds != ACCEPTED).tolist():
            kind = int(kinds[row, feature])
            said[row][self.names[feature]] = f"{KINDS[kind]}, {_DONE[self._action(feature, kind)]}"
        return fates, said

    def _action(self, feature: int, kind: int) -> str:
        if kind == EVERYTHING:
            return self.together
        action = int(self.limits[feature, DOING])
        if kind == UNSEEN and action <= CLIP:
            return "drop"
        return ACTIONS[action]


class GuardState(Verdicts):
    """One model's guard in the fold; see `Verdicts` for the arguments."""

    def __init__(self, guard: Guard, numbers: Sequence[str], categories: Sequence[str], model: str) -> None:
        super().__init__(guard, numbers, categories, model)
        n = len(self.names)
        self.state: Floats = np.zeros((n, N_STATE))
        self.seen: Bytes = np.zeros((self.n_categories, N_SEEN), np.uint8)
        self.counts: Ints = np.zeros((n, len(KINDS)), np.int64)
        self.fates_seen: Ints = np.zeros(3, np.int64)

    def step(self, places: Ints, xs: Floats, cs: Ints, seq: int, time: Ints) -> tuple[Bytes, list[Burst]]:
        """Guard a batch's questions in their order; changes the vectors in place.

        Args:
            places: int64[m], rows of the questions that take part.
            xs: float64[n, d].
            cs: int64[n, k].
            seq: The batch's place in the log.
            time: int64[n], event times.

        Returns:
            uint8[n], what becomes of each question, and the bursts that began or ended.
        """
        fates, bursts, at = np.zeros(xs.shape[0], np.uint8), list[Burst](), 0
        told, n_told = np.zeros((max(_ROOM, 4 * len(self.names)), N_TOLD), np.int64), np.zeros(1, np.int64)
        while at < places.size:
            n_told[0] = 0
            at = guard_in_order(
                at, places, xs, cs, self.limits, self.pace, self.state, self.seen, self.counts, seq, fates, told, n_told
            )
            bursts += [self._burst(row, seq, time) for row in told[: n_told[0]]]
        self.fates_seen += np.bincount(fates[places], minlength=3)
        return fates, bursts

    def _burst(self, row: Ints, seq: int, time: Ints) -> Burst:
        feature, kind = int(row[T_FEATURE]), int(row[T_KIND])
        action = self._action(feature, kind)
        unit = UNITS[row[T_UNIT] - 1] if kind == CONVERTED and row[T_UNIT] else ""
        return Burst(
            self.model, self.names[feature], _PHASES[row[T_PHASE]], KINDS[kind], unit, action, int(row[T_FIRST]),
            int(row[T_LATEST]), int(row[T_VALUES]), seq + int(row[T_ROW]), int(time[row[T_ROW]]),
        )  # fmt: skip

    def report(self) -> dict[str, Any]:
        """Counts since the beginning, for people: by feature, what was not accepted; what became of questions; open bursts."""
        features = {
            name: {KINDS[k]: int(n) for k, n in enumerate(counts) if k != ACCEPTED and n}
            for name, counts in zip(self.names, self.counts, strict=True)
        }
        open_ = {name: KINDS[int(kind)] for name, kind in zip(self.names, self.state[:, KIND], strict=True) if kind}
        asked, abstained, quarantined = self.fates_seen.tolist()
        return {
            "questions": asked + abstained + quarantined, "abstained": abstained, "quarantined": quarantined,
            "not_accepted": {name: kinds for name, kinds in features.items() if kinds}, "n_open": len(open_), "open": open_,
        }  # fmt: skip

    def arrays(self) -> dict[str, Any]:
        """What has to be kept; names are part of the format."""
        return {
            "guard.state": self.state, "guard.seen": self.seen, "guard.counts": self.counts, "guard.fates": self.fates_seen,
        }  # fmt: skip

    def restore(self, arrays: dict[str, Any]) -> None:
        for name, mine in self.arrays().items():
            mine[...] = arrays[name]

    @property
    def seen_mark(self) -> int:
        """Another number where another category was seen."""
        rows = slice(len(self.names) - 1 - self.n_categories, -1)
        return int(self.state[rows, NULLS].sum()) + int(self.counts[rows, UNSEEN].sum())


__all__ = ["ABSTAIN", "ASKED", "BEGAN", "SETTLED", "WHOLE", "Burst", "GuardState", "Verdicts"]
