"""Durations as people write them: `250ms`, `90s`, `3h`, `7d`."""

from __future__ import annotations

import re

from headwater.core.errors import DeclarationError

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
LONGEST_MS = 100 * 366 * UNITS_MS["d"]  # a century: sums of durations and times stay far inside int64

_DURATION = re.compile(r"\s*([0-9]{1,15})(?:\.([0-9]{1,9}))?\s*([a-z]+)\s*", re.ASCII)


def parse_ms(text: str, *, where: str = "") -> int:
    """Milliseconds in a duration; exact, never rounded.

    Args:
        text: A number and a unit: ms, s, m (or min), h, d, w. A fraction must come to whole milliseconds.
        where: The setting or declaration that it stands in, for the message.

    Raises:
        DeclarationError: It is no duration, not a whole number of milliseconds, or longer than a century.

    >>> parse_ms("250ms"), parse_ms("1.5h"), parse_ms("7d")
    (250, 5400000, 604800000)
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[3] not in UNITS_MS:
        raise _refused("this is not a duration", text, where)
    whole, fraction, unit = match[1], match[2] or "", match[3]
    scale: int = 10 ** len(fraction)
    ms, rest = divmod(int(whole + fraction) * UNITS_MS[unit], scale)
    if rest:
        raise _refused("this is not a whole number of milliseconds", text, where)
    if ms > LONGEST_MS:
        raise _refused("this is longer than a century", text, where)
    return ms


def parse_offset_ms(text: str, *, where: str = "") -> int:
    """Milliseconds in a distance from UTC: a duration, perhaps with a sign.

    >>> parse_offset_ms("-5h"), parse_offset_ms("+5.5h"), parse_offset_ms("0h")
    (-18000000, 19800000, 0)
    """
    sign = text[:1] if isinstance(text, str) else ""
    span = parse_ms(text[1:] if sign in ("+", "-") else text, where=where)
    return -span if sign == "-" else span


def _refused(what: str, text: object, where: str) -> DeclarationError:
    return DeclarationError(
        what,
        where=where,
        expected="a number and a unit (ms, s, m, h, d, w)",
        got=repr(text),
        next_step='Write it like "250ms", "1h" or "7d".',
    )


def format_ms(ms: int) -> str:
    """The shortest text that `parse_ms` reads back as `ms`, in the largest unit that fits (days at most).

    >>> format_ms(5_400_000), format_ms(604_800_000), format_ms(0)
    ('90m', '7d', '0ms')
    """
    for unit in ("d", "h", "m", "s"):
        if ms and ms % UNITS_MS[unit] == 0:
            return f"{ms // UNITS_MS[unit]}{unit}"
    return f"{ms}ms"
