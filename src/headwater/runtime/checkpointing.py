"""Saves a fold and what leaves it, and restores it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Floats
from headwater.core.errors import DiskFull
from headwater.learning.fast_lane import Fast
from headwater.runtime.fitter import EXAMPLES
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.publishing import arrays_of
from headwater.store.checkpoint import FORMAT, Checkpoints, Differ, Save, SavedMeta

_GATHER_BYTES = 4 << 20  # copying as much takes some milliseconds
JUDGED, LATE = "judged", "late"
_TRIM_EXAMPLES_EVERY = 100  # saves
_TRIM_EVERY, _KEEP_SAVES = 1_000, 100_000  # judged rows and late places of that many saves are kept: a day and more


class Checkpointer:
    """Gathers effects between saves; a save writes the changed state and the effects in one transaction."""

    def __init__(self, fold: Fold, store: Checkpoints) -> None:
        self._fold, self._store = fold, store
        self._differ = Differ()
        self._judged: dict[str, list[Floats]] = {}
        self._examples: dict[str, list[Floats]] = {}
        self._late: list[int] = []
        self._last: Save | None = None
        self._n_saves = 0
        self.seq = fold.seq

    def gather(self, effects: Effects) -> None:
        """Keep a step's effects for the next save."""
        for model, parts in effects.judged.items():
            self._judged.setdefault(model, []).extend(parts)
        for model, parts in effects.examples.items():
            self._examples.setdefault(model, []).extend(parts)
        self._late.extend(effects.late)

    def save(self, more: Iterable[tuple[str, bytes, bytes]] = ()) -> bool:
        """Start a save of the state as it is now; it is on disk when the next one starts or after `wait`.

        `more` are rows of the outbox beside those that were gathered: (stream, key, bytes).

        Returns False where the one before found the disk full: that one is tried again instead, and nothing is lost.
        """
        if not self._settled():
            return False
        fold = self._fold
        meta = SavedMeta(FORMAT, fold.app.fingerprint(), fold.seq, {}, {"sources": fold.watermarks.sources})
        save = Save(meta)
        for name, array, changed in arrays_of(fold):
            self._differ.add(save, name, array, changed)
        at = fold.seq.to_bytes(8, "big")
        for model, parts in self._judged.items():
            save.outbox.append((f"{JUDGED}.{model}", at, np.concatenate(parts).tobytes()))
        for model, parts in self._examples.items():
            save.outbox.append((f"{EXAMPLES}.{model}", at, np.concatenate(parts).tobytes()))
        save.outbox += more
        if self._late:
            save.outbox.append((LATE, at, np.array(self._late, np.int64).tobytes()))
        self._judged, self._examples, self._late, self.seq = {}, {}, [], fold.seq
        self._last = save
        self._store.save(save)
        self._n_saves += 1
        if self._n_saves % _TRIM_EVERY == 0:
            for stream in (*(f"{JUDGED}.{model}" for model in fold.models), LATE):
                self._store.trim(stream, _KEEP_SAVES)
        if self._n_saves % _TRIM_EXAMPLES_EVERY == 0:
            for model, window_bytes in window_bytes_of(fold.app).items():
                self._store.trim_bytes(f"{EXAMPLES}.{model}", window_bytes)
        return True

    def _settled(self) -> bool:
        try:
            self._store.wait()
        except DiskFull:
            assert self._last is not None
            self._store.save(self._last)
            return False
        return True

    def is_due(self, every_events: int) -> bool:
        """Whether a save is due: after so many events, or once gathering what changed would hold folding up noticeably."""
        events = self._fold.seq - self.seq
        changed = sum(min(events, table.n) * 8 * table.width for table in self._fold.engine.tables)
        return events >= every_events or changed >= _GATHER_BYTES

    @property
    def is_saving(self) -> bool:
        """Whether the last save is still being written; the next would wait for it."""
        return self._store.is_saving

    def wait(self) -> None:
        """Until the last save is on disk.

        Raises:
            DiskFull: It is not; a restart folds the log from the save before it.
        """
        self._store.wait()

    @property
    def saved_seq(self) -> int:
        """A place in the log from which a restart surely finds a save: that of the last one known to be on disk."""
        return self._store.seq()


def window_bytes_of(app: App) -> dict[str, int]:
    """For each model with a slow part, what the examples of its largest window take."""
    learners = {name: model.learner for name, model in app.models.items()}
    windows = {name: spec.slow.window for name, spec in learners.items() if isinstance(spec, Fast) and spec.slow is not None}
    return {name: 8 * n * (2 + len(app.models[name].numbers) + len(app.models[name].categories)) for name, n in windows.items()}


def restore(app: App, store: Checkpoints, *, clock: Callable[[], float] | None = None) -> Fold:
    """The fold as last saved, or a fresh one; `clock` is the fold's.

    Raises:
        WrongState, CorruptData: See `Checkpoints.load`.
    """
    fold = Fold(app, clock=clock)
    loaded = store.load(app.fingerprint())
    if loaded is None:
        return fold
    meta, arrays = loaded
    fold.seq = meta.seq
    fold.watermarks.restore(meta.extra["sources"], under(arrays, "watermarks."))
    fold.engine.tally[:] = arrays["tally"]
    for number, table in enumerate(fold.engine.tables):
        table.restore(arrays[f"table.{number}.keys"], arrays[f"table.{number}.rows"])
    for name, model in fold.models.items():
        model.restore(under(arrays, f"model.{name}."))
    return fold


def under(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays whose names begin so, by the rest of their names."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def judged_rows(store: Checkpoints, model: str, n_experts: int) -> Floats:
    """Every judged row that was saved, in order; float64[labels, 5 + experts]."""
    parts = [np.frombuffer(value, np.float64) for _, value in store.outbox(f"{JUDGED}.{model}")]
    return np.concatenate(parts).reshape(-1, 5 + n_experts) if parts else np.zeros((0, 5 + n_experts))


def late_rows(store: Checkpoints) -> list[int]:
    """Places in the log of all late events."""
    parts = [np.frombuffer(value, np.int64) for _, value in store.outbox(LATE)]
    return np.concatenate(parts).tolist() if parts else []
