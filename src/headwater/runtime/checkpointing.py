"""Saves a fold and what leaves it, and restores it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Floats
from headwater.core.errors import DiskFull
from headwater.core.seals import Seal
from headwater.following.notices import Ends
from headwater.learning.fast_lane import Fast
from headwater.learning.protocol import BlockLearner
from headwater.runtime.fitter import EXAMPLES
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.publishing import arrays_of
from headwater.store.checkpoint import FORMAT, Checkpoints, Differ, Save, SavedMeta

_GATHER_BYTES = 4 << 20  # copying as much takes some milliseconds
JUDGED, LATE = "judged", "late"
_TRIM_EXAMPLES_EVERY = 100  # saves
SEALS, TOLD = "seals", "told"
_TRIM_EVERY, _KEEP_SAVES = 1_000, 100_000  # judged rows and late places of that many saves are kept: a day and more


class Checkpointer:
    """Gathers effects between saves; a save writes the changed state and the effects in one transaction.

    Args:
        fold: What is saved.
        store: Where.
        seal: Goes on the states of learners in the event lane; None: nobody but this process reads them.

    Attributes:
        told: Says what has been told by now, which is saved too: it must be there when the state is read again.
    """

    def __init__(self, fold: Fold, store: Checkpoints, seal: Seal | None = None) -> None:
        self._fold, self._store, self._seal = fold, store, seal
        self._differ = Differ()
        self._judged: dict[str, list[Floats]] = {}
        self._examples: dict[str, list[Floats]] = {}
        self._late: list[int] = []
        self._last: Save | None = None
        self._n_saves = 0
        self.seq = fold.seq
        self.told: Callable[[], Ends] | None = None

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
        extra: dict[str, Any] = {"sources": fold.watermarks.sources}
        if self.told is not None:
            extra[TOLD] = self.told()
        if self._seal is not None:
            extra[SEALS] = _seals(fold, self._seal)
        meta = SavedMeta(FORMAT, fold.app.fingerprint(), fold.seq, {}, extra)
        save = Save(meta)
        for name, array, changed in arrays_of(fold):
            self._differ.add(save, name, array, changed)
        save.outbox = [*self._leaving(), *more]
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

    def _leaving(self) -> Iterator[tuple[str, bytes, bytes]]:
        """What was gathered, as rows of the outbox."""
        at = self._fold.seq.to_bytes(8, "big")
        for kind, gathered in ((JUDGED, self._judged), (EXAMPLES, self._examples)):
            for model, parts in gathered.items():
                yield f"{kind}.{model}", at, np.concatenate(parts).tobytes()
        if self._late:
            yield LATE, at, np.array(self._late, np.int64).tobytes()

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


def restore(
    app: App, store: Checkpoints, seal: Seal | None = None, starts: Mapping[str, Callable[[], BlockLearner]] | None = None, *,
    clock: Callable[[], float] | None = None,
) -> Fold:  # fmt: skip
    """The fold as last saved, or a fresh one.

    Args:
        app: The app.
        store: Where it was saved.
        seal: Must be on whatever a learner of the event lane is given to load; None takes it as it comes.
        starts: Of models that run apart; see `Fold`.
        clock: The fold's.

    Raises:
        WrongState, CorruptData: See `Checkpoints.load`.
        Untrusted: A learner's state was not written by this installation.
    """
    fold = Fold(app, clock=clock, starts=starts)
    loaded = store.load(app.fingerprint())
    if loaded is None:
        return fold
    meta, arrays = loaded
    if seal is not None:
        check_seals(meta, arrays, seal, fold.models)
    fold.seq = meta.seq
    fold.watermarks.restore(meta.extra["sources"], under(arrays, "watermarks."))
    fold.engine.tally[:] = arrays["tally"]
    for number, table in enumerate(fold.engine.tables):
        table.restore(arrays[f"table.{number}.keys"], arrays[f"table.{number}.rows"])
    for name, model in fold.models.items():
        model.restore(under(arrays, f"model.{name}."))
    return fold


def _seals(fold: Fold, seal: Seal) -> dict[str, bytes]:
    lanes = {name: model.lane for name, model in fold.models.items() if model.lane is not None}
    states = {f"model.{name}.{part}": packed for name, lane in lanes.items() for part, packed in lane.states().items()}
    return {name: seal.of(name, packed) for name, packed in states.items()}


def is_sealed(meta: SavedMeta) -> bool:
    """Whether a save is from a release that seals."""
    return SEALS in meta.extra


def check_seals(meta: SavedMeta, arrays: dict[str, Any], seal: Seal, models: Iterable[str]) -> None:
    """Before a learner of the event lane is given a saved state: refuse what this installation did not write.

    Raises:
        Untrusted: A state of one of the models has no seal, or another's.
    """
    seals = meta.extra.get(SEALS, {})
    lines = tuple(f"model.{name}.line." for name in models)
    for name, array in arrays.items():
        if name.startswith(lines):
            seal.check(name, array.tobytes(), seals.get(name))


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
