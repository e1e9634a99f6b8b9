"""Named places at which a test may stop the process dead. They cost one look-up and do nothing unless armed."""

from __future__ import annotations

from collections.abc import Callable

_armed: Callable[[str], None] | None = None


def crashpoint(name: str) -> None:
    """Mark a step after which a crash must be survived. `name` is `room.step`, in the past tense."""
    if _armed is not None:
        _armed(name)


def arm(action: Callable[[str], None] | None) -> None:
    """Call `action(name)` at every crash point; None disarms. For tests only."""
    global _armed  # noqa: PLW0603 - one switch for the whole process is the point
    _armed = action
