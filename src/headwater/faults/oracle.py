"""One oracle for every fault: nothing lost, nothing counted twice, the same state again, one version, and progress.

It knows what was sent, and reads what lies on disk once all is at rest. It works on any app: see `audit`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from headwater.app import App
from headwater.core.batch import Batch
from headwater.core.schema import CONTROL, DEAD
from headwater.faults.recount import Recount
from headwater.faults.world import Line
from headwater.following.notices import VERSIONS, Notices
from headwater.log.open import open_log
from headwater.log.protocol import EventLog
from headwater.registry.catalog import Catalog
from headwater.runtime.checkpointing import judged_rows, late_rows, restore
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.model_fold import VERSION, Due
from headwater.runtime.places import FOLLOWING, STATE, VIEW
from headwater.runtime.settings import Settings
from headwater.store.checkpoint import Checkpoints
from headwater.store.view import ViewReader, weights_key

_SHOWN = 5
_REFOLD_EVENTS = 37  # cuts the log elsewhere than any append did


class Book:
    """What a door must do with each line, kept as a dictionary.

    Attributes:
        events: The first telling of each (source, id).
        dead: Texts that are in quarantine: no events, and other tellings under an id that is taken.
        expected: How many lines got each verdict, were each sent once.
        n_contradictions: How many of them were other tellings under an id that is taken.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.dead: set[bytes] = set()
        self.expected: Counter[str] = Counter()
        self.n_contradictions = 0

    def enter(self, lines: Iterable[Line], latest_ms: int | None = None) -> list[str]:
        """Note lines as they are sent; the verdict that each must get.

        Args:
            lines: The lines.
            latest_ms: Events after this time are refused: their clock, or ours, is wrong.
        """
        return [self._enter(line, latest_ms) for line in lines]

    def _enter(self, line: Line, latest_ms: int | None) -> str:
        if line.event is None or (latest_ms is not None and line.event["time"] > latest_ms):
            verdict = "quarantined"
        elif line.name not in self.events:
            self.events[line.name] = line.event
            verdict = "accepted"
        else:
            verdict = "duplicate" if self.events[line.name] == line.event else "quarantined"
            self.n_contradictions += verdict == "quarantined"
        if verdict == "quarantined":
            self.dead.add(line.text)
        self.expected[verdict] += 1
        return verdict

    @property
    def by_source(self) -> Counter[str]:
        """How many events each source has in the log."""
        return Counter(source for source, _ in self.events)


