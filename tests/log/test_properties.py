"""Whatever is appended, in whatever batches, the log on disk, the log in memory and a dict agree."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.clock import VirtualClock
from headwater.log import Counts, LmdbLog, MemoryLog
from headwater.log.dedupe import DedupeIndex, Horizon
from headwater.log.fingerprints import Fingerprints, fingerprints
from headwater.testing.log_conformance import NOW_US, Oracle, Row, batch_of, stored


def storable(row: Row) -> Row:
    """What a stream has no room for takes the value with which it comes back."""
    if row.stream == "click":
        return row
    return row._replace(price=row.price or 0.0, user="ann" if row.stream == "sale" else row.user or "")


rows = st.builds(
    Row,
    id=st.sampled_from(["", "a", "b", "c", "ab", "bc"]),
    price=st.sampled_from([None, 0.0, 1.0, 2.0]),
    user=st.sampled_from([None, "", "ann"]),
    source=st.sampled_from(["", "a", "gate-1"]),
    stream=st.sampled_from(["click", "sale", "_dead"]),
    time_ms=st.integers(-1, 1),
    arrival_us=st.integers(0, 10**6),
).map(storable)
steps = st.lists(st.one_of(st.lists(rows, min_size=1, max_size=8), st.just("reopen")), max_size=12)


@settings(max_examples=25)
@given(steps, st.integers(1, 9))
def test_disk_memory_and_a_dict_agree(steps: list[Any], max_events: int) -> None:
    clock = VirtualClock(NOW_US * 2)
    with tempfile.TemporaryDirectory() as folder:
        disk, memory, oracle = LmdbLog(Path(folder) / "log", clock=clock), MemoryLog(clock=clock), Oracle()
        for step in steps:
            if step == "reopen":
                disk.close()
                disk = LmdbLog(Path(folder) / "log", clock=clock)
                continue
            expected = oracle.append(step)
            for log in (disk, memory):
                receipt = log.append(batch_of(step))
                assert list(zip(receipt.verdict.tolist(), receipt.seq.tolist(), strict=True)) == expected
                assert receipt.end == len(oracle.rows)
        for log in (disk, memory):
            assert stored(log, max_events=max_events) == list(enumerate(oracle.rows))
            assert log.counts() == {source: Counts(*n) for source, n in sorted(oracle.counts.items())}
        disk.close()


@settings(max_examples=25)
@given(steps, st.lists(st.integers(0, 2 * 10**6), min_size=12, max_size=12), st.integers(0, 2**16))
def test_disk_and_memory_forget_and_drop_alike(steps: list[Any], arrivals: list[int], max_bytes: int) -> None:
    clock = VirtualClock(NOW_US * 2)
    with tempfile.TemporaryDirectory() as folder:
        disk, memory = (
            LmdbLog(Path(folder) / "log", dedupe_for_ms=300, clock=clock),
            MemoryLog(dedupe_for_ms=300, clock=clock),
        )
        for step, arrival_us in zip(steps, arrivals, strict=False):
            if step == "reopen":
                disk.close()
                disk = LmdbLog(Path(folder) / "log", dedupe_for_ms=300, clock=clock)
                assert disk.retain(max_bytes=max_bytes) == memory.retain(max_bytes=max_bytes)
                continue
            batch = batch_of([row._replace(arrival_us=arrival_us) for row in step])
            one, two = disk.append(batch), memory.append(batch)
            assert (one.verdict.tolist(), one.seq.tolist(), one.end) == (two.verdict.tolist(), two.seq.tolist(), two.end)
            assert disk.n_forgotten == memory.n_forgotten
        assert stored(disk) == stored(memory)
        assert disk.counts() == memory.counts()
        disk.close()


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 100))
def test_the_horizon_forgets_what_is_old_and_nothing_younger(arrivals: list[int], dedupe_for: int) -> None:
    horizon, high, highs = Horizon(), -1, []
    for seq, arrival in enumerate(arrivals):
        horizon = horizon.advanced(seq, arrival, dedupe_for)
        high = max(high, arrival)
        highs.append(high)
        assert len(horizon.marks) <= 2 * 17
        assert all(h <= high - dedupe_for for h in highs[: horizon.floor])
        slack = dedupe_for // 16 + 1
        assert all(h > high - dedupe_for - slack for h in highs[horizon.floor : -1])


def prints(ids: np.ndarray, payload: int = 0) -> Fingerprints:
    words = ids.astype(np.uint64)
    return Fingerprints(words % np.uint64(7), words, np.full(ids.size, payload, np.uint64))  # few homes: long probes


def test_the_index_grows_purges_and_takes_back() -> None:
    index = DedupeIndex()
    for start in range(0, 20_000, 500):
        ids = np.arange(start, start + 500)
        verdict, seq = index.admit(prints(ids), 0, start)
        assert not verdict.any()
        assert np.array_equal(seq, ids)
        index.keep(start + 500)
    assert len(index) == 20_000
    verdict, seq = index.admit(prints(np.arange(15_000, 25_000), payload=1), 16_000, 20_000)
    assert verdict[:1000].tolist() == [0] * 1000
    assert verdict[1000:5000].tolist() == [2] * 4000
    assert seq[-1] == 20_000 + 6000 - 1
    index.undo()  # the append failed
    verdict, seq = index.admit(prints(np.array([19_999, 20_001])), 16_000, 20_000)
    assert (verdict.tolist(), seq.tolist()) == ([1, 0], [19_999, 20_000])


@given(st.lists(rows, min_size=1, max_size=12))
def test_equal_rows_hash_equally_in_any_company(some: list[Row]) -> None:
    together = fingerprints(batch_of(some))
    for i, row in enumerate(some):
        alone = fingerprints(batch_of([row]))
        assert alone.left[0] == together.left[i]
        assert alone.right[0] == together.right[i]
        assert alone.payload[0] == together.payload[i]


@given(st.lists(rows, min_size=2, max_size=12, unique_by=lambda row: row._replace(arrival_us=0)))
def test_different_rows_hash_differently(some: list[Row]) -> None:
    marks = fingerprints(batch_of(some))
    assert len(set(zip(marks.left.tolist(), marks.right.tolist(), marks.payload.tolist(), strict=True))) == len(some)
    assert len(set(marks.left.tolist())) == len({(row.source, row.id) for row in some})
