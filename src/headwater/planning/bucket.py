"""A token bucket of core-seconds: what may be spent in any interval.

The level grows by `rate` up to `depth`. A job may begin when the level covers its estimate; what it may take at most is then
taken out, as far as it is there, and whoever carries the job out ends it at that. When it is over, what it really took
replaces what was reserved. So no job takes the level below zero, and whatever the estimates are worth, with one job at a time

    spend(t0, t1] <= rate * (t1 - t0) + depth

What is charged without asking does not wait; where it alone spends more than the rate, no job begins.
"""

from __future__ import annotations

from headwater.core.errors import DeclarationError


class Bucket:
    """Core-seconds that may be spent.

    Args:
        rate: Core-seconds that each unit of time adds. The unit is the caller's: seconds, or decision points.
        depth: The most that can be saved up.
        level: What is there at the start; None is all of `depth`.

    Attributes:
        level: What may be spent now; below 0 where more was charged without asking than was there.

    >>> bucket = Bucket(rate=1.0, depth=10.0)
    >>> bucket.reserve(4.0, most=8.0), bucket.settle(8.0, measured=5.0), bucket.level
    (8.0, None, 5.0)
    >>> bucket.reserve(4.0, most=8.0), bucket.settle(5.0, measured=5.0), bucket.reserve(4.0)
    (5.0, None, 0.0)
    """

    def __init__(self, rate: float, depth: float, level: float | None = None) -> None:
        if not (rate >= 0 and depth >= 0):
            raise DeclarationError("a budget is not negative", where="Bucket", got=f"rate={rate}, depth={depth}")
        self.rate, self.depth = rate, depth
        self.level = depth if level is None else level
        self._reserved = 0.0

    def advance(self, elapsed: float) -> float:
        """Let time pass; returns the time that counted: a clock that goes back adds nothing."""
        counted = max(elapsed, 0.0)
        self.level = max(self.level, min(self.depth, self.level + self.rate * counted))
        return counted

    def reserve(self, estimate: float, most: float | None = None) -> float:
        """Take out what a job may take; returns how much that is, and 0 where it may not begin.

        Args:
            estimate: What it will probably take; has to be there, and no other job under way.
            most: What it may take if need be, as far as it is there; None is the estimate.
        """
        if self._reserved > 0.0 or self.level < estimate or self.level <= 0.0:
            return 0.0
        self._reserved = max(estimate, min(most or estimate, self.level))
        self.level -= self._reserved
        return self._reserved

    def settle(self, reserved: float, measured: float) -> None:
        """A job has ended, well or not: what it took replaces what was reserved for it."""
        self._reserved = 0.0
        self.level += reserved - measured

    def charge(self, measured: float) -> None:
        """Take out what was spent without asking: serving and learning of the fast layer, which do not wait."""
        self.level -= measured

    def resize(self, rate: float, depth: float) -> None:
        """Another budget from now on; what was saved above the new depth is lost."""
        self.rate, self.depth = rate, depth
        self.level = min(self.level, depth)