def rows_of(log: EventLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row of a log with its place, as the members of the event that it was."""
    for chunk in log.read(log.bounds()[0]):
        yield from ((chunk.seq + at, row) for at, row in enumerate(_rows(chunk.batch)))


def _rows(batch: Batch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{}] * batch.n
    for stream, frame in batch.frames.items():
        columns = {name: column.to_list() for name, column in frame.columns.items()}
        for i, at in enumerate(batch.rows_of(stream).tolist()):
            envelope = {"id": batch.ids[at], "source": batch.sources[batch.source[at]], "time": int(batch.time[at])}
            found[at] = {**{name: values[i] for name, values in columns.items()}, **envelope, "stream": stream}
    return found


def audit(app: App, where: Settings | Path, book: Book | None = None, *, is_exact: bool = True) -> list[str]:
    """What does not hold of a state directory at rest; empty is well.

    Args:
        app: The app that it belongs to.
        where: The state directory, or its settings; this process has nothing of it open.
        book: What was sent and acknowledged; None where nobody kept one.
        is_exact: Whether each line was sent just as often as `book` says: without crashes and retries the log's counts of
            duplicates must agree too.

    Raises:
        EventsDropped: Retention has dropped the log's beginning: there is nothing to compare the state with.
    """
    settings = Settings(state_dir=where) if isinstance(where, Path) else where
    with closing(open_log(settings.log_url, readonly=True)) as log:
        rows = list(rows_of(log))
        fold, effects = refolded(app, log)
        said = [] if book is None else conserved(book, log, rows, is_exact=is_exact)
    said += recounted(app, rows, fold)
    said += saved(app, settings.state_dir / STATE, fold, effects)
    said += shown(settings.state_dir / VIEW, fold)
    said += registered(settings, [due for one in effects for due in one.due if due.name == VERSION])
    return said


def refolded(app: App, log: EventLog) -> tuple[Fold, list[Effects]]:
    """The log folded once more, undisturbed, in other pieces."""
    fold = Fold(app)
    return fold, [fold.step(chunk) for chunk in log.read(0, _REFOLD_EVENTS)]


def conserved(book: Book, log: EventLog, rows: list[tuple[int, dict[str, Any]]], *, is_exact: bool) -> list[str]:
    """In = accepted + duplicate + quarantined, each event in the log once and as it was sent."""
    events = [row for _, row in rows if row["stream"] not in {DEAD, CONTROL}]
    dead = [row for _, row in rows if row["stream"] == DEAD]
    stored = {(row["source"], row["id"]): row for row in events}
    said = []
    if lost := sorted(book.events.keys() - stored.keys()):
        said.append(f"{len(lost)} acknowledged events are not in the log: {lost[:_SHOWN]}")
    if strange := sorted(stored.keys() - book.events.keys()):
        said.append(f"{len(strange)} events in the log were never sent: {strange[:_SHOWN]}")
    if len(stored) < len(events):
        said.append(f"{len(events) - len(stored)} events are in the log twice")
    if other := [name for name, row in stored.items() if name in book.events and row != book.events[name]]:
        said.append(f"{len(other)} events are in the log otherwise than first sent: {other[:_SHOWN]}")
    if len(dead) != len(book.dead):
        said.append(f"{len(book.dead)} different lines were refused, {len(dead)} are in quarantine")
    if unexplained := [row["id"] for row in dead if not row["code"] or not row["reason"]]:
        said.append(f"{len(unexplained)} lines are in quarantine without a reason: {unexplained[:_SHOWN]}")
    return said + _tallied(book, log, is_exact=is_exact)


def _tallied(book: Book, log: EventLog, *, is_exact: bool) -> list[str]:
    counts = log.counts()
    said = [
        f"source {source}: {n} events accepted, the log counts {counts[source].accepted if source in counts else 0}"
        for source, n in book.by_source.items()
        if source not in counts or counts[source].accepted != n
    ]
    quarantined = sum(c.quarantined for c in counts.values())
    if quarantined != len(book.dead):
        said.append(f"{len(book.dead)} lines are in quarantine, the log counts {quarantined}")
    # A contradiction is counted as such beside its dead letter; a dead letter that comes again counts as either, since its
    # time is its arrival.
    again = book.expected["duplicate"] + book.n_contradictions + book.expected["quarantined"] - len(book.dead)
    counted = sum(c.duplicate + c.conflict for c in counts.values())
    if counted < again or (is_exact and counted > again):
        said.append(f"{again} lines were known or contradicted, the log counts {counted}")
    return said


def recounted(app: App, rows: list[tuple[int, dict[str, Any]]], fold: Fold) -> list[str]:
    """In the log = applied + late, per source, by watermarks that are computed here in another way."""
    recount = Recount(app)
    for _, row in rows:
        recount.see(row)
    told = {source: (c["applied"], c["late"]) for source, c in fold.counts().items()}
    said = []
    if told != (found := recount.counts()):
        said.append(f"applied and late events by source: the fold says {told}, a recount {found}")
    for model, questions in recount.questions().items():
        mine = fold.metrics()[model]["questions"]
        if wrong := {name: (mine[name], n) for name, n in questions.items() if mine[name] != n}:
            said.append(f"{model}: questions and labels (told, recounted): {wrong}")
    return said


def saved(app: App, folder: Path, fold: Fold, effects: list[Effects]) -> list[str]:
    """The saved state and the rows that left with it are those of an undisturbed fold of the log."""
    with closing(Checkpoints(folder, readonly=True)) as store:
        there = restore(app, store)
        said = []
        if there.seq != fold.seq:
            said.append(f"the state is saved at {there.seq}, the log ends at {fold.seq}: it does not catch up")
        elif there.state_hash() != fold.state_hash():
            said.append(f"the saved state is not that of an undisturbed fold of the log: {_differing(there, fold)}")
        if late_rows(store) != (late := [seq for one in effects for seq in one.late]):
            said.append(f"{len(late)} late events, {len(late_rows(store))} are listed")
        for name, model in fold.models.items():
            judged = [part for one in effects for part in one.judged.get(name, [])]
            n, there_bytes = sum(map(len, judged)), judged_rows(store, name, model.n_experts).tobytes()
            if there_bytes != b"".join(part.tobytes() for part in judged):
                said.append(f"{name}: the judged rows that were handed on are not the {n} of an undisturbed fold")
    return said


def _differing(left: Fold, right: Fold) -> list[str]:
    mine, theirs = dict(left.arrays()), dict(right.arrays())
    return [name for name in theirs if name not in mine or mine[name].tobytes() != theirs[name].tobytes()][:_SHOWN]


def shown(folder: Path, fold: Fold) -> list[str]:
    """What is published is of one place in the log, whole: the weights and memories of the fold there."""
    with closing(ViewReader(folder)) as view, view.open() as published:
        if published.meta.seq != fold.seq:
            return [f"published at {published.meta.seq}, the log ends at {fold.seq}"]
        torn = [
            name
            for name, model in fold.models.items()
            if (row := published.row(weights_key(name))) is None or row.tobytes() != model.learner.published().tobytes()
        ]
    return [f"published with place {fold.seq}, but not its weights: {torn}"] if torn else []


def registered(settings: Settings, due: list[Due]) -> list[str]:
    """Every version that fell due is registered and told of once, with the weights of its place."""
    said = []
    with (
        closing(Catalog(settings.registry_dir, read_only=True)) as catalog,
        closing(Notices(settings.state_dir / FOLLOWING)) as notices,
    ):
        versions = {(v.line, v.seq): v for v in catalog.list()}
        if versions.keys() != (wanted := {(one.model, one.seq): one for one in due}).keys():
            said.append(f"versions registered {sorted(versions)}, due {sorted(wanted)}")
        for name in versions.keys() & wanted.keys():
            arrays = catalog.artifacts.get(versions[name].sha256).arrays
            if _hash(arrays) != _hash(wanted[name].arrays):
                said.append(f"version {versions[name].name} does not hold the weights of its place")
        stream = notices.stream(VERSIONS)
        page = stream.read(0, 10_000, 1 << 30)
    told = Counter(page.rows.ids.to_list()) if page.n else Counter()
    if told != Counter(v.name for v in versions.values()):
        said.append(f"{len(versions)} versions are registered, told of: {dict(told)}")
    return said


def _hash(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return digest.hexdigest()
