"""What an operator may do with dead letters: list, show, repair and replay them.

A replayed letter goes the way of any event, with its original source and id, so that nothing enters twice. That it was
replayed is itself an event (`_control`, kind `quarantine.replayed`), so that it is not offered again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from headwater.core.batch import Batch, concat
from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.core.schema import DEAD, Schema
from headwater.ingest.columns import assemble
from headwater.ingest.examine import convert, flatten, parse
from headwater.ingest.letters import Bad, Letter, letter
from headwater.ingest.limits import Limits
from headwater.ingest.repairs import Edit
from headwater.ingest.resent import settle_resent
from headwater.ingest.shapes import Row, Shapes
from headwater.ingest.verdicts import CONFLICT, WORDS
from headwater.log.control import control_batch, control_events
from headwater.log.protocol import EventLog, Verdict

REPLAYED = "quarantine.replayed"  # kind of the `_control` event
_AT_ONCE = 1000  # letters in one append


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused event.

    Attributes:
        seq: Its place in the log; names it for `show` and `replay`.
        id: Hash of source and text.
        source: The event's source, "default" where it could not be read.
        stream: The stream that it was meant for, as far as known.
        code: Why it was refused, for programs.
        reason: The same for people.
        arrival_us: When it was refused, microseconds since 1970 UTC.
        n_bytes: Length of `raw`.
        truncated: `raw` is only the beginning; it can be shown but not replayed.
        replayed: It has been replayed with success.
        raw: The original text; bytes that were not UTF-8 are written with backslashes.
    """

    seq: int
    id: str
    source: str
    stream: str
    code: str
    reason: str
    arrival_us: int
    n_bytes: int
    truncated: bool
    replayed: bool
    raw: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters: those that meet every condition given. The default is all that have not been replayed.

    Attributes:
        seqs: Their places in the log.
        codes: Their codes.
        streams: Their streams.
        sources: Their sources.
        since_us: Refused at or after this, microseconds since 1970 UTC.
        until_us: Refused before this.
        replayed: Also those replayed already.
        limit: At most so many, the oldest first.
    """

    seqs: frozenset[int] | None = None
    codes: frozenset[str] | None = None
    streams: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    since_us: int | None = None
    until_us: int | None = None
    replayed: bool = False
    limit: int | None = None

    def __contains__(self, letter: DeadLetter) -> bool:
        wanted = (
            (self.seqs, letter.seq),
            (self.codes, letter.code),
            (self.streams, letter.stream),
            (self.sources, letter.source),
        )
        return (
            all(allowed is None or value in allowed for allowed, value in wanted)
            and (self.since_us is None or letter.arrival_us >= self.since_us)
            and (self.until_us is None or letter.arrival_us < self.until_us)
            and (self.replayed or not letter.replayed)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a replayed letter.

    Attributes:
        letter: Which.
        verdict: accepted, duplicate or quarantined (it stays one letter).
        code: Why it was refused again; empty otherwise.
        reason: The same for people.
        seq: The event's place in the log; None where it has none.
    """

    letter: DeadLetter
    verdict: str
    code: str = ""
    reason: str = ""
    seq: int | None = None


def letters(log: EventLog, selection: Selection | None = None) -> Iterator[DeadLetter]:
    """The selected letters, oldest first. Cost: two passes over the retained log, which keep nothing but replayed seqs."""
    selection = selection or Selection()
    replayed = _replayed(log)
    found = (found for found in _all(log, replayed) if found in selection)
    return islice(found, selection.limit)


def show(log: EventLog, seq: int) -> DeadLetter:
    """One letter with its text.

    Raises:
        HeadwaterError: There is no letter at `seq`.
    """
    for found in letters(log, Selection(seqs=frozenset({seq}), replayed=True, limit=1)):
        return found
    raise HeadwaterError(
        "there is no dead letter here", where=f"seq {seq}", next_step="`headwater quarantine list` shows those that there are."
    )


def replay(
    log: EventLog, schemas: Mapping[str, Schema], selection: Selection, edits: Sequence[Edit] = (), *, clock: Clock,
    limits: Limits | None = None, dry_run: bool = False,
) -> list[Outcome]:  # fmt: skip
    """Read the selected letters again, after the edits, and append what is now good.

    Args:
        log: Where they lie and where they go.
        schemas: The declared streams.
        selection: Which letters.
        edits: Done to each event in order; see `repairs`.
        clock: Stamps the new arrival. An event without a time of its own keeps that of its first arrival.
        limits: Bounds on size and depth.
        dry_run: Only say what is now good; nothing is appended. Ids are not looked up.

    Returns:
        One outcome a letter. Events are durable before their letters are marked: after a crash in between, the letter is
        offered again and its event is then a duplicate.
    """
    shapes, limits = Shapes(schemas), limits or Limits()
    chosen = iter(list(letters(log, selection)))
    outcomes: list[Outcome] = []
    while some := list(islice(chosen, _AT_ONCE)):
        rows = [_read(shapes, limits, found, edits) for found in some]
        outcomes += _append(log, shapes, some, rows, edits, clock, dry_run=dry_run)
    return outcomes


