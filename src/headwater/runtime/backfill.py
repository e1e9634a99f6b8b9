"""Folds a changed app beside the running one: what is new from the log, what is unchanged from the saved state.

The new fold walks the log from its first retained row to the place of the running app's newest save. There whatever both
declarations share is taken from that save, so that unchanged parts keep what retention has cut from the log. From there
on it follows the log as any fold does. Where nothing has been cut, taking over changes no bit: it is a function of the same
events either way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.errors import WrongState
from headwater.features.tables import Table
from headwater.features.watermarks import UNSEEN
from headwater.log.protocol import Chunk, EventLog
from headwater.runtime.changes import KEPT, Declared, difference, remember
from headwater.runtime.checkpointing import JUDGED, LATE, Checkpointer, check_seals, under
from headwater.runtime.fitter import EXAMPLES
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.marks import Fitted, no_refits
from headwater.runtime.places import NEXT, SEEDED, STATE
from headwater.runtime.publishing import mark_all
from headwater.runtime.stopping import stops_in
from headwater.runtime.trust import Trust
from headwater.store.checkpoint import Checkpoints, SavedMeta

_CHUNK_EVENTS = 8192
Progress = Callable[[int, int], None]  # events folded, events to fold


def seed(
    app: App, log: EventLog, folder: Path, before: Declared, progress: Progress, trust: Trust | None = None,
    fitted: Fitted = no_refits,
) -> None:  # fmt: skip
    """Make `folder/next`: the changed app's state at the place of the newest save; nothing if it is there already.

    `fitted` gives what was refitted, where the log says that it took effect.

    Raises:
        WrongState: Nothing was saved yet, or the log cannot be read by the new declaration.
        Untrusted: The state of a learner that is kept was not written by this installation (`trust`).
    """
    made = folder / NEXT
    if (made / SEEDED).exists() and (made / SEEDED).read_text() == app.fingerprint():
        return
    shutil.rmtree(made, ignore_errors=True)
    old = Checkpoints(folder / STATE, readonly=True)
    new = Checkpoints(made / STATE)
    try:
        loaded = old.load(before["fingerprint"])
        if loaded is None:
            raise WrongState("nothing has been saved here yet", where=str(folder))
        meta, arrays = loaded
        kept = [part.name for part in difference(before, app) if part.kind == "model" and part.fate == KEPT]
        if trust is not None and trust.expected is not None:
            check_seals(meta, arrays, trust.expected, kept)
        fold = Fold(app)
        fold.fitted = fitted
        saver = Checkpointer(fold, new, None if trust is None else trust.seal)
        for effects in _folded(fold, log, meta.seq, progress):
            judged, examples = (
                {m: rows for m, rows in part.items() if m not in kept} for part in (effects.judged, effects.examples)
            )
            saver.gather(Effects(judged, examples=examples))
        graft(fold, before, meta, arrays, kept)
        streams = [LATE, *(f"{kind}.{m}" for m in kept for kind in (JUDGED, EXAMPLES))]
        saver.save([row for stream in streams for row in _rows(old, stream, meta.seq)])
        saver.wait()
    finally:
        old.close()
        new.close()
    remember(made / STATE, app)
    (made / SEEDED).write_text(app.fingerprint())


def _folded(fold: Fold, log: EventLog, stop: int, progress: Progress) -> Iterator[Effects]:
    """Fold the log from its first retained row to `stop`, which may lie within a chunk."""
    fold.seq = first = min(log.bounds()[0], stop)
    fold.foresee(stops_in(fold.app, log, first))
    for chunk in log.read(first, _CHUNK_EVENTS):
        n = min(chunk.batch.n, stop - fold.seq)
        if n == 0:
            return
        yield fold.step(chunk if n == chunk.batch.n else Chunk(chunk.seq, chunk.batch.slice(0, n)))
        progress(fold.seq - first, stop - first)


def _rows(store: Checkpoints, stream: str, seq: int) -> list[tuple[str, bytes, bytes]]:
    """Rows of the outbox that left by a place in the log."""
    return [(stream, key, bytes(value)) for key, value in store.outbox(stream) if int.from_bytes(key, "big") <= seq]


def graft(fold: Fold, before: Declared, meta: SavedMeta, arrays: dict[str, Any], models: list[str]) -> None:
    """Replace what both declarations share by what was saved; the fold is at the place of the save.

    Args:
        fold: Of the changed app.
        before: The declaration of the saved state.
        meta: The save.
        arrays: Its arrays.
        models: The models that are unchanged.
    """
    assert fold.seq == meta.seq
    _graft_watermarks(fold, list(before["streams"]), meta.extra["sources"], under(arrays, "watermarks."))
    fold.engine.tally[:] = arrays["tally"]
    for plan, table in zip(fold.app.plan.tables, fold.engine.tables, strict=True):
        if plan.name in before["tables"]:
            number = list(before["tables"]).index(plan.name)
            old = {(words, width): start for words, start, width in before["tables"][plan.name]}
            shared = [(old[words, width], start, width) for words, start, width in plan.blocks if (words, width) in old]
            _graft_rows(table, arrays[f"table.{number}.keys"], arrays[f"table.{number}.rows"], shared)
    for name in models:
        fold.models[name].restore(under(arrays, f"model.{name}."))
    mark_all(fold, saved=False)


def _graft_rows(table: Table, keys: Any, rows: Any, blocks: list[tuple[int, int, int]]) -> None:
    """Take over blocks (old start, new start, width) of entities' rows."""
    if not blocks or not keys.size:
        return
    table.insert(keys, np.ones(keys.size, np.uint8))
    slots = np.empty((keys.size, 1), np.int64)
    table.find(keys, slots, 0)
    for old, new, width in blocks:
        table.rows[slots[:, 0], new : new + width] = rows[:, old : old + width]


def _graft_watermarks(fold: Fold, streams: list[str], sources: list[str], arrays: dict[str, Any]) -> None:
    """Take over the watermarks of the streams that both know; sources keep their order, and new ones follow."""
    marks, mine = fold.watermarks, {name: array.copy() for name, array in fold.watermarks.arrays().items()}
    all_sources = [*sources, *(s for s in marks.sources if s not in sources)]
    here = [all_sources.index(s) for s in marks.sources]
    merged: dict[str, Any] = {}
    for name, array in mine.items():
        if array.ndim == 1:
            merged[name] = array
            continue
        merged[name] = np.full((array.shape[0], len(all_sources)), UNSEEN if name == "marks" else 0, np.int64)
        merged[name][:, here] = array
    for row, stream in enumerate(marks.streams):
        if stream in streams:
            for name, array in arrays.items():
                was = array[streams.index(stream)]
                merged[name][row, ...] = was if array.ndim == 1 else np.concatenate([was, merged[name][row, len(sources) :]])
    marks.restore(all_sources, merged)
