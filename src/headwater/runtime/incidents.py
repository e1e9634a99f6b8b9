"""What the fold has to say on `_incidents`: failures of sensors, as models' guards see them begin and end."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.features.guard import Burst
from headwater.following.notices import Said


def incidents(bursts: Iterable[Burst]) -> list[Said]:
    """As notices; the same bursts, folded again, have the same ids."""
    return [Said(burst.id, burst.time_ms, burst.data()) for burst in bursts]
