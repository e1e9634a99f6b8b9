"""A bad event becomes a dead letter that says why, and the good ones beside it are stored (faults F7, F9, F10)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.ingest import Limits

from .conftest import NOW_MS, Desk, departure, lines

GOOD = departure("good")


def text(**more: Any) -> bytes:
    return json.dumps(departure("bad", **more)).encode()


def without(name: str) -> bytes:
    return json.dumps({k: v for k, v in departure("bad").items() if k != name}).encode()


BAD: list[tuple[str, bytes, str]] = [
    ("malformed", b'{"id": "bad", ', "malformed_json"),
    ("two in a line", text() + b" " + text(), "malformed_json"),
    ("not an object", b"[1]", "not_an_object"),
    ("invalid UTF-8", text(carrier="QQ").replace(b"QQ", b"\xff\xfe"), "invalid_utf8"),
    ("half a surrogate pair", text(carrier="QQ").replace(b"QQ", b"\\ud800"), "invalid_utf8"),
    ("wrong type", text(distance="far"), "wrong_type"),
    ("bool for a float", text(distance=True), "wrong_type"),
    ("float for an int", text(seats=1.5), "wrong_type"),
    ("null where none may be", text(distance=None), "wrong_type"),
    ("missing field", without("distance"), "missing_field"),
    ("missing id", without("id"), "no_id"),
    ("empty id", text(id=""), "no_id"),
    ("boolean id", text(id=True), "wrong_type"),
    ("empty source", text(source=""), "empty_source"),
    ("source of a wrong type", text(source=3), "wrong_type"),
    ("NaN", text(distance=float("nan")), "not_finite"),
    ("infinity", text(distance=float("-inf")), "not_finite"),
    ("1e999", text(distance=7.25).replace(b"7.25", b"1e999"), "not_finite"),
    ("an integer too large for a float", text(distance=10**400), "not_finite"),
    ("2^70", text(seats=2**70), "int_too_large"),
    ("2^63", text(seats=2**63), "int_too_large"),
    ("time of 2^70", text(time=2**70), "int_too_large"),
    ("5000 digits", text(seats=7).replace(b"7}", b"7" * 5000 + b"}"), "malformed_json"),
    ("deep", text(x=0)[:-2] + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
    ("oversized", text(carrier="x" * 20_000), "too_large"),
    ("another stream", text(stream="arrival"), "wrong_stream"),
    ("unknown stream", text(stream="departures"), "unknown_stream"),
    ("unknown version", text(stream="departure.v7"), "unknown_version"),
    ("time without offset", text(time="2024-01-01T00:00:00"), "unreadable_time"),
    ("time that is none", text(time="yesterday"), "unreadable_time"),
    ("fractional ms", text(time=1.5), "unreadable_time"),
    ("too far ahead", text(time=NOW_MS + 86_400_001), "too_far_ahead"),
    ("beyond the year 9999", text(time=-(10**17)), "time_out_of_range"),
    ("empty key", text(flight_id=""), "empty_key"),
    ("null key", text(flight_id=None), "wrong_type"),
]


@pytest.mark.parametrize(("raw", "code"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
@pytest.mark.parametrize("form", ["lines", "array"])
def test_each_bad_event_alone_is_quarantined(raw: bytes, code: str, form: str) -> None:
    desk = Desk(Limits(max_event_bytes=10_000 if code == "too_large" else 1 << 20))
    good = [json.dumps(departure(i)).encode() for i in ("a", "b")]
    texts = [good[0], raw, good[1]]
    if form == "array":
        answer = desk.post(b"[" + b", ".join(texts) + b"]", kind="application/json")
    else:
        answer = desk.post(b"\n".join(texts) + b"\n")
    assert answer.status == 200
    if form == "array" and raw == BAD[0][1]:  # its brace is open: what follows cannot be told apart from it
        assert (answer.counts[0], answer.codes) == (1, ["malformed_json"])
        return
    assert answer.codes == [code], answer.content
    assert answer.counts == (2, 0, 1)
    assert [r["id"] for r in desk.rows("departure")] == ["a", "b"]
    (letter,) = desk.dead()
    limit = desk.limits.max_event_bytes
    assert (letter["code"], letter["raw"]) == (code, raw[:limit].decode(errors="backslashreplace"))
    assert letter["truncated"] == (len(raw) > limit)
    assert letter["reason"] == answer.content["problems"][0]["reason"]


def test_a_reason_names_field_and_types_but_no_value(desk: Desk) -> None:
    answer = desk.post(lines([departure(1, distance="4111-1111-1111")]))
    reason = "field distance: expected float, got str"
    assert answer.content["problems"] == [{"row": 0, "verdict": "quarantined", "code": "wrong_type", "reason": reason}]


def test_large_floats_and_denormals_are_floats(desk: Desk) -> None:
    assert desk.post(lines([departure(i, distance=d) for i, d in enumerate([1e308, -1e308, 5e-324, 7])])).counts == (4, 0, 0)


def test_same_id_with_another_payload_is_a_conflict(desk: Desk) -> None:
    desk.post(lines([departure(1)]))
    answer = desk.post(lines([departure(0), departure(1, distance=2.0), departure(2)]))
    assert (answer.counts, answer.codes) == ((2, 0, 1), ["conflict"])
    assert [r["distance"] for r in desk.rows("departure")] == [100.5] * 3
    (letter,) = desk.dead()
    assert json.loads(letter["raw"])["distance"] == 2.0
    assert answer.content["end"] == desk.log.bounds()[1]


def test_a_resent_bad_event_is_one_letter(desk: Desk) -> None:
    body = lines([departure(1, distance="far", source="probe-7")])
    assert [desk.post(body).counts for _ in range(3)] == [(0, 0, 1)] * 3
    desk.clock.advance(5)
    desk.post(body)
    assert [(d["source"], d["stream"]) for d in desk.dead()] == [("probe-7", "departure")]


@pytest.mark.parametrize("body", [b"", b"{", b"42", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_400_and_kept(desk: Desk, body: bytes) -> None:
    answer = desk.post(body, kind="application/json")
    assert (answer.status, answer.counts, len(desk.dead())) == (400, (0, 0, 1), 1)


def test_a_single_event_with_a_wrong_type_was_handled(desk: Desk) -> None:
    assert desk.post(text(distance="far"), kind="application/json").status == 200


def test_mixed_events_without_a_stream(desk: Desk) -> None:
    answer = desk.post(lines([departure(1), departure(2, stream=7), departure(3, stream="departure")]), stream=None)
    assert (answer.counts, answer.codes) == ((1, 0, 2), ["unknown_stream"] * 2)
