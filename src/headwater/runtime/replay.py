"""Folds files of history as fast as it can: the same fold as a live run, without processes, clocks or disks.

Events of all files are merged by (time, declared order of streams, row) and go through the log's own deduplication. Files
that were exported from a log are merged by `seq`, and are what that log had let in.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Batch, Bools, Ints, Text, concat
from headwater.core.compiled import kernel
from headwater.core.errors import Fatal, nearest
from headwater.core.schema import SYSTEM_SCHEMAS, Schema
from headwater.ingest.decode import Decoder
from headwater.ingest.files import History, read_history
from headwater.ingest.letters import Letter
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.memory import MemoryLog
from headwater.log.protocol import Chunk, EventLog
from headwater.planning.ledger import Ledger
from headwater.runtime.checkpointing import Checkpointer, restore
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.marks import Fitted, has_plans, no_refits
from headwater.runtime.refitting import RefitsAtOnce, jobs_report
from headwater.runtime.stopping import stops_in
from headwater.runtime.vectors import Vectors
from headwater.store.checkpoint import Checkpoints

Progress = Callable[[str, int, int], None]  # what, done, of
_APPEND_EVENTS = 65_536


@dataclass(slots=True, eq=False)
class Replay:
    """What came of a replay.

    Attributes:
        events: Events folded.
        seconds: Wall time of folding alone.
        fold: The state at the end.
        counts: in, applied, duplicate, late, quarantined: the first is the sum of the others.
        letters: What was refused when reading.
        reasons: Refusals by code.
        ledger: What refits of slow models cost and gained, where they were decided here; None where the history itself says
            when they took effect.
    """

    events: int
    seconds: float
    fold: Fold
    counts: dict[str, int]
    letters: list[Letter] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    ledger: Ledger | None = None

    def report(self) -> dict[str, Any]:
        """As `headwater replay --json` writes it."""
        rate = self.events / self.seconds if self.seconds > 0 else 0.0
        spent = {} if self.ledger is None else {"ledger": jobs_report(self.ledger)}
        return {
            "app": self.fold.app.name, "events": self.events, "seconds": self.seconds, "events_per_s": rate,
            "state_hash": self.fold.state_hash(), "counts": self.counts, "quarantined_by_reason": self.reasons,
            "left_out": self.fold.left_out(), "revisions": self.fold.n_revisions(), "metrics": self.fold.metrics(),
            **spent,
        }  # fmt: skip


def ignore(what: str, done: int, of: int) -> None:
    """No progress bar."""


def read_inputs(
    app: App, inputs: Mapping[str, Path], mixed: Sequence[Path] = (), progress: Progress = ignore, *, is_taste: bool = False
) -> list[History]:
    """Read every file; see `replay`. A taste is the first piece of each.

    Raises:
        Fatal: An unknown stream, or a file that cannot be read.
    """
    schemas: dict[str, Schema] = {**app.streams, **{s.stream: s for s in SYSTEM_SCHEMAS}}
    decoder = Decoder(Shapes(app.streams), Limits())
    histories = []
    files: list[tuple[Schema | None, Path]] = [(_known(schemas, app, stream, path), path) for stream, path in inputs.items()]
    files += [(None, path) for path in mixed]
    total, before = sum(path.stat().st_size for _, path in files if path.exists()), 0
    for schema, path in files:
        history = History(schema.stream if schema else "")
        for done, history in read_history(decoder, schema, path):  # noqa: B007 - the last one is whole
            progress("reading", before + done, total)
            if is_taste:
                break
        before += path.stat().st_size
        histories.append(history)
    return histories


def _known(schemas: Mapping[str, Schema], app: App, stream: str, path: Path) -> Schema:
    if stream not in schemas:
        raise Fatal(
            "the app has no such stream", where=f"--input {stream}={path}", got=stream, next_step=nearest(stream, app.streams)
        )
    return schemas[stream]


def merge(app: App, histories: list[History]) -> tuple[Batch | None, int]:
    """All events in one order, and how many lay too far ahead of their stream's high mark to be believed."""
    order = {name: i for i, name in enumerate(app.streams)}
    wholes = [(concat(h.parts), h.seq) for h in histories if h.parts]
    if not wholes:
        return None, 0
    joined = concat([batch for batch, _ in wholes])
    if all(seq is not None for _, seq in wholes):
        seq = np.concatenate([seq for _, seq in wholes if seq is not None])
        ranked = np.argsort(seq, kind="stable")
        # An id may come again once the log has forgotten it: what it let in is told apart by its place.
        return replace(_arrange(joined, ranked), ids=Text.of(list(map(str, seq[ranked].tolist())))), 0
    rank = np.array([order.get(name, -1) for name in joined.names], np.int64)[joined.stream]
    ranked = np.lexsort((rank, joined.time))  # stable: at equal time and rank, rows stay in the order of files and rows
    arranged = _arrange(joined, ranked)
    ahead = np.array([app.streams[n].max_ahead_ms if n in app.streams else 2**62 for n in joined.names], np.int64)
    keep = np.ones(joined.n, np.bool_)
    # In order of time nothing is ahead of what came before but a jump: look at each file in its own order.
    _too_far_ahead(joined.stream, joined.time, ahead, keep)
    lost = int((~keep).sum())
    return (arranged if lost == 0 else arranged.take(np.flatnonzero(keep[ranked]))), lost


@kernel
def _too_far_ahead(stream: Any, time: Ints, ahead: Ints, keep: Bools) -> None:
    high = np.full(ahead.size, np.int64(-(2**62)))
    for i in range(time.size):
        s = stream[i]
        if high[s] != -(2**62) and time[i] > high[s] + ahead[s]:
            keep[i] = False
        else:
            high[s] = max(high[s], time[i])


