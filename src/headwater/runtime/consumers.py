"""How the consumers of an installation stand, for its status and its metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from headwater.core.errors import HeadwaterError
from headwater.following.cursors import Cursors
from headwater.following.streams import Streams


def consumers(cursors: Cursors, streams: Streams) -> list[dict[str, Any]]:
    """Each declared consumer's progress, with `end` of what it follows and `lag`: how many places it is behind.

    An event's stream shares the log's seq with the others: its lag counts all that the consumer has not looked at yet.
    """
    found = []
    for progress in cursors.all():
        try:
            end = streams.open(progress.stream).bounds()[1]
        except HeadwaterError:  # it followed a stream that the app no longer has
            continue
        found.append({**asdict(progress), "end": end, "lag": max(0, end - progress.next)})
    return found
