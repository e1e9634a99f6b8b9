"""The compiled scanner against the typed decoders: what it reads they read too, bit for bit; the rest it leaves to them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.core.codec import encode
from headwater.ingest.decode import Decoder, Piece, join
from headwater.ingest.letters import Bad
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes

from .conftest import NOW_MS, SCHEMAS, arrival, departure

ARRIVAL_US = NOW_MS * 1000
DECODER = Decoder(Shapes(SCHEMAS), Limits())
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=6)
NUMBERS = (
    st.integers(-(2**65), 2**65)
    | st.integers(-9, 9)
    | st.floats()
    | st.decimals(-(10**9), 10**9, places=4).map(float)
    | st.sampled_from([0.0, -0.0, 2**53, 2**53 + 1, 9007199254740993.0, 1e22, 1e-7])
)
TIMES = st.just(NOW_MS) | st.integers(-(2**65), 2**65) | st.sampled_from(["2024-05-01T12:00:00Z", None, 1.0, NOW_MS + 10**9])
SOMETHING = NUMBERS | PLAIN | st.text(max_size=3) | st.none() | st.booleans()
DEPARTURES = st.fixed_dictionaries(
    {"id": PLAIN, "time": st.just(NOW_MS), "flight_id": PLAIN, "carrier": PLAIN | st.none(), "distance": NUMBERS},
    optional={"seats": st.integers(), "night": st.booleans(), "source": PLAIN, "x": SOMETHING},
)
ARRIVALS = st.fixed_dictionaries(
    {"id": PLAIN, "time": TIMES, "flight_id": PLAIN}, optional={"arr_delay": NUMBERS | st.none(), "gate": NUMBERS | st.none()}
)
GOOD = {
    "departure": [departure(f"d{i}", seats=i, night=bool(i % 2), carrier=None if i == 1 else "UA") for i in range(3)],
    "arrival": [arrival("a0", gate=7), arrival("a1", gate=None, arr_delay=-2.25), {"id": "a2", "time": 0, "flight_id": "f"}],
}


def agrees(text: bytes, stream: str) -> bool:
    """Whether the scanner read the text; it must have read what the typed decoders read."""
    window = DECODER.scanned(Piece(text), stream, ARRIVAL_US)
    if window is None:
        return False
    rows = DECODER.decoded(Piece(text), stream, ARRIVAL_US)
    assert rows is not None
    (typed,) = join(DECODER.shapes, [rows])
    assert not typed.letters
    assert not typed.ignored
    assert encode(window.batch) == encode(typed.batch)
    bad = Bad("conflict", "")
    assert [window.refuse(i, bad) for i in range(window.n)] == [typed.refuse(i, bad) for i in range(window.n)]
    return True


def body(events: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(event, ensure_ascii=False).encode() for event in events)


def test_scanner_agrees_with_the_typed_decoders_on_any_events() -> None:
    seen: Counter[bool] = Counter()

    @settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from([("departure", DEPARTURES), ("arrival", ARRIVALS)]), st.data())
    def one(kind: tuple[str, st.SearchStrategy[dict[str, Any]]], data: st.DataObject) -> None:
        text = body(data.draw(st.lists(kind[1], max_size=3)))
        seen[agrees(text, kind[0])] += text.count(b"\n") + 1

    one()
    print(f"{seen[True]} lines scanned, {seen[False]} left to the typed decoders")
    assert seen[True]
    assert seen[False]


def test_scanner_reads_any_finite_number_as_the_typed_decoders_do() -> None:
    """Seventeen digits and exponents, as programs print them, and integers of every size: none is left to the others."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    spelled = (
        finite.map(repr) | st.integers(-(2**70), 2**70).map(str) | finite.map("{:e}".format) | finite.map("{:.20f}".format)
    )
    scanned = 0

    @settings(max_examples=400)
    @given(st.lists(spelled, min_size=1, max_size=8))
    def one(numbers: list[str]) -> None:
        nonlocal scanned
        events = [departure(f"d{i}", seats=i, night=True, distance=12321.0) for i in range(len(numbers))]
        lines = body(events).splitlines()
        text = b"\n".join(line.replace(b"12321.0", n.encode()) for line, n in zip(lines, numbers, strict=True))
        assert agrees(text, "departure")
        scanned += len(numbers)

    one()
    print(f"{scanned} numbers scanned")


@pytest.mark.parametrize("stream", GOOD)
def test_scanner_agrees_on_mutated_lines(stream: str) -> None:
    seen: Counter[bool] = Counter()
    alphabet = st.binary(max_size=2) | st.sampled_from([b",", b" ", b"0", b"-", b".", b"1e5", b'"', b"}", b"\n", b"null"])

    @settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def one(data: st.DataObject) -> None:
        text = bytearray(body(GOOD[stream]) + data.draw(st.sampled_from([b"", b"\n"])))
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(text) - 1))
            text[at : at + data.draw(st.integers(0, 2))] = data.draw(alphabet)
        seen[agrees(bytes(text), stream)] += 1

    # Departures of `GOOD` name every member; a default is not the scanner's to fill in.
    assert agrees(body(GOOD[stream]), stream)
    one()
    print(f"{seen[True]} bodies scanned, {seen[False]} left to the typed decoders")
    assert seen[True]
    assert seen[False]


@pytest.mark.parametrize(
    "change",
    [
        b'"distance": 100.50}', b'"distance": 1e2}', b'"distance": -0}', b'"distance": 01}', b'"distance": 1.}',
        b'"distance": .5}',
        b'"distance": 9007199254740993}', b'"distance": 9007199254740992}', b'"distance": 0.1, "distance": 2}',
        b'"distance": true}', b'"distance": [1]}', b'"distance": "1"}', b'"distance": 1}}', b'"distance": 1} ',
        b'"distance": 1}\r',
        b'"distance": 1, }', b'"distance": 123456789.123456}', b'"distance": null}', b'"distance": }', b'"distance"',
    ],
)  # fmt: skip
def test_scanner_agrees_on_odd_numbers(change: bytes) -> None:
    text = body(GOOD["departure"]).splitlines()[0].replace(b'"distance": 100.5, ', b"")[:-1] + b", " + change
    if agrees(text, "departure"):
        assert change in {
            b'"distance": 100.50}', b'"distance": 9007199254740992}', b'"distance": 123456789.123456}',
            b'"distance": 1e2}', b'"distance": -0}', b'"distance": 9007199254740993}',
        }  # fmt: skip