def _replayed(log: EventLog) -> frozenset[int]:
    marks = (mark for chunk in log.read(log.bounds()[0]) for mark in control_events(chunk.batch))
    return frozenset(mark.body["letter"] for mark in marks if mark.kind == REPLAYED)


def _all(log: EventLog, replayed: frozenset[int]) -> Iterator[DeadLetter]:
    for chunk in log.read(log.bounds()[0]):
        yield from _in_batch(chunk.seq, chunk.batch, replayed)


def _in_batch(first: int, batch: Batch, replayed: frozenset[int]) -> Iterator[DeadLetter]:
    if DEAD not in batch.frames:
        return
    columns = {name: column.to_list() for name, column in batch.frames[DEAD].columns.items()}
    for i, row in enumerate(batch.rows_of(DEAD).tolist()):
        raw, seq = columns["raw"][i], first + row
        yield DeadLetter(
            seq,
            batch.ids[row],
            batch.sources[batch.source[row]],
            columns["stream"][i],
            columns["code"][i],
            columns["reason"][i],
            int(batch.arrival[row]),
            len(raw.encode()),
            bool(columns["truncated"][i]),
            seq in replayed,
            raw,
        )


def _read(shapes: Shapes, limits: Limits, found: DeadLetter, edits: Sequence[Edit]) -> Row | Letter:
    if found.truncated:
        return _refused(found, Bad("truncated", f"expected a whole event, only its first {found.n_bytes} bytes were kept"))
    try:
        event = parse(found.raw.encode(), replace(limits, max_event_bytes=max(limits.max_event_bytes, found.n_bytes)))
        event = flatten(event) if "specversion" in event else event
        for edit in edits:
            event = edit.apply(event)
        is_moved = any(edit.touches("stream") for edit in edits)
        posted_to = found.stream if found.stream in shapes.by_stream and not is_moved else None
        row = convert(shapes, event, posted_to)
    except Bad as bad:
        return _refused(found, bad)
    if row.time is None:
        row.time = found.arrival_us // 1000
    return row


def _refused(found: DeadLetter, bad: Bad) -> Letter:
    return letter(bad, found.raw.encode(), source=found.source, stream=found.stream, max_bytes=0)


def _append(
    log: EventLog,
    shapes: Shapes,
    found: list[DeadLetter],
    rows: list[Row],
    edits: Sequence[Edit],
    clock: Clock,
    *,
    dry_run: bool,
) -> list[Outcome]:
    now_us = clock.now_us()
    batch, kept = assemble(shapes, rows, now_us, lambda i, bad: _refused(found[i], bad))
    good = [i for i, row in enumerate(kept) if type(row) is not Letter]
    outcomes = [Outcome(f, WORDS[0]) if i in set(good) else _again(f, kept[i]) for i, f in enumerate(found)]
    if dry_run or not good:
        return outcomes
    events = batch.take(np.array(good, np.int64))
    receipt = settle_resent(log, events, log.append(events))
    for i, verdict, seq in zip(good, receipt.verdict.tolist(), receipt.seq.tolist(), strict=True):
        is_taken = verdict == Verdict.CONFLICT
        outcomes[i] = _again(found[i], CONFLICT) if is_taken else Outcome(found[i], WORDS[verdict], seq=seq)
    _mark(log, [o for o in outcomes if o.seq is not None], edits, clock)
    return outcomes


def _again(found: DeadLetter, why: Letter | Bad) -> Outcome:
    return Outcome(found, WORDS[2], why.code, why.reason)


def _mark(log: EventLog, done: list[Outcome], edits: Sequence[Edit], clock: Clock) -> None:
    """Record that letters were replayed, in one commit."""
    marks = []
    for outcome in done:
        seq = outcome.letter.seq
        body: dict[str, Any] = {
            "letter": seq,
            "event": outcome.seq,
            "verdict": outcome.verdict,
            "edits": [str(e) for e in edits],
        }
        marks.append(control_batch(REPLAYED, body, time_ms=clock.now_us() // 1000, id=f"{REPLAYED}:{seq}", clock=clock))
    if marks:
        log.append(concat(marks))
