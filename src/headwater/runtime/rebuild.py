"""Makes a registered version again from the log alone: the proof that it is what its name says.

A version is a function of a log prefix and a recipe. The fold starts from nothing, stops right after the version is due
and encodes it as the learner did; equal bytes have equal hashes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from headwater.app import App
from headwater.core.errors import CorruptData, EventsDropped, Fatal, WrongState, nearest
from headwater.log.protocol import Chunk, EventLog
from headwater.registry.artifact import Artifacts, encode
from headwater.registry.difference import flat
from headwater.registry.version import Version
from headwater.runtime.fold import Fold
from headwater.runtime.marks import Fitted, no_refits
from headwater.runtime.model_fold import VERSION, Due
from headwater.runtime.replay import chunks
from headwater.runtime.stopping import stops_in
from headwater.runtime.versions import as_version, header, recipe

_CHUNK_EVENTS = 8192


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it.

    Attributes:
        version: The registered one.
        sha256: Of the file made again.
        events: Events folded.
        seconds: Wall time.
        restored: The registered file was missing or altered, and has been put back.
    """

    version: Version
    sha256: str
    events: int
    seconds: float
    restored: bool = False

    @property
    def is_same(self) -> bool:
        """Whether the bytes are equal."""
        return self.sha256 == self.version.sha256


def rebuild(
    app: App,
    log: EventLog,
    version: Version,
    artifacts: Artifacts,
    progress: Callable[[int, int], None] | None = None,
    *,
    fitted: Fitted = no_refits,
) -> Rebuilt:
    """Fold the log up to a version and make its file again; a lost or altered file is put back.

    Args:
        app: The app as it was declared when the version was made.
        log: The log that it was made from.
        version: The registered version.
        artifacts: Where its file lies.
        progress: Told (events folded, events to fold).
        fitted: Gives what was refitted, where the log says that it took effect.

    Raises:
        Fatal: The recipe differs, or the log says that nothing was due there.
        EventsDropped: Retention has dropped events that it depends on.
        WrongState: The log ends before it.
    """
    began = time.perf_counter()
    _check_recipe(app, version)
    _check_log(log, version)
    due = _fold(app, log, version, progress, fitted)
    made = as_version(due, dict(version.recipe), None, 0.0)
    data = encode(due.arrays, header(made))
    sha256 = hashlib.sha256(data).hexdigest()
    restored = sha256 == version.sha256 and not _is_whole(artifacts, sha256)
    if restored:
        artifacts.put(due.arrays, header(made))
    return Rebuilt(version, sha256, version.seq, time.perf_counter() - began, restored)


def _check_recipe(app: App, version: Version) -> None:
    if version.line not in app.models:
        raise Fatal(
            "the app has no such model", where=version.name, got=version.line, next_step=nearest(version.line, app.models)
        )
    now, then = dict(flat(recipe(app, version.line))), dict(flat(version.recipe))
    if "names" not in then:  # registered before names were kept; they say nothing that `model` does not
        del now["names"]
    different = [key for key in dict.fromkeys([*then, *now]) if then.get(key) != now.get(key)]
    # The fingerprints say that something differs; name what it is where that is known.
    named = [key for key in different if key not in {"app", "schema"}] or different
    if named:
        raise Fatal(
            "this version was made by another recipe", where=version.name,
            expected=", ".join(f"{key} = {then.get(key)}" for key in named[:5]),
            got=", ".join(f"{key} = {now.get(key)}" for key in named[:5]),
            next_step="Equal bits are promised within one recipe: take the app's file and the libraries that made it.",
        )  # fmt: skip


def _check_log(log: EventLog, version: Version) -> None:
    first, end = log.bounds()
    if first > version.log_start:
        raise EventsDropped(version.log_start, first)
    if end <= version.seq:
        raise WrongState(
            "the log ends before this version", where=version.name, expected=f"more than {version.seq} events", got=str(end),
            next_step="Name the state directory that it was made in with --state.",
        )  # fmt: skip


def _fold(app: App, log: EventLog, version: Version, progress: Callable[[int, int], None] | None, fitted: Fitted) -> Due:
    """The version as the fold finds it due: before the row at its `seq`, which is the last one folded."""
    fold, stop = Fold(app), version.seq + 1
    fold.fitted = fitted
    fold.foresee(stops_in(app, log, 0))
    for chunk in chunks(log, 0, _CHUNK_EVENTS):
        whole = chunk.seq + chunk.batch.n <= stop
        effects = fold.step(chunk if whole else Chunk(chunk.seq, chunk.batch.slice(0, stop - chunk.seq)))
        if progress:
            progress(fold.seq, stop)
        if fold.seq < stop:
            continue
        for due in effects.due:
            if (due.model, due.name, due.seq) == (version.line, VERSION, version.seq):
                return due
        break
    raise Fatal(
        "the log says that no version was due here", where=version.name, expected=version.trigger,
        next_step="This is not the log that it was made from, or the fold is not reproducible here: run `headwater doctor`.",
    )  # fmt: skip


def _is_whole(artifacts: Artifacts, sha256: str) -> bool:
    with suppress(CorruptData):
        artifacts.verify(sha256)
        return True
    return False
