"""Whatever is sent: no exception, and accepted + duplicate + quarantined = events sent."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.ingest.examine import is_deeper
from headwater.ingest.splitting import cut_lines, lines, split_array

from .conftest import NOW_MS, Desk, departure

GOOD = [json.dumps(departure(i)).encode() for i in range(4)]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


def check(body: bytes) -> None:
    answer = Desk().post(body, stream="departure")
    assert answer.status == 200
    assert sum(answer.counts) == len(lines(body.removeprefix(b"\xef\xbb\xbf")))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_random_bytes(parts: list[bytes]) -> None:
    check(b"\n".join([*parts, *GOOD]))


@given(st.data())
def test_mutated_lines(data: st.DataObject) -> None:
    text = bytearray(b"\n".join(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check(bytes(text))


@given(st.data())
def test_mutated_arrays_never_raise(data: st.DataObject) -> None:
    text = bytearray(b"[" + b",".join(GOOD) + b"]")
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    kind = data.draw(
        st.sampled_from(["application/json", "application/cloudevents-batch+json", "application/cloudevents+json"])
    )
    assert Desk().post(bytes(text), kind=kind, stream="departure").status in {200, 400}


EVENTS = st.fixed_dictionaries(
    {"id": st.integers(0, 3) | SCALARS, "flight_id": st.text(max_size=3), "distance": st.floats() | st.integers()},
    optional={
        "carrier": SCALARS,
        "seats": st.integers(-(2**65), 2**65) | SCALARS,
        "night": SCALARS,
        "time": SCALARS,
        "x": SCALARS,
    },
)


def expected(event: dict[str, Any]) -> dict[str, Any] | None:
    """The oracle: the rules once more, one value at a time. None: refused."""
    out = {"flight_id": event["flight_id"], "carrier": event.get("carrier"), "distance": event["distance"]}
    out |= {"seats": event.get("seats", 180), "night": event.get("night", False), "id": event["id"]}
    time = event.get("time")
    fine = (
        (isinstance(out["id"], int | str) and not isinstance(out["id"], bool) and out["id"] != "")
        and out["flight_id"] != ""
        and (out["carrier"] is None or isinstance(out["carrier"], str))
        and isinstance(out["distance"], int | float)
        and abs(float(out["distance"])) < float("inf")
        and type(out["seats"]) is int
        and -(2**63) <= out["seats"] < 2**63
        and type(out["night"]) is bool
        and (time is None or (type(time) is int and -62_135_596_800_000 <= time <= NOW_MS + 86_400_000))
    )
    return (
        {**out, "id": str(out["id"]), "distance": float(out["distance"]), "time": NOW_MS if time is None else time}
        if fine
        else None
    )


@given(st.lists(EVENTS, max_size=8))
@settings(max_examples=200)
def test_decoding_agrees_with_a_slow_oracle(events: list[dict[str, Any]]) -> None:
    desk = Desk()
    body = b"\n".join(json.dumps(e).encode() for e in events)
    answer = desk.post(body, headers={"prefer": "verdicts"})
    wanted = [expected(json.loads(json.dumps(e))) for e in events]
    known: dict[str, Any] = {}
    verdicts = []
    for want in wanted:
        verdicts.append("quarantined" if want is None or known.setdefault(want["id"], want) != want else "accepted")
        if want is not None and verdicts[-1] == "accepted" and known[want["id"]] is not want:
            verdicts[-1] = "duplicate"
    assert answer.content["verdicts"] == verdicts
    stored = [{k: v for k, v in r.items() if k not in {"seq", "source"}} for r in desk.rows("departure")]
    assert stored == [w for w, v in zip(wanted, verdicts, strict=True) if v == "accepted"]


@given(st.binary(max_size=60), st.integers(0, 4))
def test_splitting_never_loses_a_byte_that_counts(raw: bytes, limit: int) -> None:
    split_array(raw)
    is_deeper(raw, limit)
    assert b"".join(cut_lines(raw)) == raw


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3))
)
def test_split_array_agrees_with_json(value: Any) -> None:
    array = [value, 'a,]\\"', value]
    assert repr([json.loads(t) for t in split_array(json.dumps(array).encode())]) == repr(array)
