from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.core.batch import Text, frame, single
from headwater.features.reading import FeatureReader
from headwater.features.tables import Table
from headwater.testing.events import Seen, batch_of

from .conftest import run

keys = st.lists(st.sampled_from([0, 1, 2, 63, 64, 2**63, 2**64 - 1, *(2**i for i in range(8, 20))]), max_size=40)


@given(st.lists(st.tuples(keys, st.integers(0, 2**40)), max_size=8), keys)
def test_a_table_is_a_dictionary_of_first_appearances(inserts, asked):
    table, known = Table(2), {}
    for batch, mask in inserts:
        wanted = np.array([mask >> i & 1 for i in range(len(batch))], np.uint8)
        table.insert(np.array(batch, np.uint64), wanted)
        for key, yes in zip(batch, wanted, strict=True):
            if yes:
                known.setdefault(key, len(known))
    out = np.zeros((len(asked), 2), np.int64)
    table.find(np.array(asked, np.uint64), out, 1)
    assert out[:, 1].tolist() == [known.get(key, -1) for key in asked]
    assert table.keys[: table.n].tolist() == list(known)
    assert table.dirty[: table.n].tolist() == [3] * table.n  # a checkpoint must not miss an entity without an update


def test_growth_keeps_rows_and_restore_gives_them_back():
    table = Table(1)
    for start in range(0, 1000, 10):
        table.insert(np.arange(start, start + 10, dtype=np.uint64), np.ones(10, np.uint8))
        table.rows[start : start + 10, 0] = np.arange(start, start + 10)
    assert table.rows[: table.n, 0].tolist() == list(range(1000))
    again = Table(1)
    again.restore(table.keys[: table.n], table.rows[: table.n])
    again.insert(np.array([5, 5000], np.uint64), np.ones(2, np.uint8))
    out = np.zeros((3, 1), np.int64)
    again.find(np.array([999, 5000, 5], np.uint64), out, 0)
    assert out[:, 0].tolist() == [999, 1000, 5]


class Trip(hw.Event, key="id_"):
    id_: hw.Field[str]
    start: hw.Field[str | None]
    end: hw.Field[str | None]
    x: hw.Field[float | None]


class End(hw.Event, key="id_"):
    id_: hw.Field[str]
    start: hw.Field[str | None]
    x: hw.Field[float | None]


TWO_WAYS = [
    hw.count(Trip, by=Trip.start), hw.count(Trip, by=Trip.start, at=Trip.end), hw.sum(Trip.x, by=Trip.end, at=Trip.start),
    hw.sum(End.x, by=End.start), hw.mean(Trip.x), hw.zscore(Trip.x, half_life="1h", by=Trip.start), *hw.last(End.x, n=2),
]  # fmt: skip
places = st.sampled_from([None, "", "a", "b", "c"])
numbers = st.sampled_from([None, 1.0, 2.0, 4.0])
trips = st.builds(Trip, id_=st.just("t"), start=places, end=places, x=numbers)
logs = st.lists(st.one_of(trips, st.builds(End, id_=st.just("t"), start=places, x=numbers)), min_size=1, max_size=40)


@given(logs)
def test_one_table_keyed_through_several_columns_and_streams(log):
    done = run(TWO_WAYS, Trip, [End, Trip], batch_of([Seen(i, e) for i, e in enumerate(log)]), (3, 1))
    for i, now in enumerate(log):
        if isinstance(now, End):
            continue
        past = [e for e in log[:i] if isinstance(e, Trip)]
        ends = [e for e in log[:i] if isinstance(e, End)]
        expected = [
            sum(e.start == now.start for e in past), sum(e.start == now.end for e in past),
            sum(e.x or 0 for e in past if e.end == now.start), sum(e.x or 0 for e in ends if e.start == now.start),
        ]  # fmt: skip
        assert done.vectors[i, :4].tolist() == expected


@given(logs, st.lists(trips, min_size=1, max_size=5))
def test_a_reader_gives_the_bits_of_the_fold(log, questions):
    """The same rows, the same ops: what is answered over HTTP is what the fold would have computed."""
    rows = [Seen(1000 * i, e) for i, e in enumerate(log)]
    asked = [Seen(1000 * len(log) + i, q) for i, q in enumerate(questions)]
    before = run(TWO_WAYS, Trip, [End, Trip], batch_of(rows))
    tables = before.engine.tables

    def fetch(number, hashes, width):
        slots = np.zeros((hashes.size, 1), np.int64)
        tables[number].find(hashes, slots, 0)
        return np.where(slots >= 0, tables[number].rows[slots[:, 0]], 0.0), slots[:, 0] >= 0

    reader = FeatureReader(before.plan, "trip")
    for question in asked:
        expected = run(TWO_WAYS, Trip, [End, Trip], batch_of([*rows, question])).vectors[-1]
        got = reader.read(frame(Trip.schema, [question.event]), np.array([question.time_ms]), fetch)
        assert got[0].tobytes() == expected.tobytes()
    together = reader.read(frame(Trip.schema, questions), np.array([a.time_ms for a in asked]), fetch)
    alone = [reader.read(frame(Trip.schema, [a.event]), np.array([a.time_ms]), fetch)[0] for a in asked]
    assert together.tobytes() == np.array(alone).tobytes()


def test_a_batch_without_one_of_the_streams_and_a_frame_without_rows():
    only = single(End.schema, frame(End.schema, [End(id_="t", start="a", x=1.0)]), np.array([5]), Text.of(["1"]))
    assert np.isnan(run(TWO_WAYS, Trip, [End, Trip], only).vectors).all()
    empty = batch_of([Seen(0, End(id_="t", start="a", x=1.0))])
    empty.frames["trip"] = frame(Trip.schema, [])
    object.__setattr__(empty, "names", (*empty.names, "trip"))
    assert run(TWO_WAYS, Trip, [End, Trip], empty).engine.tables[0].n == 1
