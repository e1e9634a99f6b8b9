"""What every event log must do, as tests to inherit.

    class TestMyLog(EventLogConformance):
        def make_log(self, folder, *, dedupe_for_ms, clock):
            return MyLog(folder, dedupe_for_ms=dedupe_for_ms, clock=clock)

Each test gets an empty folder; a second `make_log` on it, after `close`, must open the same log again.
"""

# ruff: noqa: PLR2004, S311 - these are tests: bare numbers are their point, and their chance is repeatable
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from headwater.core.batch import Batch, Column, Frame, Text, concat, single
from headwater.core.clock import Clock, VirtualClock
from headwater.core.errors import EventsDropped, WrongState
from headwater.core.schema import DEAD_SCHEMA, FieldSpec, Kind, Schema
from headwater.log.protocol import Counts, EventLog, Verdict

CLICK = Schema("click", (FieldSpec("user", Kind.STR, nullable=True), FieldSpec("price", Kind.FLOAT, nullable=True)), key="user")
SALE = Schema("sale", (FieldSpec("n", Kind.INT),), key="n")
NOW_US = 1_700_000_000_000_000
DAY_MS = 86_400_000


class Row(NamedTuple):
    """One event, as a person would write it down. Times count from `NOW_US`."""

    id: str
    price: float | None = 1.0
    user: str | None = "ann"
    source: str = "gate-1"
    stream: str = "click"
    time_ms: int = 0
    arrival_us: int = 0


def batch_of(rows: Sequence[Row]) -> Batch:
    """A batch of rows in their order; `click` holds user and price, `sale` the price as an integer, `_dead` both as text."""
    return concat([_one(row) for row in rows])


