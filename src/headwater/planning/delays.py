"""Late labels: how likely is it that a label has come by now, and what follows for rates and losses.

The delay's distribution is a discretised hazard: of the rows that still waited at the beginning of an age, the share whose
label came within it. Rows that still wait count for as long as they have (Kaplan & Meier 1958), so that quick labels do not
pass for all of them. With coverage(age) = P(label known within age):

- a loss that is known at some age stands for 1 / coverage rows like it;
- where a missing label counts as "no", the rate of yes is  yes so far / sum of coverage;
- a row without its "yes" so far, forecast at p, will still get one with  p (1 - c) / (1 - p c)  (Chapelle 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Bools, Floats, Ints
from headwater.core.errors import DeclarationError

_BINS = 40
_FLOOR = 0.05  # of coverage: no label stands for more than twenty


@dataclass(frozen=True, slots=True, eq=False)
class Delays:
    """The distribution of delays.

    Attributes:
        edges_ms: float64[bins + 1]: ages, from 0 on, each longer than the one before.
        hazard: float64[bins].
        n: Labels and waiting rows that it was learnt from.
    """

    edges_ms: Floats
    hazard: Floats
    n: int

    @classmethod
    def learnt(cls, waited_ms: Ints, come: Bools) -> Delays:
        """From rows that waited.

        Args:
            waited_ms: int64[n]: the delay, or the age of a row that still waits.
            come: bool[n]: whether the label has come.

        Raises:
            DeclarationError: The arrays differ in length, or a delay is negative.
        """
        if waited_ms.size != come.size or (waited_ms.size and waited_ms.min() < 0):
            raise DeclarationError("delays are not negative, one for each row", where="Delays.learnt")
        edges = _edges(waited_ms[come])
        bins = np.minimum(np.searchsorted(edges, waited_ms, side="right") - 1, edges.size - 2)
        ended = np.bincount(bins[come], minlength=edges.size - 1)
        left = np.bincount(bins, minlength=edges.size - 1)
        at_risk = left[::-1].cumsum()[::-1] - 0.5 * (left - ended)  # who stops waiting within a bin was there for half of it
        return cls(edges, np.divide(ended, at_risk, out=np.zeros(edges.size - 1), where=at_risk > 0), waited_ms.size)

    def coverage(self, ages_ms: Ints) -> Floats:
        """float64[n]: the chance that a label is known at each age; between two edges on a straight line."""
        reached = np.concatenate([[0.0], 1.0 - np.cumprod(1.0 - self.hazard)])
        return np.asarray(np.interp(ages_ms, self.edges_ms, reached))

    def weights(self, ages_ms: Ints) -> Floats:
        """float64[n]: how many rows a known label of that age stands for; at most twenty."""
        return 1.0 / np.maximum(self.coverage(ages_ms), _FLOOR)

    def rate(self, n_yes: int, ages_ms: Ints) -> float:
        """The rate of yes among rows of these ages, of which `n_yes` have one so far; NaN where nothing can be known yet.

        >>> delays = Delays(np.array([0.0, 1000.0]), np.array([1.0]), 100)
        >>> delays.rate(5, np.full(20, 500))
        0.5
        """
        seen = float(self.coverage(ages_ms).sum())
        return min(n_yes / seen, 1.0) if seen > 0 else float("nan")

    def still_to_come(self, p: Floats, ages_ms: Ints) -> Floats:
        """float64[n]: the chance that a row without a yes so far, which was forecast at p, will still get one."""
        known = self.coverage(ages_ms)
        return p * (1.0 - known) / np.maximum(1.0 - p * known, 1e-12)


def corrected_loss(losses: Floats, weights: Floats) -> float:
    """Mean loss of all rows, from those whose label is known: each counts for those like it; NaN losses are left out."""
    there = ~np.isnan(losses)
    total = float(weights[there].sum())
    return float((losses[there] * weights[there]).sum() / total) if total > 0 else 0.0


def _edges(delays_ms: Ints) -> Floats:
    """Ages at quantiles of the delays, so that each bin holds about as many labels; the last one ends after the longest."""
    if delays_ms.size == 0:
        return np.array([0.0, 1.0])
    at = np.quantile(delays_ms, np.linspace(0.0, 1.0, _BINS + 1)[1:])
    return np.unique(np.concatenate([[0.0], np.maximum(at, 1.0), [float(delays_ms.max()) + 1.0]]))
