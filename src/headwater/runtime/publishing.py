"""Makes the fold's state visible: what changed since the last time, in one transaction of the view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headwater.core.batch import Ints
from headwater.core.clock import Clock
from headwater.core.errors import DiskFull
from headwater.core.seals import Seal
from headwater.evaluation.pending import Pending
from headwater.runtime.flags import PUBLISHED, UNSAVED, taken
from headwater.runtime.fold import Fold
from headwater.runtime.lines_shown import LinesShown, mark_line
from headwater.runtime.model_fold import ModelFold
from headwater.store.view import (
    ViewMeta,
    Writer,
    entity_key,
    guard_key,
    question_key,
    seen_key,
)  # fmt: skip

_STATUS_EVERY_S = 0.25
_encode_status = msgspec.json.Encoder().encode


class Publisher:
    """Publishes one fold. After a restart it waits until the fold has caught up with what is already published.

    Args:
        fold: What is shown.
        view: Where.
        clock: Stamps it.
        resume: What is shown there already is this fold's.
        seal: Goes on the states of learners in the event lane; None: they are read in this process only.
    """

    def __init__(self, fold: Fold, view: Writer, clock: Clock, *, resume: bool, seal: Seal | None = None) -> None:
        self._fold, self._view, self._clock = fold, view, clock
        self._app = fold.app.fingerprint()
        self._from = view.seq() if resume else 0
        self._is_anew = True  # the view may show questions that the fold has let go of since
        self._shown = {name: _Shown() for name in fold.models}
        self._lines = LinesShown(seal)
        self._seen: dict[str, int] = {}
        self._extra: dict[str, Any] = {}
        self._status_s, self._status_seq = float("-inf"), -1
        if not resume:
            view.clear()
        mark_all(fold)

    @property
    def is_behind(self) -> bool:
        """Whether the view is ahead of the fold, which refolds after a crash."""
        return self._fold.seq < self._from

    @property
    def status_is_due(self) -> bool:
        """Whether the status says less than what is published, and has done so for long enough."""
        return self._status_seq != self._fold.seq and self._clock.monotonic_s() - self._status_s >= _STATUS_EVERY_S

    def publish(self, extra: dict[str, Any] | None = None) -> bool:
        """Show the state after `fold.seq`; returns whether anything was shown. `extra` goes into the status, from now on."""
        if self.is_behind:
            return False
        fold, puts, deletes = self._fold, [], []
        for number, table in enumerate(fold.engine.tables):
            slots = taken(table.dirty[: table.n], PUBLISHED)
            puts += [(entity_key(number, int(table.keys[slot])), table.rows[slot].tobytes()) for slot in slots]
        for number, (name, model) in enumerate(fold.models.items()):
            shown, gone = self._shown[name].changes(model.pending)
            puts += [(question_key(number, int(model.pending.known[r])), model.pending.rows[r].tobytes()) for r in shown]
            deletes += [question_key(number, key) for key in gone]
            puts += self._lines.changes(number, name, model)
            puts += self._guard(name, model)
        if self._is_anew:
            kept = {key for key, _ in puts}
            deletes += [key for key in self._view.questions() if key not in kept]
        meta = ViewMeta(fold.seq, fold.watermarks.high_mark(), self._clock.now_us(), self._app)
        try:
            self._view.publish(meta, puts, deletes, self._status(extra))
        except DiskFull:
            self._again()
            return False
        self._is_anew = False
        return True

    def _again(self) -> None:
        """Nothing of this time was shown: next time everything is."""
        mark_all(self._fold)
        self._is_anew = True
        self._lines.clear()
        self._seen.clear()
        self._status_seq = -1

    def _guard(self, name: str, model: ModelFold) -> list[tuple[bytes, Any]]:
        """A guard's state with what "no change" says, and which categories it has seen, where these are others now."""
        if (guard := model.guard) is None:
            return []
        puts: list[tuple[bytes, Any]] = [(guard_key(name), np.concatenate([model.no_change, guard.state], axis=None).data)]
        if self._seen.get(name) != (mark := guard.seen_mark):
            self._seen[name] = mark
            puts.append((seen_key(name), guard.seen.tobytes()))
        return puts

    def _status(self, extra: dict[str, Any] | None) -> bytes | None:
        """Metrics and counts, a few times a second: they are for people."""
        self._extra |= extra or {}
        if not (self.status_is_due or extra):
            return None
        self._status_s, self._status_seq = self._clock.monotonic_s(), self._fold.seq
        fold = self._fold
        told = {
            "metrics": fold.metrics(),
            "sources": fold.counts(),
            "left_out": fold.left_out(),
            "revisions": fold.n_revisions(),
        }
        return _encode_status({**told, **self._extra})


class _Shown:
    """Which key each ring row was last shown under, so that a freed or reused row's key is taken down."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.uint64)

    def changes(self, pending: Pending) -> tuple[list[int], list[int]]:
        """Ring rows to show, and keys to take down."""
        changed = taken(pending.dirty, PUBLISHED)
        before = set(self._keys.tolist()) if self._keys.size != pending.known.size else set(self._keys[changed].tolist())
        if self._keys.size != pending.known.size:
            self._keys = np.zeros(pending.known.size, np.uint64)
        in_use = np.zeros(pending.known.size, np.bool_)
        in_use[pending.order()] = True
        newest = changed[in_use[changed]]
        newest = newest[pending.find(pending.known[newest]) == newest]
        self._keys[changed] = 0
        self._keys[newest] = pending.known[newest]
        gone = before - {0}
        if gone:
            keys = np.fromiter(gone, np.uint64, len(gone))
            gone = set(keys[pending.find(keys) < 0].tolist())
        return newest.tolist(), list(gone)


def mark_all(fold: Fold, *, saved: bool = True) -> None:
    """Have everything published anew, and, where not `saved`, saved anew too."""
    bits = PUBLISHED if saved else PUBLISHED | UNSAVED
    for table in fold.engine.tables:
        table.dirty[: table.n] |= bits
    for model in fold.models.values():
        model.pending.dirty[:] |= bits
        mark_line(model, bits)


def boot_id() -> str:
    """What tells one boot of this machine from the next; "" where the system does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def arrays_of(fold: Fold) -> Iterator[tuple[str, Any, Ints | None]]:
    """(name, array, places of changed rows or None) of everything a checkpoint keeps; clears the rows' flags."""
    for name, array in fold.watermarks.arrays().items():
        yield f"watermarks.{name}", array, None
    yield "tally", fold.engine.tally, None
    for number, table in enumerate(fold.engine.tables):
        changed = taken(table.dirty[: table.n], UNSAVED)
        yield f"table.{number}.keys", table.keys[: table.n], changed
        yield f"table.{number}.rows", table.rows[: table.n], changed
    for name, model in fold.models.items():
        for part, array in model.small_arrays().items():
            yield f"model.{name}.{part}", array, None
        for arrays, dirty in model.by_row():
            changed = taken(dirty, UNSAVED)
            for part, array in arrays.items():
                yield f"model.{name}.{part}", array, changed