def _arrange(batch: Batch, ranked: Ints) -> Batch:
    """The rows in a new order."""
    frames = {}
    for code, name in enumerate(batch.names):
        local = np.cumsum(batch.stream == code) - 1
        frames[name] = batch.frames[name].take(local[ranked[batch.stream[ranked] == code]])
    return Batch(
        batch.n, batch.names, batch.stream[ranked], batch.time[ranked], batch.arrival[ranked], batch.sources,
        batch.source[ranked], batch.ids.take(ranked), frames,
    )  # fmt: skip


def replay(
    app: App, inputs: Mapping[str, Path], *, mixed: Sequence[Path] = (), batch: int = 4096, restarts: int = 0,
    progress: Progress = ignore, on_effects: Callable[[Effects], None] | None = None, vectors: Path | None = None,
    fitted: Fitted = no_refits,
) -> Replay:  # fmt: skip
    """Fold files.

    Args:
        app: The app.
        inputs: Stream -> file.
        mixed: Files of JSON lines in which each event names its `stream`.
        batch: Events a step; changes nothing but the speed.
        restarts: How often the fold is saved, dropped and restored on the way; changes nothing either.
        progress: Told how far it is.
        on_effects: Given what each step did.
        vectors: A folder that keeps each question with its features as they were scored; see `store.history`.
        fitted: Gives what was refitted, where the history is a log that says when it took effect; see `marks`. Any other
            history has its refits decided and made here.
    """
    histories = read_inputs(app, inputs, mixed, progress)
    merged, ahead = merge(app, histories)
    log = MemoryLog(dedupe_for_ms=2**62)
    if merged is not None:
        for start in range(0, merged.n, _APPEND_EVENTS):
            log.append(merged.slice(start, min(start + _APPEND_EVENTS, merged.n)))
            progress("ordering", start, merged.n)
    letters = [letter for h in histories for letter in h.letters]
    began = time.perf_counter()
    kept = Vectors(app, vectors) if vectors is not None else None
    refits = None if merged is not None and has_plans(merged) else RefitsAtOnce(app)
    walk = _Walk(app, log, batch, progress, on_effects, kept, refits, fitted)
    fold = walk.run(restarts)
    seconds = time.perf_counter() - began
    reasons = Counter(letter.code for letter in letters) + Counter({"too_far_ahead": ahead} if ahead else {})
    return Replay(fold.seq, seconds, fold, _counts(fold, log, len(letters) + ahead), letters, dict(reasons),
                  refits.ledger if refits is not None and refits.upkeeps else None)  # fmt: skip


def _counts(fold: Fold, log: EventLog, refused: int) -> dict[str, int]:
    by_source = log.counts().values()
    folded = fold.counts().values()
    counts = {
        "applied": sum(c["applied"] for c in folded), "duplicate": sum(c.duplicate for c in by_source),
        "late": sum(c["late"] for c in folded), "quarantined": refused + sum(c.conflict + c.quarantined for c in by_source),
    }  # fmt: skip
    return {"in": sum(counts.values()), **counts}


def chunks(log: EventLog, seq: int, events: int) -> Iterator[Chunk]:
    """The log from `seq` on in chunks of exactly `events` rows (the last may be shorter), across stored chunks."""
    held: list[Batch] = []
    n = 0
    for chunk in log.read(seq):
        at = 0
        while at < chunk.batch.n:
            take = min(events - n, chunk.batch.n - at)
            held.append(chunk.batch if take == chunk.batch.n else chunk.batch.slice(at, at + take))
            at, n = at + take, n + take
            if n == events:
                yield Chunk(seq, concat(held))
                seq, held, n = seq + n, [], 0
    if held:
        yield Chunk(seq, concat(held))


@dataclass(slots=True, eq=False)
class _Walk:
    """One way through a log; see `replay`."""

    app: App
    log: EventLog
    batch: int
    progress: Progress
    on_effects: Callable[[Effects], None] | None
    vectors: Vectors | None
    refits: RefitsAtOnce | None
    fitted: Fitted

    def run(self, restarts: int) -> Fold:
        """Fold all of it, saving, dropping and restoring the state so many times."""
        end = self.log.bounds()[1]
        stops = [end * (i + 1) // (restarts + 1) for i in range(restarts)]
        fold = Fold(self.app)
        fold.foresee(stops_in(self.app, self.log, 0))
        with tempfile.TemporaryDirectory() as folder:
            for number, stop in enumerate([*stops, end]):
                store = Checkpoints(Path(folder)) if restarts else None
                saver = Checkpointer(fold, store) if store else None
                self._fold(fold, stop, end)
                if store and saver:
                    if number < restarts:
                        saver.save()
                    store.wait()
                    if number < restarts:
                        fold = restore(self.app, store)
                        fold.foresee(stops_in(self.app, self.log, fold.seq))
                    store.close()
        if self.vectors:
            self.vectors.flush()
        return fold

    def _fold(self, fold: Fold, stop: int, end: int) -> None:
        fold.on_scored = self.vectors.keep if self.vectors else None
        fold.fitted = self.fitted
        if self.refits:
            self.refits.attach(fold)
        for chunk in chunks(self.log, fold.seq, self.batch):
            if chunk.seq >= stop:
                break
            part = chunk if chunk.seq + chunk.batch.n <= stop else Chunk(chunk.seq, chunk.batch.slice(0, stop - chunk.seq))
            effects = fold.step(part)
            if self.refits:
                self.refits.take(effects)
            if self.on_effects:
                self.on_effects(effects)
            self.progress("folding", fold.seq, end)