def _one(row: Row) -> Batch:
    time = np.array([NOW_US // 1000 + row.time_ms], np.int64)
    arrival = np.array([NOW_US + row.arrival_us], np.int64)
    if row.stream == "sale":
        schema, columns = SALE, {"n": Column(np.array([int(row.price or 0)], np.int64))}
    elif row.stream == "click":
        price = np.array([np.nan if row.price is None else row.price])
        columns = {
            "user": Column(Text.of([row.user]), None if row.user is not None else np.zeros(1, np.bool_)),
            "price": Column(price, None if row.price is not None else np.zeros(1, np.bool_)),
        }
        schema = CLICK
    else:
        texts = {name: Column(Text.of([row.user])) for name in ("code", "reason", "stream")}
        texts["raw"] = Column(Text.of([str(row.price)]))
        schema, columns = DEAD_SCHEMA, {**texts, "truncated": Column(np.zeros(1, np.uint8))}
    return single(schema, Frame(1, columns), time, Text.of([row.id]), source=row.source, arrival=arrival)


def rows_of(batch: Batch) -> list[Row]:
    """The inverse of `batch_of`."""
    rows: list[Row | None] = [None] * batch.n
    for stream, frame in batch.frames.items():
        values = {name: column.to_list() for name, column in frame.columns.items()}
        for i, at in enumerate(batch.rows_of(stream).tolist()):
            price, user = values[_PRICE[stream]][i], values[_USER[stream]][i] if stream in _USER else "ann"
            rows[at] = Row(
                batch.ids[at], None if price is None else float(price), user, batch.sources[batch.source[at]], stream,
                int(batch.time[at]) - NOW_US // 1000, int(batch.arrival[at]) - NOW_US,
            )  # fmt: skip
    return [row for row in rows if row is not None]


_PRICE = {"click": "price", "sale": "n", "_dead": "raw"}
_USER = {"click": "user", "_dead": "code"}


def stored(log: EventLog, seq: int | None = None, max_events: int = 65_536) -> list[tuple[int, Row]]:
    """(seq, row) of everything from `seq` (default: the first retained) to the end."""
    start = log.bounds()[0] if seq is None else seq
    return [(c.seq + i, row) for c in log.read(start, max_events) for i, row in enumerate(rows_of(c.batch))]


class Oracle:
    """An event log as a dict, without expiry: what verdicts, seqs and counts should be."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.counts: dict[str, list[int]] = {}
        self._known: dict[tuple[str, str], int] = {}

    def append(self, rows: Sequence[Row]) -> list[tuple[Verdict, int]]:
        return [self._append(row) for row in rows]

    def _append(self, row: Row) -> tuple[Verdict, int]:
        counts = self.counts.setdefault(row.source, [0, 0, 0, 0])
        seq = self._known.setdefault((row.source, row.id), len(self.rows))
        if seq == len(self.rows):
            self.rows.append(row)
            counts[3 if row.stream == "_dead" else 0] += 1
            return Verdict.ACCEPTED, seq
        is_same = self.rows[seq]._replace(arrival_us=0) == row._replace(arrival_us=0)
        verdict = Verdict.DUPLICATE if is_same else Verdict.CONFLICT
        counts[verdict] += 1
        return verdict, seq


def random_rows(random: Random, n: int, n_ids: int) -> list[Row]:
    """Rows of several streams and sources, some with ids and contents that occur before."""
    return [
        Row(
            id=f"id-{random.randrange(n_ids)}",
            price=random.choice([1.0, 1.0, 1.0, 2.0]),
            source=random.choice(["gate-1", "gate-2", ""]),
            stream=random.choice(["click", "click", "sale", "_dead"]),
            arrival_us=random.randrange(1000),
        )
        for _ in range(n)
    ]


class EventLogConformance:
    """Inherit, override `make_log`, and run with pytest.

    Attributes:
        is_durable: Whether a closed log can be opened again; tests that do so are skipped otherwise.
    """

    is_durable = True

    def make_log(self, folder: Path, *, dedupe_for_ms: int, clock: Clock) -> EventLog:
        """Open the log that lives in `folder`, or make one."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock(NOW_US + 365 * DAY_MS * 1000)

    @pytest.fixture
    def open_log(self, tmp_path: Path, clock: VirtualClock) -> Iterator[Callable[..., EventLog]]:
        logs: list[EventLog] = []

        def opened(*, dedupe_for_ms: int = 7 * DAY_MS) -> EventLog:
            logs.append(self.make_log(tmp_path / "log", dedupe_for_ms=dedupe_for_ms, clock=clock))
            return logs[-1]

        yield opened
        for log in logs:
            log.close()

    @pytest.fixture
    def log(self, open_log: Callable[..., EventLog]) -> EventLog:
        return open_log()

    # What is stored, and where

    def test_an_empty_log_has_nothing_to_read(self, log: EventLog) -> None:
        assert log.bounds() == (0, 0)
        assert list(log.read(0)) == []
        assert log.counts() == {}

    def test_an_empty_batch_changes_nothing(self, log: EventLog) -> None:
        log.append(batch_of([Row("a")]))
        receipt = log.append(batch_of([Row("b")]).slice(0, 0))
        assert (receipt.verdict.size, receipt.seq.size, receipt.end) == (0, 0, 1)
        assert log.counts() == {"gate-1": Counts(accepted=1)}

    def test_accepted_rows_get_consecutive_seqs_and_come_back_as_they_were(self, log: EventLog) -> None:
        rows = [
            Row("a", price=None, user=None), Row("b", price=-0.5, user="Łódź"), Row("a", stream="sale", source="gate-2"),
            Row("", user="", source="", time_ms=-5, arrival_us=9), Row("c", stream="_dead", user="bad"),
        ]  # fmt: skip
        first, second = log.append(batch_of(rows[:2])), log.append(batch_of(rows[2:]))
        assert (first.seq.tolist(), first.end) == ([0, 1], 2)
        assert (second.seq.tolist(), second.end) == ([2, 3, 4], 5)
        assert [seq for seq, _ in stored(log)] == [0, 1, 2, 3, 4]
        assert repr([row for _, row in stored(log)]) == repr(rows)  # repr, so that a null and a NaN differ

    @pytest.mark.parametrize("max_events", [1, 2, 3, 100])
    def test_reading_may_start_anywhere_and_pieces_are_no_larger_than_asked(self, log: EventLog, max_events: int) -> None:
        rows = [Row(str(i), price=float(i)) for i in range(10)]
        for at in (0, 1, 3, 7):
            log.append(batch_of(rows[at : {0: 1, 1: 3, 3: 7, 7: 10}[at]]))
        for seq in range(11):
            assert stored(log, seq, max_events) == list(enumerate(rows))[seq:]
            assert all(0 < c.batch.n <= max_events for c in log.read(seq, max_events))

    def test_a_read_ends_where_the_log_ended_when_it_was_called(self, log: EventLog) -> None:
        log.append(batch_of([Row("a")]))
        chunks = log.read(0)
        log.append(batch_of([Row("b")]))
        assert [c.seq for c in chunks] == [0]

    def test_a_place_that_the_log_does_not_have_is_refused(self, log: EventLog) -> None:
        with pytest.raises(WrongState, match="ahead of the log"):
            log.read(1)
        with pytest.raises(EventsDropped):
            log.read(-1)

    def test_a_batch_larger_than_a_chunk_is_one_append(self, log: EventLog) -> None:
        n = 150_000
        rows = Frame(n, {"n": Column(np.arange(n, dtype=np.int64))})
        big = single(SALE, rows, np.full(n, NOW_US // 1000, np.int64), Text.of([str(i % 140_000) for i in range(n)]))
        receipt = log.append(big)
        assert receipt.end == 140_000
        assert np.array_equal(receipt.seq, np.arange(n) % 140_000)
        assert sum(c.batch.n for c in log.read(0)) == 140_000

    # Duplicates

    def test_a_resent_row_is_stored_once_and_told_its_place(self, log: EventLog) -> None:
        log.append(batch_of([Row("a"), Row("b")]))
        receipt = log.append(batch_of([Row("c"), Row("b", arrival_us=77), Row("d")]))
        assert receipt.verdict.tolist() == [Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.ACCEPTED]
        assert receipt.seq.tolist() == [2, 1, 3]
        assert [row.id for _, row in stored(log)] == ["a", "b", "c", "d"]

    def test_duplicates_within_one_batch_are_found(self, log: EventLog) -> None:
        receipt = log.append(batch_of([Row("a"), Row("a"), Row("a", price=2.0), Row("b")]))
        assert receipt.verdict.tolist() == [Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.ACCEPTED]
        assert receipt.seq.tolist() == [0, 0, 0, 1]
        assert receipt.end == 2

    @pytest.mark.parametrize(
        "other",
        [
            Row("a", price=2.0),
            Row("a", price=None),
            Row("a", user="bob"),
            Row("a", user=None),
            Row("a", time_ms=1),
            Row("a", stream="sale"),
        ],
    )
    def test_the_same_id_with_another_content_is_a_conflict(self, log: EventLog, other: Row) -> None:
        log.append(batch_of([Row("a")]))
        receipt = log.append(batch_of([other]))
        assert (receipt.verdict.tolist(), receipt.seq.tolist()) == ([Verdict.CONFLICT], [0])
        assert stored(log) == [(0, Row("a"))]

    def test_a_null_is_not_an_empty_string(self, log: EventLog) -> None:
        log.append(batch_of([Row("a", user=None)]))
        assert log.append(batch_of([Row("a", user="")])).verdict.tolist() == [Verdict.CONFLICT]

    def test_source_and_id_do_not_run_into_each_other(self, log: EventLog) -> None:
        receipt = log.append(
            batch_of([Row("c", source="ab"), Row("bc", source="a"), Row("", source="abc"), Row("abc", source="")])
        )
        assert receipt.verdict.tolist() == [Verdict.ACCEPTED] * 4

    def test_how_a_batch_is_put_together_does_not_matter(self, log: EventLog) -> None:
        rows = [Row("a", user=None), Row("b", stream="sale"), Row("c", source="gate-2"), Row("d")]
        log.append(batch_of(rows))
        for row in rows:
            assert log.append(batch_of([row])).verdict.tolist() == [Verdict.DUPLICATE]
        assert log.append(batch_of(rows[::-1])).seq.tolist() == [3, 2, 1, 0]

    def test_any_batches_agree_with_a_dict(self, open_log: Callable[..., EventLog]) -> None:
        random, oracle, log = Random(7), Oracle(), open_log()
        for step in range(60):
            rows = random_rows(random, random.randrange(1, 40), n_ids=300)
            receipt = log.append(batch_of(rows))
            assert list(zip(receipt.verdict.tolist(), receipt.seq.tolist(), strict=True)) == oracle.append(rows)
            if self.is_durable and step % 20 == 19:
                log.close()
                log = open_log()
        assert stored(log) == list(enumerate(oracle.rows))
        assert log.counts() == {source: Counts(*counts) for source, counts in sorted(oracle.counts.items())}

    def test_every_row_is_counted_once(self, log: EventLog) -> None:
        log.append(batch_of([Row("a"), Row("b", stream="_dead"), Row("a"), Row("a", price=9.0), Row("a", source="gate-2")]))
        log.append(batch_of([Row("b", stream="_dead")]))
        assert log.counts() == {
            "gate-1": Counts(accepted=1, duplicate=2, conflict=1, quarantined=1),
            "gate-2": Counts(accepted=1),
        }

    # Forgetting

    def test_ids_are_known_for_the_declared_time_and_little_longer(self, open_log: Callable[..., EventLog]) -> None:
        log = open_log(dedupe_for_ms=DAY_MS)
        day_us = DAY_MS * 1000
        log.append(batch_of([Row("a")]))
        log.append(batch_of([Row("b", arrival_us=day_us - 1)]))
        assert log.append(batch_of([Row("a", arrival_us=day_us)])).verdict.tolist() == [Verdict.DUPLICATE]
        log.append(batch_of([Row("c", arrival_us=day_us + day_us // 8)]))
        log.append(batch_of([Row("d", arrival_us=2 * day_us - 2)]))
        receipt = log.append(batch_of([Row("a", arrival_us=2 * day_us), Row("b", arrival_us=2 * day_us)]))
        assert receipt.verdict.tolist() == [Verdict.ACCEPTED, Verdict.DUPLICATE]
        assert receipt.seq.tolist() == [4, 1]

    def test_forgetting_does_not_depend_on_when_the_log_was_opened(self, open_log: Callable[..., EventLog]) -> None:
        if not self.is_durable:
            pytest.skip("this log cannot be opened again")
        verdicts = []
        for reopens in (False, True):
            random, log = Random(3), open_log(dedupe_for_ms=1000)
            for step in range(200):
                rows = [Row(f"{reopens}-{random.randrange(50)}", arrival_us=step * 30_000 + reopens * 10**9) for _ in range(3)]
                verdicts.append(log.append(batch_of(rows)).verdict.tolist())
                if reopens and step % 7 == 0:
                    log.close()
                    log = open_log(dedupe_for_ms=1000)
            log.close()
        assert verdicts[:200] == verdicts[200:]
        assert {0, 1} <= {v for step in verdicts for v in step}

    def test_one_wrong_clock_does_not_make_it_forget(self, open_log: Callable[..., EventLog]) -> None:
        log = open_log(dedupe_for_ms=400 * DAY_MS)
        log.append(batch_of([Row("a")]))
        log.append(batch_of([Row("b", arrival_us=10_000 * DAY_MS * 1000)]))
        assert log.append(batch_of([Row("a")])).verdict.tolist() == [Verdict.DUPLICATE]

    # Retention

    def test_old_chunks_are_dropped_whole_and_reading_goes_on_behind_them(self, log: EventLog) -> None:
        for day in range(5):
            log.append(batch_of([Row(f"{day}-{i}", time_ms=day * DAY_MS) for i in range(3)]))
        assert log.retain() == 0
        assert log.retain(max_age_ms=2 * DAY_MS) == 6
        assert log.bounds() == (6, 15)
        assert [seq for seq, _ in stored(log)] == list(range(6, 15))
        assert log.counts() == {"gate-1": Counts(accepted=15)}
        with pytest.raises(EventsDropped, match="first retained"):
            log.read(5)
        assert log.append(batch_of([Row("new")])).seq.tolist() == [15]
        assert log.retain(max_age_ms=2 * DAY_MS) == 6

    def test_control_events_do_not_age_the_others(self, log: EventLog) -> None:
        log.append(batch_of([Row("a")]))
        log.append(batch_of([Row("b", stream="_dead", time_ms=300 * DAY_MS)]))
        assert log.retain(max_age_ms=DAY_MS) == 0

    def test_the_size_is_kept_and_what_readers_need_is_kept_first(self, log: EventLog) -> None:
        for i in range(20):
            log.append(batch_of([Row(f"{i}-{j}") for j in range(5)]))
        assert log.retain(max_bytes=0, keep_from=12) == 10
        first = log.retain(max_bytes=4000)
        assert 10 < first < 100
        assert first % 5 == 0
        assert log.retain(max_bytes=0) == 100
        assert list(log.read(100)) == []
        assert log.append(batch_of([Row("new")])).seq.tolist() == [100]
        assert stored(log) == [(100, Row("new"))]

    def test_ids_go_with_their_rows(self, open_log: Callable[..., EventLog]) -> None:
        log = open_log()
        log.append(batch_of([Row("a")]))
        log.append(batch_of([Row("b")]))
        log.retain(max_bytes=0, keep_from=1)
        assert log.append(batch_of([Row("a"), Row("b")])).seq.tolist() == [2, 1]
        if self.is_durable:
            log.close()
            assert open_log().append(batch_of([Row("a"), Row("b")])).seq.tolist() == [2, 1]

    def test_a_reader_that_retention_overtakes_is_told(self, log: EventLog) -> None:
        for i in range(3):
            log.append(batch_of([Row(str(i))]))
        chunks = log.read(0, max_events=1)
        log.retain(max_bytes=0)
        with pytest.raises(EventsDropped):
            list(chunks)

    # Coming back

    def test_a_reopened_log_is_the_same(self, open_log: Callable[..., EventLog]) -> None:
        if not self.is_durable:
            pytest.skip("this log cannot be opened again")
        log = open_log()
        log.append(batch_of([Row("a"), Row("b", stream="_dead")]))
        before = stored(log), log.bounds(), log.counts()
        log.close()
        log = open_log()
        assert (stored(log), log.bounds(), log.counts()) == before
        assert log.append(batch_of([Row("a"), Row("c")])).seq.tolist() == [0, 2]
