"""Why a fit that is due must not begin. Each reason is half a sentence that ends in a full stop; empty where there is none."""

from __future__ import annotations

from typing import Protocol

from headwater.planning.bucket import Bucket

LEAST_SOURCES = 2


class Labels(Protocol):
    """What is asked of a window: see `planner.Evidence`."""

    @property
    def n_window(self) -> int: ...

    @property
    def n_rarer(self) -> int | None: ...

    @property
    def n_sources(self) -> int | None: ...


def bad_window(seen: Labels, least_labels: int, least_of_class: int) -> str:
    """A window that nothing can be learnt from: too few labels, one class, too few of one, one of several sources."""
    if seen.n_window < least_labels:
        return f"its window holds {seen.n_window} labels, too few to learn from."
    if seen.n_rarer == 0:
        return "its window holds one class only: a model of it would know no other."
    if seen.n_rarer is not None and seen.n_rarer < least_of_class:
        return f"its window holds {seen.n_rarer} labels of the rarer class, too few to learn from."
    if seen.n_sources is not None and seen.n_sources < LEAST_SOURCES:
        return "its window holds labels of one source only: a model of it would not know the others."
    return ""


def not_affordable(cost_core_s: float, bucket: Bucket) -> str:
    """A fit that the budget cannot pay: never, or not now."""
    cost = f"it may cost {cost_core_s:.3g} core-seconds, and the budget"
    if bucket.rate == 0 and bucket.depth == 0:
        return "the budget is zero."
    if cost_core_s > bucket.depth:
        return f"{cost} never saves up more than {bucket.depth:.3g}."
    if cost_core_s > bucket.level:
        return f"{cost} has {bucket.level:.3g} left."
    return ""
