"""Batches are lists of rows in another shape: whatever is done to one is done to the list, and compared."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.batch import Batch, Text, concat, concat_text, frame
from headwater.core.codec import decode, encode
from headwater.core.errors import CorruptData
from headwater.testing.events import Seen, batch_of, split


class Click(hw.Event, key="user"):
    user: hw.Field[str]
    price: hw.Field[float | None]
    page: hw.Field[str | None]
    n: hw.Field[int | None]
    mobile: hw.Field[bool]


class Sale(hw.Event, key="order"):
    order: hw.Field[int]


class Row(NamedTuple):
    stream: str
    time: int
    source: str
    id: str
    values: dict[str, Any]


texts = st.text(max_size=5)
clicks = st.builds(
    Click, user=texts, price=st.none() | st.floats(allow_nan=False), page=st.none() | texts,
    n=st.none() | st.integers(-(2**63), 2**63 - 1), mobile=st.booleans(),
)  # fmt: skip
sales = st.builds(Sale, order=st.integers(-5, 5))
seen = st.builds(Seen, st.integers(-(2**40), 2**40), st.one_of(clicks, sales), st.sampled_from(["a", "b", "ü"]))
batches = st.lists(seen, max_size=12).map(batch_of)


def rows(batch: Batch) -> list[Row]:
    """The batch as Python objects."""
    columns = {s: {name: c.to_list() for name, c in f.columns.items()} for s, f in batch.frames.items()}
    at = dict.fromkeys(batch.names, 0)
    out = []
    for i, id_ in enumerate(batch.ids.to_list()):
        stream = batch.names[batch.stream[i]]
        values = {name: column[at[stream]] for name, column in columns[stream].items()}
        at[stream] += 1
        out.append(Row(stream, int(batch.time[i]), batch.sources[batch.source[i]], id_, values))
    assert all(at[s] == f.n for s, f in batch.frames.items())
    return out


@settings(max_examples=40)
@given(st.lists(seen, max_size=12))
def test_a_batch_holds_its_events(events):
    for row, event in zip(rows(batch_of(events)), events, strict=True):
        assert (row.stream, row.time, row.source) == (event.event.schema.stream, event.time_ms, event.source)
        assert {k: v for k, v in row.values.items() if k != "mobile"} == {
            k: v for k, v in event.event.__dict__.items() if k != "mobile"
        }


@settings(max_examples=40)
@given(batches, st.data())
def test_take_takes_the_rows(batch, data):
    some = sorted(data.draw(st.sets(st.integers(0, batch.n - 1)))) if batch.n else []
    taken = batch.take(np.array(some, np.int64))
    assert rows(taken) == [rows(batch)[i] for i in some]
    assert all(f.n for f in taken.frames.values())


@settings(max_examples=40)
@given(st.lists(batches, min_size=1, max_size=4))
def test_concat_joins_rows_of_different_streams_and_sources(parts):
    assert rows(concat(parts)) == [row for part in parts for row in rows(part)]


@settings(max_examples=40)
@given(batches, st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_any_split_joins_to_the_same_rows(batch, sizes):
    parts = list(split(batch, sizes))
    assert [row for part in parts for row in rows(part)] == rows(batch)
    if parts:
        assert rows(concat(parts)) == rows(batch)


@settings(max_examples=40)
@given(batches)
def test_rows_of_a_stream_are_where_its_frame_says(batch):
    for name in (*batch.names, "absent"):
        assert batch.rows_of(name).tolist() == [i for i, row in enumerate(rows(batch)) if row.stream == name]


@settings(max_examples=40)
@given(batches)
def test_the_codec_gives_back_the_same_rows_and_the_same_bytes(batch):
    data = encode(batch)
    again = decode(data)
    assert rows(again) == rows(batch)
    assert encode(again) == data
    np.testing.assert_array_equal(again.arrival, batch.arrival)
    assert len(data) % 8 == 0


@settings(max_examples=40)
@given(batches, st.data())
def test_cut_or_flipped_bytes_are_refused_or_read_but_never_crash(batch, data):
    whole = bytearray(encode(batch))
    at = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (
        bytes(whole[:at]),
        bytes(whole[:at]) + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + bytes(whole[at + 1 :]),
    ):
        with contextlib.suppress(CorruptData):  # any other error fails
            assert isinstance(decode(damaged), Batch)


@settings(max_examples=40)
@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data):
    with pytest.raises(CorruptData, match="cannot be decoded"):
        decode(data)


@settings(max_examples=40)
@given(st.lists(st.none() | texts, max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_text_of_a_sliced_arrow_array(values, start, stop):
    sliced = pa.array(values, pa.string())[start:stop]
    assert Text.of_arrow(sliced).to_list() == [v or "" for v in values[start:stop]]


@settings(max_examples=40)
@given(st.lists(st.lists(texts, max_size=4), min_size=1, max_size=4))
def test_concat_of_texts(parts):
    joined = concat_text([Text.of(p) for p in parts])
    assert joined.to_list() == [t for p in parts for t in p]
    assert [joined[i] for i in range(len(joined))] == joined.to_list()


def test_a_missing_number_is_nan_and_marked():
    made = frame(Click.schema, [Click(user="u", mobile=True), Click(user="u", mobile=True, price=1.0, n=2, page="")])
    assert np.isnan(made.columns["price"].values[0])
    assert made.columns["n"].values.tolist() == [0, 2]
    assert [made.columns[c].to_list() for c in ("price", "n", "page")] == [[None, 1.0], [None, 2], [None, ""]]
