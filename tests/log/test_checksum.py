"""XXH64 against the published values and against the specification, word for word in plain integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.checksum import xxh64

P1, P2, P3, P4, P5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MASK = 2**64 - 1


def rotated(x: int, left: int) -> int:
    return ((x << left) | (x >> (64 - left))) & MASK


def round_(lane: int, word: int) -> int:
    return rotated((lane + word * P2) & MASK, 31) * P1 & MASK


def by_the_specification(data: bytes, seed: int) -> int:
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - len(data) % 8, 8)]
    n_striped = len(words) - len(words) % 4
    if n_striped:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        for i in range(n_striped):
            lanes[i % 4] = round_(lanes[i % 4], words[i])
        h = sum(rotated(lane, left) for lane, left in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            h = ((h ^ round_(0, lane)) * P1 + P4) & MASK
    else:
        h = (seed + P5) & MASK
    h = (h + len(data)) & MASK
    for word in words[n_striped:]:
        h = (rotated(h ^ round_(0, word), 27) * P1 + P4) & MASK
    tail = data[8 * len(words) :]
    if len(tail) >= 4:
        h = (rotated(h ^ (int.from_bytes(tail[:4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        tail = tail[4:]
    for byte in tail:
        h = rotated(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    for shift, factor in ((33, P2), (29, P3), (32, 1)):
        h = (h ^ (h >> shift)) * factor & MASK
    return h


@pytest.mark.parametrize(
    ("data", "seed", "value"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"xxhash", 20141025, 0xB559B98D844E0635),
        (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
    ],
)
def test_published_values(data: bytes, seed: int, value: int) -> None:
    assert xxh64(data, seed) == value
    assert by_the_specification(data, seed) == value


@given(st.binary(max_size=200), st.integers(0, MASK))
def test_it_follows_the_specification(data: bytes, seed: int) -> None:
    assert xxh64(data, seed) == xxh64(memoryview(bytearray(data)), seed) == by_the_specification(data, seed)
