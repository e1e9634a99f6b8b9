"""CloudEvents 1.0 in structured, batched and binary mode, after the examples of the specification."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from .conftest import NOW_MS, Desk

DATA = {"flight_id": "UA7", "arr_delay": 12.5, "gate": 4}


def event(**more: Any) -> dict[str, Any]:
    """The specification's example, with one of our streams as its type."""
    attributes = {
        "specversion": "1.0",
        "type": "arrival.v2",
        "source": "/mycontext/4",
        "subject": None,
        "id": "C234-1234-1234",
        "time": "2023-11-14T21:31:00Z",
        "comexampleextension1": "value",
        "comexampleothervalue": 5,
        "datacontenttype": "application/json",
        "data": DATA,
    }
    return {k: v for k, v in (attributes | more).items() if v is not ...}


WANT = {"seq": 0, "id": "C234-1234-1234", "source": "/mycontext/4", "time": 1_699_997_460_000, **DATA}


@pytest.mark.parametrize("stream", ["arrival", None])
@pytest.mark.parametrize("kind", ["arrival", "arrival.v2"])
def test_structured(desk: Desk, stream: str | None, kind: str) -> None:
    answer = desk.post(json.dumps(event(type=kind)).encode(), stream, "application/cloudevents+json; charset=UTF-8")
    assert (answer.status, answer.counts) == (200, (1, 0, 0))
    assert desk.rows("arrival") == [WANT]
    assert "warnings" not in answer.content


def test_batch(desk: Desk) -> None:
    events = [event(id="a"), event(id="b", data={"flight_id": "x", "new": 1}), event(id="c", data={"arr_delay": 1})]
    answer = desk.post(json.dumps(events).encode(), None, "application/cloudevents-batch+json")
    assert (answer.counts, answer.codes) == ((2, 0, 1), ["missing_field"])
    assert [r["id"] for r in desk.rows("arrival")] == ["a", "b"]
    assert answer.content["warnings"][0]["events"] == 1
    assert desk.post(b"[]", None, "application/cloudevents-batch+json").counts == (0, 0, 0)


def test_binary(desk: Desk) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "arrival",
        "ce-time": "2023-11-14T21:31:00Z",
        "ce-id": "C234-1234-1234",
        "ce-source": "%2Fmycontext%2F4",
    }
    assert desk.post(json.dumps(DATA).encode(), None, "application/json", headers).counts == (1, 0, 0)
    assert desk.rows("arrival") == [WANT]
    broken = desk.post(b"{", None, "application/json", headers)
    assert (broken.status, broken.codes) == (400, ["malformed_json"])


def test_data_in_base64(desk: Desk) -> None:
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    body = json.dumps(event(data=..., data_base64=encoded)).encode()
    assert desk.post(body, None, "application/cloudevents+json").counts == (1, 0, 0)
    assert desk.rows("arrival") == [WANT]


def test_time_defaults_to_arrival(desk: Desk) -> None:
    desk.post(json.dumps(event(time=...)).encode(), None, "application/cloudevents+json")
    assert desk.rows("arrival")[0]["time"] == NOW_MS


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"id": ...}, "not_a_cloudevent"),
        ({"source": ""}, "not_a_cloudevent"),
        ({"type": ...}, "not_a_cloudevent"),
        ({"specversion": "0.3"}, "unknown_version"),
        ({"specversion": ...}, "not_a_cloudevent"),
        ({"type": "arrival.v3"}, "unknown_version"),
        ({"type": "com.github.pull_request.opened"}, "unknown_stream"),
        ({"data": "text"}, "wrong_type"),
        ({"data": ...}, "wrong_type"),
        ({"data": ..., "data_base64": "%%"}, "malformed_json"),
        ({"data": DATA | {"gate": "four"}}, "wrong_type"),
        ({"time": "soon"}, "unreadable_time"),
    ],
)
def test_bad_ones_are_quarantined_beside_good_ones(desk: Desk, more: dict[str, Any], code: str) -> None:
    body = json.dumps([event(id="a"), event(**more), event(id="b")]).encode()
    answer = desk.post(body, None, "application/cloudevents-batch+json")
    assert (answer.counts, answer.codes) == ((2, 0, 1), [code])


def test_data_may_have_members_named_like_the_envelope(desk: Desk) -> None:
    body = json.dumps([event(id="a"), event(id="b", data=DATA | {"id": "other", "time": 5, "stream": "x"})]).encode()
    assert desk.post(body, None, "application/cloudevents-batch+json").counts == (2, 0, 0)
    assert [(r["id"], r["time"]) for r in desk.rows("arrival")] == [("a", WANT["time"]), ("b", WANT["time"])]
