"""The learner: reads the log, folds, registers, publishes, saves. One process, one thread, in that order.

It starts where the last save ended. Whatever a crash undid is folded again with the same result, so that nothing it did
twice can be told from what it did once.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from headwater.app import App
from headwater.core.clock import Clock, SystemClock
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, DiskFull, WrongState
from headwater.following.cursors import Cursors
from headwater.following.notices import FEATURES, INCIDENTS, SAYS, VERSIONS, Notices, Said
from headwater.log.protocol import Chunk, EventLog
from headwater.log.wake import Doorbell, ring
from headwater.registry.catalog import Catalog
from headwater.runtime.changes import remember
from headwater.runtime.checkpointing import TOLD, Checkpointer, restore
from headwater.runtime.failures import Failures
from headwater.runtime.idleness import Idleness
from headwater.runtime.incidents import incidents
from headwater.runtime.isolating import learners
from headwater.runtime.marks import refits_in
from headwater.runtime.model_fold import Due
from headwater.runtime.places import BELLS, FOLLOWING, NEXT, STATE, VIEW
from headwater.runtime.publishing import Publisher, boot_id
from headwater.runtime.refits_beside import RefitsBeside
from headwater.runtime.refitting import slow_fit
from headwater.runtime.settings import Settings
from headwater.runtime.stopping import stops_in
from headwater.runtime.trust import Trust
from headwater.runtime.versions import Registrar, notice
from headwater.serving.nursery import Nursery
from headwater.store.checkpoint import Checkpoints
from headwater.store.view import ViewWriter

_CHUNK_EVENTS = 4096
_IDLE_S = 0.5
_FEATURE_ROWS = 1_000_000  # kept for their followers

_log = structlog.stdlib.get_logger("headwater.learner")


@dataclass(slots=True)
class Pace:
    """How often things are done; see `settings.Learner`."""

    checkpoint_s: float
    checkpoint_events: int
    publish_s: float


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the log is kept; None means all."""

    age_ms: int | None
    bytes: int | None

    @property
    def is_bounded(self) -> bool:
        return self.age_ms is not None or self.bytes is not None


