from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.duration import LONGEST_MS, format_ms, parse_ms
from headwater.core.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "ms"),
    [("0ms", 0), ("250ms", 250), ("90 s", 90_000), ("5m", 300_000), ("5min", 300_000), ("1h", 3_600_000), ("48h", 172_800_000),
     ("7d", 604_800_000), ("1w", 604_800_000), ("0.5s", 500), ("1.25h", 4_500_000), (" 3h ", 10_800_000)],
)  # fmt: skip
def test_durations_that_people_write(text, ms):
    assert parse_ms(text) == ms


@pytest.mark.parametrize("text", ["", "7", "d", "-1h", "1 hour", "1h30m", "1e3s", "1H", "٣h", "1h\x00", "nan s", None, 7])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(DeclarationError, match=r"window: this is not a duration; expected .*got .*Write it like") as caught:
        parse_ms(text, where="window")
    assert caught.value.got == repr(text)


def test_a_fraction_of_a_millisecond_is_refused_not_rounded():
    with pytest.raises(DeclarationError, match="whole number of milliseconds"):
        parse_ms("0.0001s")


def test_more_than_a_century_is_refused():
    with pytest.raises(DeclarationError, match="century"):
        parse_ms("999999w")


@given(st.integers(0, LONGEST_MS))
def test_formatting_is_the_inverse_of_parsing(ms):
    assert parse_ms(format_ms(ms)) == ms
