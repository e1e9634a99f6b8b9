"""Several streams' files as one sequence of events, by the time of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from headwater.core.errors import Fatal


def named(inputs: Sequence[str]) -> dict[str, Path]:
    """`["a=x.csv", ...]` as stream -> file.

    Raises:
        Fatal: One is not of that form, or a stream is given twice.
    """
    files: dict[str, Path] = {}
    for given in inputs:
        name, is_there, path = given.partition("=")
        if not (name and is_there and path):
            raise Fatal("an input is not understood", where="--input", expected="STREAM=FILE", got=given)
        if name in files:
            raise Fatal("a stream is given twice", where="--input", got=name)
        files[name] = Path(path)
    return files


def merged(rows: Mapping[str, Iterable[Any]], files: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Every file's events in one order of time; at equal time as the files were given. Each names its stream.

    All events are held in memory: a file may be in any order.

    Raises:
        Fatal: An event has no time.
    """
    timed = [one for number, (name, of) in enumerate(rows.items()) for one in _timed(name, of, number, files[name])]
    timed.sort(key=lambda one: one[:2])
    return (event for _, _, event in timed)


def _timed(stream: str, rows: Iterable[Any], number: int, path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for row, given in enumerate(rows):
        event = msgspec.json.decode(given) if isinstance(given, msgspec.Raw) else given
        yield _ms(event.get("time"), f"{path}, row {row + 1}"), number, {**event, "stream": stream}


def _ms(value: Any, where: str) -> int:
    """An event's time, ms since 1970 UTC.

    >>> _ms("2025-01-01T00:00:00Z", ""), _ms(1735689600000, "")
    (1735689600000, 1735689600000)
    """
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = value if value.tzinfo else value.replace(tzinfo=UTC)
            return int(value.timestamp() * 1000)
        return int(value)
    except (TypeError, ValueError):
        raise Fatal(
            "an event has no time to merge it by", where=where, expected="`time`: ISO-8601 text, or ms since 1970 UTC",
            got=repr(value),
        ) from None  # fmt: skip
