"""A token bucket of core-seconds: what may be spent in any interval.

The level grows by `rate` up to `depth`. A job may begin when the level covers its estimate; when it ends, its measured cost
replaces the estimate, so the level can fall below zero by one job, and nothing begins until it has recovered. Whatever the
estimates are worth, with one job at a time
`spend(t0, t1] <= rate * (t1 - t0) + depth + one job`.
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
        level: What may be spent now; below 0 after a job that cost more than was there.

    >>> bucket = Bucket(rate=1.0, depth=10.0)
    >>> bucket.reserve(8.0), bucket.settle(8.0, measured=11.0), bucket.level
    (True, None, -1.0)
    >>> bucket.advance(4.0), bucket.reserve(8.0), bucket.level
    (4.0, False, 3.0)
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

    def reserve(self, estimate: float) -> bool:
        """Take a job's estimate out, if it is there and no other job is under way."""
        if self._reserved > 0.0 or self.level < estimate or self.level <= 0.0:
            return False
        self._reserved = estimate
        self.level -= estimate
        return True

    def settle(self, estimate: float, measured: float) -> None:
        """A reserved job has ended, well or not: what it took replaces its estimate."""
        self._reserved = 0.0
        self.level += estimate - measured

    def charge(self, measured: float) -> None:
        """Take out what was spent without asking: serving and learning of the fast layer, which do not wait."""
        self.level -= measured

    def resize(self, rate: float, depth: float) -> None:
        """Another budget from now on; what was saved above the new depth is lost."""
        self.rate, self.depth = rate, depth
        self.level = min(self.level, depth)
