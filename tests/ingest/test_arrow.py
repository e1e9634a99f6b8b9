"""Arrow IPC streams: the same events as in JSON, nulls included; nothing from outside is believed."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import NOW_MS, Desk, arrival, departure, lines

ARROW = "application/vnd.apache.arrow.stream"
TYPES = pa.schema(
    [
        ("id", pa.string()),
        ("time", pa.int64()),
        ("flight_id", pa.string()),
        ("carrier", pa.string()),
        ("distance", pa.float64()),
        ("seats", pa.int64()),
        ("night", pa.bool_()),
    ]
)


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


def events(n: int) -> list[dict[str, Any]]:
    return [departure(str(i), carrier=None if i % 3 else "é" * i, seats=i, night=i % 2 == 0) for i in range(n)]


def test_the_same_rows_as_in_json(desk: Desk) -> None:
    table = pa.Table.from_pylist(events(250), TYPES)
    answer = desk.post(stream(table), kind=ARROW)
    assert (answer.status, answer.counts, answer.content["seq"]) == (200, (250, 0, 0), [0, 249])
    other = Desk()
    other.post(lines(events(250)))
    assert desk.rows("departure") == other.rows("departure")
    assert desk.post(lines(events(250))).counts == (0, 250, 0)


def test_sliced_columns_and_nulls_over_bytes(desk: Desk) -> None:
    table = pa.Table.from_pylist(events(9), TYPES).slice(3, 5)
    desk.post(stream(table), kind=ARROW)
    assert [(r["id"], r["carrier"]) for r in desk.rows("departure")] == [(e["id"], e["carrier"]) for e in events(9)[3:8]]


def test_other_types_that_lose_nothing(desk: Desk) -> None:
    moment = dt.datetime(2023, 11, 14, 22, 13, 20, 123_456, dt.UTC)
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.uint16()),
            "time": pa.array([moment, None], pa.timestamp("ns", "Europe/Paris")),
            "source": pa.array(["a", "b"], pa.large_string()),
            "flight_id": pa.array(["x", "y"], pa.large_string()),
            "distance": pa.array([1, 2], pa.int8()),
            "seats": pa.array([7, 8], pa.uint64()),
        }
    )
    assert desk.post(stream(table), kind=ARROW).counts == (2, 0, 0)
    rows = desk.rows("departure")
    assert [(r["id"], r["source"], r["time"]) for r in rows] == [("1", "a", 1_700_000_000_123), ("2", "b", NOW_MS)]
    assert [(r["distance"], r["seats"], r["carrier"]) for r in rows] == [(1.0, 7, None), (2.0, 8, None)]


def test_mixed_streams_keep_their_order(desk: Desk) -> None:
    mixed = [arrival(i, stream="arrival") if i % 2 else departure(i, stream="departure") for i in range(6)]
    mixed.append(departure(9, stream=None))
    names = ("id", "time", "stream", "flight_id", "distance", "arr_delay")  # every row has every column: null means absent
    answer = desk.post(stream(pa.Table.from_pylist([{k: e.get(k) for k in names} for e in mixed])), None, ARROW)
    assert (answer.counts, answer.codes) == ((6, 0, 1), ["unknown_stream"])
    stored = sorted((r["seq"], r["id"]) for s in ("departure", "arrival") for r in desk.rows(s))
    assert stored == [(i, str(i)) for i in range(6)]
    assert "warnings" not in answer.content


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (lambda t: t.drop_columns(["distance"]), ["missing_field"] * 3),
        (lambda t: t.set_column(4, "distance", pa.array(["a", "b", "c"])), ["wrong_type"] * 3),
        (lambda t: t.set_column(4, "distance", pa.array([1.0, float("nan"), float("inf")])), ["not_finite"] * 2),
        (lambda t: t.set_column(4, "distance", pa.array([1.0, None, 2.0])), ["wrong_type"]),
        (lambda t: t.set_column(5, "seats", pa.array([1.0, 2.0, 3.0])), ["wrong_type"] * 3),
        (lambda t: t.set_column(5, "seats", pa.array([1, 2, 2**64 - 1], pa.uint64())), ["int_too_large"]),
        (lambda t: t.set_column(1, "time", pa.array([0, 0, 0], pa.timestamp("ms"))), ["unreadable_time"] * 3),
        (lambda t: t.set_column(1, "time", pa.array([NOW_MS, 2**62, NOW_MS])), ["time_out_of_range"]),
        (lambda t: t.set_column(2, "flight_id", pa.array(["a", "", "c"])), ["empty_key"]),
        (lambda t: t.set_column(2, "flight_id", pa.array([b"a", b"b", b"c"])), ["wrong_type"] * 3),
        (lambda t: t.set_column(0, "id", pa.array(["a", "", None])), ["no_id", "no_id"]),
        (lambda t: t.append_column("source", pa.array(["a", "", "b"])), ["empty_source"]),
        (lambda t: t.append_column("stream", pa.array(["departure", "arrival", "departure"])), ["wrong_stream"]),
    ],
)
def test_rows_that_do_not_fit_are_quarantined_one_by_one(desk: Desk, change: Any, codes: list[str]) -> None:
    table = change(pa.Table.from_pylist(events(3), TYPES))
    answer = desk.post(stream(table), kind=ARROW)
    assert (answer.status, answer.codes) == (200, codes)
    assert answer.counts == (3 - len(codes), 0, len(codes))
    assert all(isinstance(json.loads(d["raw"]), dict) for d in desk.dead())


def test_unknown_columns_are_ignored_with_a_warning(desk: Desk) -> None:
    table = pa.Table.from_pylist(events(2), TYPES).append_column("odd", pa.array([[1], [2]]))
    answer = desk.post(stream(table), kind=ARROW)
    assert (answer.counts, answer.content["warnings"][0]["events"]) == ((2, 0, 0), 2)


@pytest.mark.parametrize("body", [b"", b"PAR1 nonsense", stream(pa.Table.from_pylist(events(3), TYPES))[:-300]])
def test_what_is_no_whole_stream_is_400_and_kept(desk: Desk, body: bytes) -> None:
    answer = desk.post(body, kind=ARROW)
    assert (answer.status, answer.codes, answer.counts[2]) == (400, ["not_arrow"], 1)
    assert desk.dead()[0]["code"] == "not_arrow"


def test_forms_that_can_grow_are_refused(desk: Desk) -> None:
    table = pa.Table.from_pylist(events(3), TYPES)
    assert "uncompressed" in desk.post(stream(table, compression="zstd"), kind=ARROW).content["detail"]
    encoded = table.set_column(3, "carrier", table.column("carrier").dictionary_encode())
    assert "categories" in desk.post(stream(encoded), kind=ARROW).content["detail"]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("id", pa.null())])) as writer:
        writer.write_batch(pa.record_batch([pa.nulls(10**9)], ["id"]))
    assert "fewer rows than bytes" in desk.post(sink.getvalue(), kind=ARROW).content["detail"]


@given(st.data())
def test_mutated_streams_never_raise(data: st.DataObject) -> None:
    raw = bytearray(stream(pa.Table.from_pylist(events(3), TYPES)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert Desk().post(bytes(raw), kind=ARROW).status in {200, 400}
