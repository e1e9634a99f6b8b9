"""What a producer sees at the door when all is well, and when it asks for too much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.core.errors import CorruptData, DeclarationError, DiskFull
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.ingest import Limits
from headwater.ingest.shapes import Shapes

from .conftest import NDJSON, NOW_MS, CountingLog, Desk, arrival, departure, lines


def test_lines_are_stored_in_order_and_answered(desk: Desk) -> None:
    answer = desk.post(lines([departure(i, seats=i) for i in range(5)]))
    assert (answer.status, answer.counts) == (200, (5, 0, 0))
    assert answer.content["seq"] == [0, 4]
    assert answer.content["end"] == 5
    assert [(r["seq"], r["id"], r["seats"]) for r in desk.rows("departure")] == [(i, str(i), i) for i in range(5)]
    assert desk.rings == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps(departure(1)).encode()),
        ("application/json; charset=utf-8", json.dumps(departure(1), indent=2).encode()),
        ("application/json", json.dumps([departure(1)], indent=2).encode()),
        ("application/jsonl", lines([departure(1)])),
        (NDJSON, b"\xef\xbb\xbf\r\n" + lines([departure(1)]) + b"\r\n\n"),
    ],
)
def test_every_json_form_gives_the_same_event(desk: Desk, kind: str, body: bytes) -> None:
    assert desk.post(body, kind=kind).counts == (1, 0, 0)
    want = {"seq": 0, "id": "1", "source": "default", "time": NOW_MS, "flight_id": "f1", "carrier": "UA", "distance": 100.5}
    assert desk.rows("departure") == [{**want, "seats": 180, "night": False}]


def test_order_across_streams_is_kept(desk: Desk) -> None:
    events = [(departure if i % 3 else arrival)(i, stream="departure" if i % 3 else "arrival") for i in range(50)]
    assert desk.post(lines(events), stream=None).counts == (50, 0, 0)
    stored = sorted((r["seq"], r["id"]) for s in ("departure", "arrival") for r in desk.rows(s))
    assert stored == [(i, str(i)) for i in range(50)]


def test_a_resend_is_a_duplicate(desk: Desk) -> None:
    body = lines([departure(i) for i in range(3)])
    desk.post(body)
    assert desk.post(body).counts == (0, 3, 0)


def test_a_resend_of_events_without_time_is_a_duplicate(desk: Desk) -> None:
    events = [{k: v for k, v in departure(i).items() if k != "time"} for i in range(300)]
    assert desk.post(lines(events)).counts == (300, 0, 0)
    desk.clock.advance(60)
    changed = [{**events[7], "distance": 1.0}]
    answer = desk.post(lines(events[100:] + changed + events[:100]))
    assert answer.counts == (0, 300, 1)
    assert answer.content["problems"][0]["row"] == 200
    assert len(desk.rows("departure")) == 300


def test_time_is_iso_with_offset_or_ms_or_arrival(desk: Desk) -> None:
    times = ["2023-11-14T22:13:20.123Z", "2023-11-15T00:13:20.123+02:00", "2023-11-14T22:13+00:00", NOW_MS - 5, None]
    assert desk.post(lines([departure(i, time=t) for i, t in enumerate(times)])).counts == (5, 0, 0)
    want = [1_700_000_000_123, 1_700_000_000_123, 1_699_999_980_000, NOW_MS - 5, NOW_MS]
    assert [r["time"] for r in desk.rows("departure")] == want


def test_verdicts_of_each_event_on_request(desk: Desk) -> None:
    body = lines([departure(1), departure(1), departure(2, distance="far")])
    answer = desk.post(body, headers={"Prefer": "verdicts"})
    assert answer.content["verdicts"] == ["accepted", "duplicate", "quarantined"]
    assert answer.headers["preference-applied"] == "verdicts"
    assert "verdicts" not in desk.post(body).content


def test_unknown_members_are_ignored_with_a_warning(desk: Desk) -> None:
    events = [departure(i, **({"distnace": 1, "x": {"y": []}} if i % 2 else {})) for i in range(10)]
    answer = desk.post(lines(events))
    assert answer.counts == (10, 0, 0)
    warnings = {w["text"].split()[5].rstrip(";"): w for w in answer.content["warnings"]}
    assert warnings["distnace"]["events"] == 5
    assert "Did you mean distance?" in warnings["distnace"]["text"]


def test_an_event_beside_a_deep_one_is_warned_of_once(desk: Desk) -> None:
    deep = departure(2, x=0) | {"x": json.loads("[" * 50 + "]" * 50)}
    answer = desk.post(lines([departure(1, y=1), deep, departure(3, y=1)]))
    assert (answer.counts, answer.codes) == ((2, 0, 1), ["too_deep"])
    assert [w["events"] for w in answer.content["warnings"]] == [2]


def test_some_bad_ones_among_many(desk: Desk) -> None:
    bad = {5, 64, 65, 199, 500, 999}
    answer = desk.post(lines([departure(i, distance="far" if i in bad else 1.0) for i in range(1000)]))
    assert answer.counts == (994, 0, 6)
    assert {p["row"] for p in answer.content["problems"]} == bad
    assert [int(r["id"]) for r in desk.rows("departure")] == [i for i in range(1000) if i not in bad]


def test_seconds_for_milliseconds_are_warned_of(desk: Desk) -> None:
    answer = desk.post(lines([departure(1, time=NOW_MS // 1000)]))
    assert [w["code"] for w in answer.content["warnings"]] == ["time_in_seconds"]


def test_nothing_sent_is_nothing_stored(desk: Desk) -> None:
    answer = desk.post(b"\n\n")
    assert (answer.status, answer.counts, answer.content["seq"], answer.content["end"]) == (200, (0, 0, 0), None, 0)


def test_a_large_body_is_stored_in_pieces_and_in_order(desk: Desk) -> None:
    n = 12_000
    answer = desk.post(lines([departure(i) for i in range(n)] + [departure("x", distance=None)]))
    assert answer.counts == (n, 0, 1)
    assert answer.content["problems"][0]["row"] == n
    assert [r["id"] for r in desk.rows("departure")] == [str(i) for i in range(n)]


def test_a_large_array_is_stored_in_pieces_and_in_order(desk: Desk) -> None:
    n = 8_000
    body = json.dumps([departure(i) for i in range(n)]).encode()
    assert desk.post(body[:-1] + b", 7]", kind="application/json").counts == (n, 0, 1)
    assert [r["id"] for r in desk.rows("departure")] == [str(i) for i in range(n)]


def test_tiny_lines_do_not_overflow_a_batch(desk: Desk) -> None:
    answer = desk.post(b"7\n" * 70_000)
    assert answer.counts == (0, 0, 70_000)
    assert len(desk.dead()) == 1  # one text, one source: one letter
    assert answer.content["problems_left_out"] == 69_000


def test_many_sources_do_not_overflow_a_batch(desk: Desk) -> None:
    n = 70_000
    body = b"\n".join(b'{"id":1,"source":"s%d","flight_id":"f","distance":1}' % i for i in range(n))
    assert desk.post(body).counts == (n, 0, 0)


@pytest.mark.parametrize(
    ("kind", "headers", "status"),
    [
        ("text/plain", {}, 415),
        ("", {}, 415),
        ("application/json; charset=latin-1", {}, 415),
        (NDJSON, {"Content-Encoding": "gzip"}, 415),
    ],
)
def test_unknown_kinds_of_body(desk: Desk, kind: str, headers: dict[str, str], status: int) -> None:
    answer = desk.post(lines([departure(1)]), kind=kind, headers=headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert NDJSON in answer.content["detail"]
    assert desk.log.n_appends == 0


def test_unknown_stream_in_the_address(desk: Desk) -> None:
    answer = desk.post(lines([departure(1)]), stream="departures")
    assert (answer.status, desk.log.n_appends) == (404, 0)
    assert "Did you mean departure?" in answer.content["detail"]


@pytest.mark.parametrize("stream", ["_dead", "_control"])
def test_system_streams_take_no_events_from_outside(desk: Desk, stream: str) -> None:
    assert desk.post(lines([{"id": 1, "kind": "x", "body": "{}"}]), stream=stream).status == 404
    answer = desk.post(lines([{"id": 1, "kind": "x", "body": "{}", "stream": stream}]), stream=None)
    assert answer.codes == ["unknown_stream"]


def test_body_too_large() -> None:
    desk = Desk(Limits(max_body_bytes=100))
    assert desk.post(b"x" * 101).status == 413


def test_learner_too_far_behind_is_503() -> None:
    desk = Desk(Limits(lag=lambda: 11, max_lag_events=10))
    answer = desk.post(lines([departure(1)]))
    assert (answer.status, answer.headers["retry-after"], desk.log.n_appends) == (503, "2", 0)
    assert "11 events behind" in answer.content["detail"]


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (DiskFull("no room", where="/secret/path"), "5"),
        (CorruptData("bad chunk", where="/secret/path"), "30"),
        (RuntimeError("/secret/path"), "30"),
    ],
)
def test_a_log_that_cannot_store_is_503_and_acks_nothing(error: Exception, retry_after: str) -> None:
    log = CountingLog()

    def fail(_batch: Any) -> None:
        raise error

    log.before = fail
    desk = Desk(log=log)
    answer = desk.post(lines([departure(1), {}]))
    assert answer.status in {500, 503}
    if answer.status == 503:
        assert answer.headers["retry-after"] == retry_after
    assert "accepted" not in answer.content
    assert "secret" not in json.dumps(answer.content)
    assert (desk.rings, log.bounds()) == (0, (0, 0))
    log.before = lambda batch: None
    assert desk.post(lines([departure(1)])).counts == (1, 0, 0)


def test_a_field_cannot_have_a_name_of_the_envelope() -> None:
    with pytest.raises(DeclarationError, match="cannot be called time"):
        Shapes({"s": Schema("s", (FieldSpec("time", Kind.FLOAT),), key="time")})