class Learner:
    """Folds one log into one state directory.

    Args:
        app: The app.
        log: Its log.
        settings: Where and how.
        clock: Measures and stamps.
        on_level: Given to a learner of a changed app, which folds beside the running one (see `backfill`) and only that: it
            hears once when nothing waits any more. Until it takes over, the running one registers versions and tends the log.
        nursery: Forks the processes of models that run apart; None has them run here.
    """

    def __init__(
        self, app: App, log: EventLog, settings: Settings, clock: Clock | None = None,
        on_level: Callable[[int], None] | None = None, nursery: Nursery | None = None,
    ) -> None:  # fmt: skip
        self._app, self._log, self._clock = app, log, clock or SystemClock()
        self._on_level, self._is_beside = on_level, on_level is not None
        folder = settings.state_dir / NEXT if self._is_beside else settings.state_dir
        self._pace = Pace(
            settings.learner.checkpoint_every_s,
            settings.learner.checkpoint_every_events,
            settings.learner.publish_every_ms / 1000,
        )
        self._bells = settings.state_dir / BELLS
        self._store = Checkpoints(folder / STATE)
        _check_log(self._store, log, folder)
        self._bell = Doorbell(self._bells)
        trust = Trust.of(settings.registry_dir)
        starts = learners(app, nursery, settings.learner.model_deadline_s)
        self.fold = restore(app, self._store, trust.expected, starts, clock=time.thread_time)
        self.fold.fitted = refits_in(settings.registry_dir)
        self.fold.foresee(stops_in(app, log, self.fold.seq))
        self.fold.tells_features = settings.learner.tell_features
        remember(folder / STATE, app)
        self._checkpointer = Checkpointer(self.fold, self._store, trust.seal)
        if trust.is_first_start and self.fold.seq:
            self._checkpointer.save()  # sealed, before anything says that all is sealed here
            self._checkpointer.wait()
        self._catalog = Catalog(settings.registry_dir)
        if self._catalog.n_signed_now:
            _log.info("versions of a release without signatures are signed, once", versions=self._catalog.n_signed_now)
        self._registrar = Registrar(app, self._catalog)
        self._view, same = open_view(folder / VIEW)
        resume = same and self.fold.seq <= self._view.seq() <= log.bounds()[1]
        self._publisher = Publisher(self.fold, self._view, self._clock, resume=resume, seal=trust.seal)
        self._saved_s = self._publish_at_s = self._clock.monotonic_s()
        self._cpu_s = time.process_time()
        registered = self._catalog.list()
        self._n_versions = len(registered)
        following = settings.state_dir / FOLLOWING
        self._notices, self._cursors = Notices(following), Cursors(following)
        self._notices.check(self._store.extra().get(TOLD))
        self._checkpointer.told = self._notices.ends
        # Those of an installation that is older than notices, and those that a crash came before.
        self._notices.append_all(VERSIONS, map(notice, sorted(registered, key=lambda version: version.seq)))
        self._unregistered: list[Due] = []
        self._untold: dict[str, list[Said]] = {FEATURES: [], INCIDENTS: []}
        self._failures = Failures(None if self._is_beside else log, self._notices, self._clock, self._bells)
        self._idleness = Idleness(self.fold, self._clock, settings.learner.idle_after_ms)
        self._keep = Retention(settings.log.retention_age_ms, settings.log.retention_bytes)
        self._keeps_all = False
        self._refits: RefitsBeside | None = None
        if not self._is_beside and any(slow_fit(model) is not None for model in app.models.values()):
            self._refits = RefitsBeside(
                self.fold, settings.state_dir, settings.registry_dir, self._notices, self._clock, log.append,
                lambda: ring(self._bells), self._store,
            )  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Fold until told to stop; then fold what is in the log, save and return."""
        _log.info("learning", seq=self.fold.seq, end=self._log.bounds()[1])
        self._publisher.publish(self._extra())
        while not stop.is_set():
            self._bell.clear()
            if self.catch_up(stop):
                self._publish()  # nothing waits: what was learnt is shown at once
                continue
            self._tell_level()
            if self.fold.seq > self._checkpointer.seq and self._save_is_due():
                self._save()
            self._register()
            self._tend()
            if self._publisher.status_is_due:
                self._publish(self._extra())
            self._bell.wait(min(_IDLE_S, self._pace.checkpoint_s))
        self.catch_up()
        self._publish(self._extra())
        self._save()
        self._checkpointer.wait()
        _log.info("saved", seq=self.fold.seq, state_hash=self.fold.state_hash())

    def catch_up(self, stop: threading.Event | None = None) -> int:
        """Fold to the log's present end, or until told to stop; returns how many events."""
        before = self.fold.seq
        for chunk in self._log.read(self.fold.seq, _CHUNK_EVENTS):
            self._step(chunk)
            if stop is not None and stop.is_set():
                break
        return self.fold.seq - before

    def _step(self, chunk: Chunk) -> None:
        effects = self.fold.step(chunk)
        crashpoint("learner.folded")
        self._failures.take(effects.stopped, self.fold)
        self._checkpointer.gather(effects)
        if self._refits is not None and chunk.batch.n:
            self._refits.take(effects, (self._clock.now_us() - int(chunk.batch.arrival.max())) / 1e6)
            self._refits.poll()
        self._unregistered += effects.due
        for rows in effects.features:
            self._untold[FEATURES] += rows.said()
        if effects.bursts:
            self._untold[INCIDENTS] += incidents(effects.bursts)
            self._tell()
        self._register()
        crashpoint("learner.registered")
        if self._clock.monotonic_s() >= self._publish_at_s:
            self._publish()
        if self._save_is_due():
            self._save()

    def _tell_level(self) -> None:
        """Nothing waits any more: what was due and to be said before this place is the running learner's."""
        if self._on_level is not None:
            self._unregistered.clear()
            self._hush()
            self._on_level(self.fold.seq)
            self._on_level = None

    def _register(self) -> None:
        """Register what is due; where the disk is full it stays due.

        A learner beside another lets go of what was due before it was level. What is due then stays, so that it is not
        saved: whoever takes over folds those events again, and registers.
        """
        if self._is_beside:
            if self._on_level is not None:
                self._unregistered.clear()
            return
        while self._unregistered:
            cpu_s = time.process_time()
            try:
                made = self._registrar.register(self._unregistered[0], cpu_s - self._cpu_s)
                if made is not None and self._notices.append_all(VERSIONS, [notice(made)]):
                    ring(self._bells)
            except DiskFull as error:
                _log.warning("a version waits for room on the disk", error=str(error))
                return
            self._unregistered.pop(0)
            if made is not None:
                self._cpu_s = cpu_s
                self._n_versions += 1

    def _publish(self, extra: dict[str, Any] | None = None) -> None:
        began = self._clock.monotonic_s()
        self._publisher.publish(extra)
        crashpoint("learner.published")
        ended = self._clock.monotonic_s()
        # While events wait, publishing may take a quarter of the time, no more.
        self._publish_at_s = ended + max(self._pace.publish_s, 3 * (ended - began))

    def _save_is_due(self) -> bool:
        if self._checkpointer.is_saving:
            return False  # folding does not wait for the disk; the next save holds more
        waited = self._clock.monotonic_s() - self._saved_s >= self._pace.checkpoint_s
        return waited or self._checkpointer.is_due(self._pace.checkpoint_events)

    def _save(self) -> None:
        if self._unregistered or not self._failures.tell() or not self._tell():
            return  # a save would let go of the events that these versions and rows are made from
        if not self._checkpointer.save():
            _log.warning("the state waits for room on the disk", seq=self._checkpointer.saved_seq)
        crashpoint("learner.saving")
        self._saved_s = self._clock.monotonic_s()

    def _tell(self) -> bool:
        """Say what followers are to hear; False where the disk has no room for it, or another tells it."""
        if self._is_beside and self._on_level is not None:
            self._hush()
        waiting = {stream: said for stream, said in self._untold.items() if said}
        if not waiting or self._is_beside:
            return not waiting
        try:
            for stream, said in waiting.items():
                self._notices.append_all(stream, said)
            if FEATURES in waiting:
                self._notices.trim(FEATURES, _FEATURE_ROWS)
        except DiskFull as error:
            _log.warning("what followers are to hear waits for room on the disk", error=str(error))
            return False
        self._hush()
        ring(self._bells)
        return True

    def _hush(self) -> None:
        """Nothing of what is untold is ours to say any more."""
        for said in self._untold.values():
            said.clear()

    def _tend(self) -> None:
        """What is done while nothing waits: what was refitted, idle marks, retention."""
        if self._is_beside:
            return
        if self._refits is not None:
            self._refits.poll()
        for batch in self._idleness.marks():
            self._log.append(batch)
        if self._keep.is_bounded and (needed := self._needed_from()) is not None:
            self._log.retain(max_age_ms=self._keep.age_ms, max_bytes=self._keep.bytes, keep_from=needed)

    def _needed_from(self) -> int | None:
        """What is before this place in the log, nobody here reads again: neither a restart nor a consumer of the app's.

        None where a cursor cannot be believed: all is kept then, and learning goes on.
        """
        try:
            cursors = self._cursors.all()
        except CorruptData as error:
            if not self._keeps_all:
                _log.error("nothing is dropped from the log, since a cursor was altered", error=str(error))
            self._keeps_all = True
            return None
        places = [p.next for p in cursors if p.name in self._app.consumers and p.stream not in SAYS]
        return min([self._checkpointer.saved_seq, *places])

    def _extra(self) -> dict[str, Any]:
        return {"versions": self._n_versions, "cpu_s": time.process_time()}

    def close(self) -> None:
        if self._refits is not None:
            self._refits.close()
        self.fold.close()
        self._store.close()
        self._view.close()
        self._catalog.close()
        self._notices.close()
        self._cursors.close()
        self._bell.close()


def _check_log(store: Checkpoints, log: EventLog, folder: Path) -> None:
    """Refuse a log that ends before the saved state: an older copy, in which what comes next would get others' places."""
    seq, end = store.seq(), log.bounds()[1]
    if seq <= end:
        return
    store.close()
    raise WrongState(
        "the state has seen more than the log holds", where=str(folder), expected=f"a log that reaches seq {seq}",
        got=f"seq {end}, its end",
        next_step="Was an older copy of the log restored? Restore the log that belongs to this state, or move `state` and"
        " `registry` away to begin from that copy.",
    )  # fmt: skip


def open_view(folder: Path) -> tuple[ViewWriter, bool]:
    """The view, and whether it is from this boot. One from before the machine stopped may be torn: it is made anew."""
    mark, boot = folder / "boot", boot_id()
    same = mark.exists() and mark.read_text() == boot
    if not same and folder.exists():
        shutil.rmtree(folder)
    writer = ViewWriter(folder)
    mark.write_text(boot)
    return writer, same
