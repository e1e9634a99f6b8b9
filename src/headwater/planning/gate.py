"""The promotion gate: is a candidate better than what serves? A test that may be looked at after every label.

Both answer the same rows. d = loss(served) - loss(candidate) - margin, clipped to `bound` and divided by it, is bet on:

    E <- E * (1 + lambda * d),   0 <= lambda <= 1/2, chosen before d is seen (online Newton step)

If the candidate is not better, E is a supermartingale that starts at 1, hence it ever reaches 1 / alpha with probability at
most alpha (Ville 1939), however often one looks. A mirror process says "worse". The claim is about the mean of the clipped
difference, given what came before. Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by
betting"; the step is that of Cutkosky & Orabona 2018.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from headwater.core.batch import Floats
from headwater.core.compiled import kernel
from headwater.core.errors import DeclarationError

Call = Literal["open", "better", "worse"]
_STEP = 2.0 / (2.0 - np.log(3.0))
_LOG_E, _LAMBDA, _SQUARES, _PEAK = range(4)


@kernel
def _bet(state: Floats, outcomes: Floats) -> None:
    """Go through float64[n] outcomes in [-1, 1]; the state: log E, the next stake, 1 + squared gradients, log E's peak."""
    for d in outcomes:
        if np.isnan(d):
            continue
        factor = 1.0 + state[_LAMBDA] * d
        state[_LOG_E] += np.log(factor)
        state[_PEAK] = max(state[_PEAK], state[_LOG_E])
        gradient = d / factor
        state[_SQUARES] += gradient * gradient
        state[_LAMBDA] = min(max(state[_LAMBDA] + _STEP * gradient / state[_SQUARES], 0.0), 0.5)


class Gate:
    """A comparison of one candidate with what serves.

    Args:
        alpha: Chance of ever calling a candidate better that is not; the same for worse.
        margin: Loss a label by which it has to be better.
        bound: Differences are clipped to this size; more than most differences, or power is lost.

    Attributes:
        n: Labels seen.

    >>> gate = Gate(alpha=0.05)
    >>> gate.observe(np.full(100, 0.7), np.full(100, 0.5))
    'better'
    """

    def __init__(self, alpha: float = 0.05, margin: float = 0.0, bound: float = 1.0) -> None:
        if not (0 < alpha < 1 and bound > 0):
            raise DeclarationError("a gate needs 0 < alpha < 1 and a bound > 0", where="Gate", got=f"{alpha}, {bound}")
        self.alpha, self.margin, self.bound, self.n = alpha, margin, bound, 0
        self._better, self._worse = _fresh(), _fresh()

    def observe(self, served: Floats, candidate: Floats) -> Call:
        """More losses float64[n] of both on the same labels, in order; NaN where one did not answer. Returns the call."""
        d = served - candidate
        self.n += int((~np.isnan(d)).sum())
        _bet(self._better, np.clip((d - self.margin) / self.bound, -1.0, 1.0))
        _bet(self._worse, np.clip((-d - self.margin) / self.bound, -1.0, 1.0))
        return self.call

    @property
    def call(self) -> Call:
        """What has been shown so far; "better" stands once it was reached."""
        line = -np.log(self.alpha)
        if self._better[_PEAK] >= line:
            return "better"
        return "worse" if self._worse[_PEAK] >= line else "open"

    @property
    def evidence(self) -> float:
        """E for "better" now: how many times the stake has grown."""
        return float(np.exp(min(self._better[_LOG_E], 700.0)))


def _fresh() -> Floats:
    return np.array([0.0, 0.0, 1.0, 0.0])
