"""Pages of a stream: what is on them, where they lead, and that their forms say the same."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import EventsDropped, Fatal, WrongState
from headwater.following import formats
from headwater.following.notices import Said
from headwater.following.streams import UnknownStream
from headwater.ingest.door import Door
from headwater.ingest.limits import Limits

from .conftest import Order, World, batch, order

WIDE = 1 << 30


def read_all(stream, limit=1000, max_bytes=WIDE, start=0):
    """Every row from a place on, page by page: (seq, id) and the pages."""
    seen, pages = [], []
    while True:
        page = stream.read(start, limit, max_bytes)
        seen += list(zip(page.seq.tolist(), page.rows.ids.to_list(), strict=True))
        pages.append(page)
        assert page.next > start or page.next == page.end
        start = page.next
        if start == page.end:
            return seen, pages


def test_a_page_holds_one_streams_rows_with_the_seq_of_the_log(world):
    world.orders(3, pings=2)
    seen, (page,) = read_all(world.streams.open("order"))
    assert seen == [(0, "order-0"), (3, "order-1"), (6, "order-2")]
    assert (page.next, page.end) == (9, 9)
    assert page.rows.frames["order"].columns["order_id"].to_list() == ["o0", "o1", "o2"]


@given(
    shape=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=6),
    limit=st.integers(1, 7), max_bytes=st.integers(1, 600),
)  # fmt: skip
def test_every_row_comes_once_whatever_the_limits(shape, limit, max_bytes):
    world = World()
    for n, pings in shape:
        world.orders(n, pings=pings)
    expected, _ = read_all(world.streams.open("order"))
    seen, pages = read_all(world.streams.open("order"), limit, max_bytes)
    assert seen == expected
    assert len(seen) == world.n
    assert all(page.n <= limit for page in pages)


def test_a_page_ends_at_its_bytes_but_holds_at_least_one_row(world):
    world.log.append(batch([order(i).replace(order_id="x" * 10_000) for i in range(10)], 0))
    stream = world.streams.open("order")
    assert [stream.read(0, 100, max_bytes).n for max_bytes in (1, 10_200, 25_000, WIDE)] == [1, 1, 2, 10]


def test_a_part_leads_to_the_row_after_it(world):
    world.orders(4, pings=1)
    page = world.streams.open("order").read(0, 100, WIDE)
    part = page.part(1, 3)
    assert (part.seq.tolist(), part.next) == ([2, 4], 6)
    assert page.part(3, 4).next == page.next == 8
    for start, stop in ((0, 4), (1, 3), (2, 2)):
        part = page.part(start, stop)
        assert formats.lines(part).splitlines() == formats.lines(page).splitlines()[start:stop]
        if part.n:
            with pa.ipc.open_stream(formats.arrow(part)) as some, pa.ipc.open_stream(formats.arrow(page)) as all_:
                assert some.read_all().to_pylist() == all_.read_all().to_pylist()[start:stop]


def test_a_rare_stream_does_not_make_a_read_endless(world, monkeypatch):
    monkeypatch.setattr("headwater.following.log_stream._LOOK_EVENTS", 10)
    world.orders(1, pings=24)
    world.orders(1)
    page = world.streams.open("order").read(1, 100, WIDE)
    assert page.n == 0
    assert 1 < page.next < page.end == 26
    assert read_all(world.streams.open("order"), start=1)[0] == [(25, "order-1")]


def test_places_that_are_gone_or_not_there_yet_are_refused(world):
    for _ in range(3):
        world.orders(2)
    world.log.retain(max_bytes=1, keep_from=4)
    stream = world.streams.open("order")
    with pytest.raises(EventsDropped) as gone:
        stream.read(0, 10, WIDE)
    assert gone.value.first == stream.bounds()[0] == 4
    with pytest.raises(WrongState, match="ahead"):
        stream.read(7, 10, WIDE)
    assert stream.read(6, 10, WIDE).n == 0


def test_an_unknown_stream_is_told_with_the_nearest(world):
    with pytest.raises(UnknownStream, match="Did you mean order"):
        world.streams.open("ordr")
    with pytest.raises(UnknownStream, match="_versions"):
        world.streams.open("_version")


def test_all_streams_are_described(world):
    world.orders(2)
    world.notices.append("_quotas", "a", 1, {})  # a room that is not written yet
    said = {s["name"]: (s["first"], s["end"]) for s in world.streams.describe()}
    assert said == {
        "order": (0, 2), "ping": (0, 2), "_control": (0, 2), "_dead": (0, 2), "_incidents": (0, 0), "_plans": (0, 0),
        "_quotas": (0, 1), "_versions": (0, 0),
        "_features": (0, 0),
    }  # fmt: skip


def test_json_lines_the_document_the_batch_and_arrow_say_the_same(world):
    world.orders(30, pings=1)
    page = world.streams.open("order").read(0, 100, WIDE)
    lines = [json.loads(line) for line in formats.lines(page).splitlines()]
    assert json.loads(formats.cloud_batch(page)) == lines
    assert json.loads(formats.document(page)) == {"stream": "order", "next": 60, "end": 60, "events": lines}
    with pa.ipc.open_stream(formats.arrow(page)) as reader:
        metadata, rows = reader.schema.metadata, reader.read_all().to_pylist()
    assert metadata == {b"headwater-stream": b"order", b"headwater-next": b"60", b"headwater-end": b"60"}
    for event, row in zip(lines, rows, strict=True):
        assert event["time"] == row.pop("time").strftime("%Y-%m-%dT%H:%M:%S.000Z")
        assert row.pop("arrival") is not None
        assert [row.pop(name) for name in ("seq", "id", "source")] == [event["seq"], event["id"], event["source"]]
        assert row == event["data"] == vars(order(event["seq"] // 2))
    assert {type(row["is_gift"]) for row in (event["data"] for event in lines)} == {bool, type(None)}


def test_a_page_without_rows_has_the_same_columns(world):
    world.orders(1)
    tables = [pa.ipc.open_stream(formats.arrow(world.streams.open("order").read(at, 9, WIDE))).read_all() for at in (0, 1)]
    assert pa.concat_tables(tables).num_rows == 1
    assert formats.lines(world.streams.open("order").read(1, 9, WIDE)) == b""


@pytest.mark.parametrize("form", [formats.CLOUD_BATCH, formats.ARROW])
def test_what_came_out_can_be_sent_in_again_and_is_the_same_event(world, form):
    world.orders(30, pings=1)
    page = world.streams.open("order").read(0, 100, WIDE)
    body = formats.arrow(page) if form == formats.ARROW else formats.cloud_batch(page)
    world.clock.advance(60)  # beyond the newest of them

    async def send():
        door = Door(world.log, {"order": Order.schema}, clock=world.clock, limits=Limits(), on_append=lambda: None)
        try:
            return await door.submit(body, form, {}, "order" if form == formats.ARROW else None)
        finally:
            await door.close()

    said = json.loads(asyncio.run(send()).body)
    assert (said["accepted"], said["duplicate"], said["quarantined"]) == (0, 30, 0)  # the same source, id and content


def test_numbers_that_json_has_not_are_nulls(world):
    world.log.append(batch([order(1).replace(distance_km=float("inf"))], 0))
    assert json.loads(formats.lines(world.streams.open("order").read(0, 9, WIDE)))["data"]["distance_km"] is None


def test_notices_are_said_once_in_their_own_order(world):
    assert world.notices.append("_versions", "late@100", 5, {"line": "late", "seq": 100})
    assert world.notices.append("_plans", "p1", 6, {})
    assert not world.notices.append("_versions", "late@100", 5, {"line": "late", "seq": 100, "cost": 2})
    assert world.notices.append_all("_versions", [Said("late@100", 5, {}), Said("late@200", 7, {"seq": 200})]) == 1
    page = world.streams.open("_versions").read(0, 10, WIDE)
    assert [json.loads(line) for line in formats.lines(page).splitlines()] == [
        {"specversion": "1.0", "id": "late@100", "source": "headwater/_versions", "type": "_versions",
         "time": "1970-01-01T00:00:00.005Z", "seq": 0, "data": {"line": "late", "seq": 100}},
        {"specversion": "1.0", "id": "late@200", "source": "headwater/_versions", "type": "_versions",
         "time": "1970-01-01T00:00:00.007Z", "seq": 1, "data": {"seq": 200}},
    ]  # fmt: skip
    with pa.ipc.open_stream(formats.arrow(page)) as reader:
        assert [json.loads(text) for text in reader.read_all().column("data").to_pylist()] == [
            {"line": "late", "seq": 100},
            {"seq": 200},
        ]
    assert read_all(world.streams.open("_versions"), limit=1)[0] == [(0, "late@100"), (1, "late@200")]
    assert world.streams.open("_versions").read(0, 10, 1).n == 1
    with pytest.raises(WrongState):
        world.streams.open("_versions").read(3, 10, WIDE)


def test_notices_have_streams_of_their_own(world):
    for name in ("order", "_control", "_dead"):
        with pytest.raises(Fatal, match="streams of their own"):
            world.notices.append(name, "a", 1, {})


def test_places_are_numbers_of_64_bits(world):
    world.orders(1)
    assert world.streams.open("order").read(0, 1, WIDE).seq.dtype == np.int64
