"""When a delivery that failed is tried again."""

from __future__ import annotations

from hashlib import blake2b

FIRST_S, LONGEST_S = 0.5, 60.0
LONGEST_ASKED_S = 300.0  # a server or handler may ask for more than we would wait by ourselves, but not for ever
_DOUBLINGS = 20


def pause_s(attempt: int, key: str, asked_s: float | None = None) -> float:
    """Seconds to wait after the failure number `attempt` (from 1) of the delivery that `key` names.

    Doubles from half a second to a minute, less up to a half that the key decides: consumers that failed together do not
    come back together, and a test sees the same pauses each time. Whoever failed may ask for another pause.

    >>> [round(pause_s(n, "orders/17"), 2) for n in (1, 2, 3, 8, 100)]
    [0.29, 0.75, 1.27, 37.25, 58.11]
    >>> pause_s(1, "orders/17", asked_s=20.0), pause_s(1, "orders/17", asked_s=86_400.0)
    (20.0, 300.0)
    """
    if asked_s is not None:
        return min(max(0.0, asked_s), LONGEST_ASKED_S)
    longest: float = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, _DOUBLINGS))
    drawn = int.from_bytes(blake2b(f"{key}/{attempt}".encode(), digest_size=4).digest(), "big") / 2**32
    return longest * (0.5 + drawn / 2)
