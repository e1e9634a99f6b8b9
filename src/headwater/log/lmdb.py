"""The event log on disk: LMDB orders the writers, survives crashes and lets any process read.

One append is one write transaction with full sync. Database `chunks` maps a chunk's first seq to its bytes; `meta` holds the
`State`; `counts` holds the totals of each source, under a hash of its name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from headwater.core.batch import Batch
from headwater.core.clock import Clock, SystemClock
from headwater.core.codec import decode
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import CorruptData, WrongState
from headwater.log.admission import Admission, Candidate, admit, candidates, receipt
from headwater.log.chunks import Header, key_of, missing, peek, pieces, seal, seq_of, unseal
from headwater.log.counts import added, tally
from headwater.log.dedupe import DEDUPE_FOR_MS, DedupeIndex
from headwater.log.environment import MAP_BYTES, Database, Environment, Transaction
from headwater.log.fingerprints import fingerprints
from headwater.log.protocol import Chunk, Counts, Receipt
from headwater.log.state import State

FORMAT = b"headwater-log-1"
# Read in one transaction. A long one keeps dropped pages from being used again; and copies that stay in the processor's
# cache until they are decoded, in memory that is used again at once, are read twice as fast as those of a few MB.
_SEGMENT_BYTES = 256 << 10
_DROPS = 1024  # chunks dropped in one transaction: a long one keeps appenders waiting

_encode = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(State).decode
_decode_counts = msgspec.msgpack.Decoder(tuple[str, Counts]).decode


class LmdbLog:
    """An `EventLog` in a folder. Threads may share one; a process opens a folder once.

    Args:
        path: The folder; it is made unless `readonly`.
        dedupe_for_ms: How long an id is known, in arrival time. Rows that retention drops are forgotten with it. The index
            takes up to 80 bytes of memory for each id, in each process that opens the log for writing.
        map_bytes: Address space reserved at first; it doubles when the log outgrows it.
        readonly: Never write; `append` and `retain` are refused.
        clock: Bounds the high marks.

    Raises:
        WrongState: There is no log (`readonly`), or it is another format's, or this process has it open already.
        CorruptData: A chunk whose ids are still known was changed, moved or lost.
    """

    def __init__(
        self,
        path: Path,
        *,
        dedupe_for_ms: int = DEDUPE_FOR_MS,
        map_bytes: int = MAP_BYTES,
        readonly: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._dedupe_for_us = dedupe_for_ms * 1000
        self._appending = threading.Lock()
        self._index = DedupeIndex()
        self._env = Environment(path, ("chunks", "meta", "counts"), map_bytes=map_bytes, readonly=readonly)
        try:
            self._begin()
        except BaseException:
            self._env.close()
            raise

    @property
    def _chunks(self) -> Database:
        return self._env.databases[0]

    @property
    def _meta(self) -> Database:
        return self._env.databases[1]

    @property
    def _counts(self) -> Database:
        return self._env.databases[2]

    def _begin(self) -> None:
        if not self._env.readonly:
            self._env.write(self._initialise)
        found = self._env.read(lambda txn: bytes(txn.get(b"format", b"", db=self._meta)))
        if found != FORMAT:
            where, next_step = str(self._env.path), "Check the path, or read it with the version that wrote it."
            raise WrongState(
                "not a log of this format", where=where, expected=repr(FORMAT), got=repr(found), next_step=next_step
            )
        if not self._env.readonly:
            self._env.read(self._catch_up)

    def _initialise(self, txn: Transaction) -> None:
        if txn.put(b"format", FORMAT, overwrite=False, db=self._meta):
            txn.put(b"state", _encode(State()), db=self._meta)

    def append(self, batch: Batch) -> Receipt:
        """See `EventLog.append`. Cost: one disk sync, and about half a microsecond a row."""
        parts = candidates(batch)
        crashpoint("log.encoded")
        with self._appending:
            self._env.read(partial(self._catch_up, n_more=batch.n))  # most of the work, before holding up other writers
            answer = self._env.write(partial(self._append, parts=parts))
            self._index.keep(answer.end)
        crashpoint("log.committed")
        return answer

    def _append(self, txn: Transaction, parts: list[Candidate]) -> Receipt:
        self._catch_up(txn)
        state, done = self._state(txn), []
        self._check_end(txn, state)
        for part in parts:
            admission = admit(part, self._index, state.floor, state.end)
            self._count(txn, part.batch, admission)
            if admission.batch.n:
                state = self._put(txn, state, admission)
            done.append(admission)
        txn.put(b"state", _encode(state), db=self._meta)
        crashpoint("log.put")
        return receipt(done, state.end)

    def _put(self, txn: Transaction, state: State, admission: Admission) -> State:
        header = state.header(admission.batch, self._clock)
        value, checksum = seal(state.end, header, admission.payload)
        txn.put(key_of(state.end), value, append=True, db=self._chunks)
        return state.appended(header, checksum, len(value), self._dedupe_for_us)

    def _count(self, txn: Transaction, batch: Batch, admission: Admission) -> None:
        for source, more in tally(batch, admission.verdict).items():
            key = blake2b(source.encode(), digest_size=16).digest()  # a name may be longer than LMDB's keys, or empty
            stored = txn.get(key, db=self._counts)
            total = more if stored is None else added(_decode_counts(stored)[1], more)
            txn.put(key, _encode((source, total)), db=self._counts)

    def _catch_up(self, txn: Transaction, n_more: int = 0) -> None:
        """Fold what is new in the log into the index, and make room for `n_more` rows."""
        self._index.undo()
        state = self._state(txn)
        start = max(self._index.end, state.floor)
        if start > state.end:
            raise WrongState("the log was replaced while open", where=str(self._env.path), next_step="Restart this process.")
        if start < state.end:
            for seq, _, payload in self._walk(txn, state, start):
                self._index.fold(seq, fingerprints(decode(payload)), state.floor)
        self._index.keep(state.end)
        self._index.reserve(n_more, state.floor)

    def _check_end(self, txn: Transaction, state: State) -> None:
        """A cheap look before each append: is the last chunk the one that the chain ends with?"""
        cursor = txn.cursor(self._chunks)
        base, end, last = state.first, state.first, state.before
        if cursor.last():
            (base, end), last = _span(cursor), peek(state.end, cursor.value()).checksum
        if (end, last) != (state.end, state.last):
            raise missing(end if end < state.end else base, f"another one; the log ends at {state.end}, its chunks at {end}")

    def read(self, seq: int, max_events: int = 65_536) -> Iterator[Chunk]:
        """See `EventLog.read`. A place that the log does not have is refused at once."""
        state = self._env.read(self._state)
        state.require(seq)
        return self._read(seq, state.end, max_events)

    def _read(self, seq: int, end: int, max_events: int) -> Iterator[Chunk]:
        while seq < end:
            for base, payload in self._env.read(partial(self._segment, seq=seq, end=end)):
                batch = decode(payload)
                yield from pieces(base, batch, seq, max_events)
                seq = base + batch.n

    def _segment(self, txn: Transaction, seq: int, end: int) -> list[tuple[int, memoryview]]:
        """Some verified chunks from the one that holds `seq`, copied out of the transaction; none beyond damage."""
        state, copies, n_bytes = self._state(txn), [], 0
        state.require(seq)
        try:
            for base, header, payload in self._walk(txn, state, seq, copy=True):
                copies.append((base, payload))
                n_bytes += len(payload)
                if n_bytes >= _SEGMENT_BYTES or base + header.n >= end:
                    break
        except CorruptData:
            if not copies:  # otherwise what lies before is handed out first, and the next segment begins with the damage
                raise
        return copies

    def _walk(
        self, txn: Transaction, state: State, seq: int, *, copy: bool = False
    ) -> Iterator[tuple[int, Header, memoryview]]:
        """Verified chunks from the one that holds `seq` to the log's end: first seq, header, encoded batch."""
        cursor = txn.cursor(self._chunks)
        expected, previous = _locate(cursor, state, seq)
        for key, value in cursor.iternext():
            base = seq_of(key)
            if base != expected:
                raise missing(expected, f"one at {base}")
            header, payload = unseal(base, bytes(value) if copy else value, previous)
            yield base, header, payload
            expected, previous = base + header.n, header.checksum
        if (expected, previous) != (state.end, state.last):
            raise missing(expected, f"the last one, while the log goes to {state.end}")

    def bounds(self) -> tuple[int, int]:
        """See `EventLog.bounds`. Cost: a few microseconds."""
        state = self._env.read(self._state)
        return state.first, state.end

    def counts(self) -> dict[str, Counts]:
        """See `EventLog.counts`."""
        rows = self._env.read(lambda txn: [_decode_counts(row) for row in txn.cursor(self._counts).iternext(keys=False)])
        return dict(sorted(rows, key=lambda row: row[0]))

    @property
    def n_forgotten(self) -> int:
        """Rows whose ids are no longer known: expired, or dropped by retention."""
        return self._env.read(self._state).floor

    def retain(self, *, max_age_ms: int | None = None, max_bytes: int | None = None, keep_from: int | None = None) -> int:
        """See `EventLog.retain`. The file does not shrink; its free pages are used again."""
        while True:
            # LMDB uses pages again two commits later: the last pass, which drops nothing, frees what the one before it left.
            first, n_dropped = self._env.write(partial(self._drop, limits=(max_age_ms, max_bytes, keep_from)))
            if not n_dropped:
                return first

    def _drop(self, txn: Transaction, limits: tuple[int | None, int | None, int | None]) -> tuple[int, int]:
        """Drop up to `_DROPS` chunks; the new first seq, and how many were dropped."""
        state, cursor, n_dropped = self._state(txn), txn.cursor(self._chunks), 0
        while n_dropped < _DROPS and cursor.first():
            seq, value = seq_of(cursor.key()), cursor.value()
            if seq != state.first:
                raise missing(state.first, f"one at {seq}")
            header = peek(seq, value)
            if not state.may_drop(header, *limits):
                break
            state = state.dropped(header, len(value))
            cursor.delete()
            n_dropped += 1
        txn.put(b"state", _encode(state), db=self._meta)
        return state.first, n_dropped

    def close(self) -> None:
        """See `EventLog.close`."""
        with self._appending:
            self._env.close()

    def _state(self, txn: Transaction) -> State:
        return _decode_state(txn.get(b"state", db=self._meta))


def _locate(cursor: Any, state: State, seq: int) -> tuple[int, int]:
    """Place the cursor on the chunk that holds `seq`; its first seq, and the checksum of the chunk before it."""
    if not (cursor.set_range(key_of(seq + 1)) and cursor.prev()) and not cursor.last():
        raise missing(state.first, "no chunk at all")
    base, end = _span(cursor)
    if not base <= seq < end:
        raise missing(end if end <= seq else state.first, "none that holds it")
    if base == state.first:
        return base, state.before
    if not cursor.prev():
        raise missing(state.first, f"one at {base}")
    before, end = _span(cursor)
    if end != base:
        raise missing(end, f"one at {base}")
    previous = peek(before, cursor.value()).checksum
    cursor.next()
    return base, previous


def _span(cursor: Any) -> tuple[int, int]:
    """The first seq of the chunk under the cursor, and the seq after its last."""
    base = seq_of(cursor.key())
    return base, base + peek(base, cursor.value()).n
