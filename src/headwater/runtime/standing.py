"""How an installation stands: what its processes, its gateway and its files say, put together.

Everything is read and nothing is changed. What several places know (the log counts arrivals, the fold what became of
them) is joined here, so that the numbers add up: in = applied + duplicate + late + quarantined + waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headwater.core.errors import Fatal, HeadwaterError, WrongState
from headwater.core.schema import CONTROL
from headwater.following.cursors import Cursors
from headwater.ingest.client import Client
from headwater.log.open import open_log
from headwater.log.protocol import Counts
from headwater.runtime.places import FOLLOWING
from headwater.runtime.runfile import RunFile, running
from headwater.runtime.settings import Settings

_PATIENCE_S = 2.0


@dataclass(slots=True)
class Standing:
    """What is known of an installation.

    Attributes:
        run: Its supervisor's file; None where nothing runs there, or only a URL is known.
        url: The gateway that was asked.
        live: The gateway's `/status`; None where it gave none.
        problem: Why it gave none, or what of it is missing.
        end: The log's end; None where the log cannot be read from here.
        consumers: Each declared consumer's progress; see `consumers.consumers`. Without a gateway, `lag` is missing.
        sources: By source: in, applied, duplicate, late, quarantined, waiting; `stored` in place of what only a learner
            knows, where none answers.
    """

    run: RunFile | None = None
    url: str | None = None
    live: dict[str, Any] | None = None
    problem: str = ""
    end: int | None = None
    consumers: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def learner(self) -> dict[str, Any]:
        """The learner's part of the live status; empty where there is none."""
        return (self.live or {}).get("learner") or {}

    @property
    def gateway(self) -> dict[str, Any]:
        """The gateway's part of the live status; empty where there is none."""
        return (self.live or {}).get("gateway") or {}


def standing_at(url: str, key: str | None = None) -> Standing:
    """What a gateway says; its log and its processes are out of reach."""
    found = Standing(url=url)
    _ask(found, key)
    found.sources = _joined({}, found.learner.get("sources"))
    found.consumers = (found.live or {}).get("consumers", [])
    return found


def standing_in(settings: Settings, key: str | None = None) -> Standing:
    """What a state directory, and the gateway that runs on it, say.

    Raises:
        Fatal: There is no state directory.
    """
    folder = settings.state_dir
    if not folder.is_dir():
        step = "`headwater run APP` makes it; or name another with --state."
        raise Fatal("there is no state directory here", where=str(folder), next_step=step)
    found = Standing(run=running(folder))
    found.url = found.run.url if found.run else None
    if found.url is not None:
        _ask(found, key)
    found.consumers = _saved_consumers(folder) if found.live is None else found.live.get("consumers", [])
    counts, found.end = _log_counts(settings)
    found.sources = _joined(counts, found.learner.get("sources"))
    return found


def _ask(found: Standing, key: str | None) -> None:
    assert found.url is not None
    try:
        with Client(found.url, token=key, timeout_s=5.0, patience_s=_PATIENCE_S) as client:
            found.live = client.get("/status")
            found.problem = found.live.get("problem", "")
    except HeadwaterError as error:
        found.problem = error.what


def _saved_consumers(folder: Path) -> list[dict[str, Any]]:
    try:
        cursors = Cursors(folder / FOLLOWING, read_only=True)
    except WrongState:
        return []
    try:
        return [asdict(progress) for progress in cursors.all()]
    finally:
        cursors.close()


def _log_counts(settings: Settings) -> tuple[dict[str, Counts], int | None]:
    try:
        log = open_log(settings.log_url, readonly=True)
    except WrongState:
        return {}, None
    try:
        return log.counts(), log.bounds()[1]
    finally:
        log.close()


def _joined(counted: Mapping[str, Counts], folded: Mapping[str, Mapping[str, int]] | None) -> dict[str, dict[str, int]]:
    """By source, what arrived and what became of it; a conflict's dead letter is counted as such."""
    out = {}
    for source in sorted({*counted, *(folded or ())} - {CONTROL}):
        arrived, did = counted.get(source), (folded or {}).get(source, {})
        applied, late = did.get("applied", 0), did.get("late", 0)
        if arrived is None:
            out[source] = {"applied": applied, "late": late}
            continue
        if folded is None:
            parts = {"stored": arrived.accepted, "duplicate": arrived.duplicate, "quarantined": arrived.quarantined}
            out[source] = {"in": sum(parts.values()), **parts}
            continue
        waiting = max(0, arrived.accepted - applied - late)
        parts = {
            "applied": applied, "duplicate": arrived.duplicate, "late": late, "quarantined": arrived.quarantined,
            "waiting": waiting,
        }  # fmt: skip
        out[source] = {"in": sum(parts.values()), **parts}
    return out
