"""When to stop using what was learnt: the probe takes over from a slow model that it beats, or everything is forgotten.

Both save compute and limit harm where no fit helps. That the probe is better has to be shown by the gate, which may be
looked at after each label, and counts only where the budget does not even pay the fast layer; that everything is worse than
"no change" has to last for several decision points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from headwater.core.batch import Floats
from headwater.planning.gate import Gate
from headwater.planning.methods import Name

_ALPHA = 0.01
_BOUND = 2.0  # paired losses are clipped to so many losses of "no change"
_POINTS = 5  # decision points running
_WORSE = 0.05  # than "no change", as a share of its loss


class Losses(Protocol):
    """What is asked of the evidence: see `planner.Evidence`."""

    @property
    def probe_loss(self) -> float: ...

    @property
    def model_loss(self) -> float: ...

    @property
    def unchanged_loss(self) -> float: ...

    @property
    def paired(self) -> Floats | None: ...


@dataclass(slots=True, eq=False)
class Despair:
    """What has been shown against one served version.

    Attributes:
        gate: The comparison of the probe with the learner that uses the version.
        n_hopeless: Decision points running at which both lost to "no change".
        is_resting: Whether the version has been put to rest.
    """

    gate: Gate = field(default_factory=lambda: Gate(_ALPHA))
    n_hopeless: int = 0
    is_resting: bool = field(default=False)

    def observe(self, seen: Losses, scale: float, *, is_overdrawn: bool) -> tuple[str, Name]:
        """The new labels' losses. Returns why to give up and how, or "" and "fast".

        Args:
            seen: The evidence.
            scale: Mean loss of "no change".
            is_overdrawn: Whether the budget does not even pay the fast layer. Otherwise the slow model is kept: as one expert
                among others it helps, though the probe alone may be better than the learner on its leaves.
        """
        line = (1.0 + _WORSE) * seen.unchanged_loss
        hopeless = seen.probe_loss > line and (self.is_resting or seen.model_loss > line)
        self.n_hopeless = self.n_hopeless + 1 if hopeless else 0
        if self.n_hopeless >= _POINTS:
            self.n_hopeless = 0
            why = (
                f"Reset: at {_POINTS} decision points running, what was learnt has lost more than saying that nothing changes."
            )
            return why, "reset"
        if self.is_resting or seen.paired is None or scale <= 0.0:
            return "", "fast"
        if self.gate.observe(seen.paired / (_BOUND * scale), np.zeros(seen.paired.size)) != "better" or not is_overdrawn:
            return "", "fast"
        self.is_resting = True
        why = (
            f"Promote the probe: the budget is overdrawn, and over {self.gate.n} labels it has been shown to lose less without "
            "the slow model, which rests."
        )
        return why, "probe"
