"""Which engine a URL means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from headwater.core.clock import Clock
from headwater.core.errors import ConfigError, nearest
from headwater.log.dedupe import DEDUPE_FOR_MS
from headwater.log.lmdb import LmdbLog
from headwater.log.memory import MemoryLog
from headwater.log.protocol import EventLog

SCHEMES = ("lmdb", "memory")


def open_log(url: str, *, dedupe_for_ms: int = DEDUPE_FOR_MS, readonly: bool = False, clock: Clock | None = None) -> EventLog:
    """Open the log that `url` names: `lmdb:///var/lib/headwater/log`, or `memory://` for a fresh one in this process.

    Args:
        url: Scheme and absolute path; a path's spaces and the like are percent-encoded.
        dedupe_for_ms: How long an id is known, in arrival time.
        readonly: Never write. A `memory://` log has one owner, who writes.
        clock: Bounds the high marks.

    Raises:
        ConfigError: The scheme is unknown, or the path is not absolute.
        WrongState, CorruptData: As `LmdbLog`.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryLog(dedupe_for_ms=dedupe_for_ms, clock=clock)
    if parts.scheme != "lmdb":
        raise ConfigError(
            "no log engine has this scheme", where=f"log URL {url!r}", expected=" or ".join(f"{s}://" for s in SCHEMES),
            got=repr(parts.scheme), next_step=nearest(parts.scheme, SCHEMES),
        )  # fmt: skip
    if parts.netloc or len(parts.path) < 2:  # noqa: PLR2004 - "/" and a name
        raise ConfigError(
            "a log's path is absolute", where=f"log URL {url!r}", expected="three slashes, as in lmdb:///var/lib/headwater/log",
            got=url, next_step="Write the whole path after lmdb://.",
        )  # fmt: skip
    return LmdbLog(Path(unquote(parts.path)), dedupe_for_ms=dedupe_for_ms, readonly=readonly, clock=clock)
