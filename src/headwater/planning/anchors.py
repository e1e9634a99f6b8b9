"""Anchors: a sample of each regime that the stream has been through, to see what an update forgets.

A regime is the stretch between two suspected changes. Of each, a reservoir keeps a few labelled rows, all with equal chance;
when there are too many regimes, the two oldest become one. A candidate is asked on all of them before it serves:

    rejected, if on past regimes it loses more than the served model by over `limit` of the loss of "no change",
    unless on the newest labels it gains at least as much as that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import DeclarationError

PER_REGIME = 200
MOST_REGIMES = 8
LIMIT = 0.05  # of the loss of "no change": how much may be forgotten without a gain elsewhere


class Reservoir:
    """A sample of all rows offered so far, each with equal chance (Vitter 1985, algorithm R).

    >>> kept = Reservoir(3, seed=1)
    >>> kept.offer(np.arange(100))
    >>> kept.rows.size, kept.n_offered
    (3, 100)
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        if capacity < 1:
            raise DeclarationError("a reservoir keeps at least one row", where="Reservoir", got=str(capacity))
        self.capacity, self.n_offered = capacity, 0
        self.rows: Ints = np.zeros(0, np.int64)
        self._rng = np.random.default_rng(seed)

    def offer(self, rows: Ints) -> None:
        """Offer more rows, in order; any split of them gives the same sample."""
        room = min(self.capacity - self.rows.size, rows.size)
        self.rows = np.concatenate([self.rows, rows[:room]])
        self.n_offered += room
        later = rows[room:]
        slots = self._rng.integers(0, self.n_offered + 1 + np.arange(later.size))
        self.n_offered += later.size
        for row, slot in zip(later[slots < self.capacity].tolist(), slots[slots < self.capacity].tolist(), strict=True):
            self.rows[slot] = row


@dataclass(slots=True, eq=False)
class Regime:
    """One stretch of the stream.

    Attributes:
        first, last: Its first row, and its newest so far.
        kept: The sample.
        loss_then: Mean loss on the sample by what was served when it ended; NaN while it lasts.
    """

    first: int
    last: int
    kept: Reservoir
    loss_then: float = np.nan


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate may serve, and why, in one sentence."""

    allowed: bool
    why: str
    numbers: dict[str, float] = field(default_factory=dict)


class Anchors:
    """The samples of all regimes of one stream.

    Args:
        per_regime: Rows that are kept of each.
        most: Regimes that are kept apart.
        seed: Of the samples.
    """

    def __init__(self, per_regime: int = PER_REGIME, most: int = MOST_REGIMES, seed: int = 0) -> None:
        if most < 2:  # noqa: PLR2004 - a past one and the present one
            raise DeclarationError("anchors need a past and a present regime", where="Anchors", got=str(most))
        self._per, self._most, self._seed, self._n = per_regime, most, seed, 0
        self.regimes: list[Regime] = []

    @property
    def past(self) -> list[Regime]:
        """All but the present one, oldest first."""
        return self.regimes[:-1]

    def offer(self, rows: Ints) -> None:
        """Labels that have become known belong to the present regime."""
        if rows.size == 0:
            return
        if not self.regimes:
            self._begin(int(rows[0]))
        present = self.regimes[-1]
        present.kept.offer(rows)
        present.last = max(present.last, int(rows.max()))

    def turn(self, loss_then: float = np.nan) -> None:
        """A change is suspected: what comes from now on is another regime. Nothing where the present one is empty."""
        if not self.regimes or self.regimes[-1].kept.n_offered == 0:
            return
        self.regimes[-1].loss_then = loss_then
        self._begin(self.regimes[-1].last + 1)
        if len(self.regimes) > self._most:
            self.regimes[:2] = [self._merged(*self.regimes[:2])]

    def rows(self) -> Ints:
        """int64: the anchors of all past regimes."""
        return np.concatenate([np.zeros(0, np.int64), *(regime.kept.rows for regime in self.past)])

    def _begin(self, first: int) -> None:
        self.regimes.append(Regime(first, first, Reservoir(self._per, self._seed + self._n)))
        self._n += 1

    def _merged(self, a: Regime, b: Regime) -> Regime:
        """One sample of two: each gives its share by how many rows it stands for."""
        out = Regime(a.first, b.last, Reservoir(self._per, self._seed + self._n), _mean_of(a, b))
        self._n += 1
        share = a.kept.n_offered / (a.kept.n_offered + b.kept.n_offered)
        n_a = min(a.kept.rows.size, round(share * self._per))
        rng = np.random.default_rng(self._seed + self._n)
        halves = [rng.permutation(r.kept.rows)[:n] for r, n in ((a, n_a), (b, self._per - n_a))]
        out.kept.rows = np.concatenate(halves)
        out.kept.n_offered = a.kept.n_offered + b.kept.n_offered
        return out


def _mean_of(a: Regime, b: Regime) -> float:
    n = a.kept.n_offered, b.kept.n_offered
    return (a.loss_then * n[0] + b.loss_then * n[1]) / sum(n)


def forgets(served: Floats, candidate: Floats, gain: float, scale: float, limit: float = LIMIT) -> Verdict:
    """The limit on forgetting.

    Args:
        served: float64[n]: the served model's losses on anchors of past regimes; NaN is left out.
        candidate: float64[n]: the candidate's on the same rows.
        gain: What the candidate loses less than the served model on the newest labels, a label.
        scale: Mean loss of "no change".
        limit: Share of `scale` that may be forgotten for nothing.

    >>> forgets(np.full(9, 0.2), np.full(9, 0.3), gain=0.02, scale=0.5).why
    'The candidate loses 0.1 more on past regimes, and gains 0.02 on the newest labels: it is not served.'
    """
    worse = candidate - served
    there = worse[~np.isnan(worse)]
    lost = float(there.mean()) if there.size else 0.0
    numbers = {"forgotten": lost, "gained": gain, "limit": limit * scale, "anchors": float(there.size)}
    if lost <= limit * scale:
        return Verdict(
            allowed=True, why=f"On past regimes the candidate loses {lost:.3g} more: within the limit.", numbers=numbers
        )
    if gain >= lost:
        why = f"The candidate loses {lost:.3g} more on past regimes, and gains {gain:.3g} on the newest labels: it is served."
        return Verdict(allowed=True, why=why, numbers=numbers)
    why = f"The candidate loses {lost:.3g} more on past regimes, and gains {gain:.3g} on the newest labels: it is not served."
    return Verdict(allowed=False, why=why, numbers=numbers)
