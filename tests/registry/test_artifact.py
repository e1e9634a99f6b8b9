from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from headwater.core import crashpoints
from headwater.core.errors import CorruptData, DiskFull, Fatal
from headwater.registry import Artifacts
from headwater.registry.artifact import MAX_HEADER_BYTES, decode, encode

ARRAYS = {"weights": np.arange(6.0).reshape(2, 3), "slots": np.array([3, 1], np.int64), "seen": np.array(7, np.uint64)}
HEADER = {"learner": "linear", "offset": 12, "nested": {"a": [1, None, 0.1]}}


class Crash(BaseException):
    pass


@pytest.fixture
def crash_at():
    def arm(name):
        def stop(reached):
            if reached == name:
                raise Crash

        crashpoints.arm(stop)

    yield arm
    crashpoints.arm(None)


@pytest.fixture
def store(tmp_path):
    return Artifacts(tmp_path / "versions")


def test_what_is_put_is_got(store):
    found = store.get(store.put(ARRAYS, HEADER))
    assert found.header == HEADER
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        np.testing.assert_array_equal(found.arrays[name], array)


numbers = st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.uint64, np.uint8, np.bool_])
named = st.dictionaries(st.text(max_size=8).filter(lambda s: s != "__metadata__"), numbers.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_side=4))), max_size=5)  # fmt: skip


@settings(max_examples=30)
@given(
    named,
    st.dictionaries(
        st.text(max_size=5), st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False)
    ),
)
def test_equal_content_gives_equal_bytes_and_comes_back(arrays, header):
    data = encode(arrays, header)
    backwards = {name: np.asfortranarray(arrays[name]) if arrays[name].ndim else arrays[name] for name in reversed(arrays)}
    assert encode(backwards, dict(reversed(header.items()))) == data
    found = decode(data)
    assert found.header == header
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in found.arrays.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()
    }


PROGRAM = """
import hashlib, numpy as np
from headwater.registry.artifact import encode
print(hashlib.sha256(encode({c: np.arange(3.0) for c in "dcba"}, {"x": 1, "a": {"z": 1, "b": 2}})).hexdigest())
"""


def test_another_process_makes_the_same_bytes():
    there = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True).strip()
    here = encode({c: np.arange(3.0) for c in "abcd"}, {"a": {"b": 2, "z": 1}, "x": 1})
    assert there == hashlib.sha256(here).hexdigest()


def test_the_file_is_plain_safetensors_named_after_its_hash(store, tmp_path):
    sha256 = store.put(ARRAYS, HEADER)
    data = (tmp_path / "versions" / f"{sha256}.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["headwater"]
    assert store.hashes() == [sha256]


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:4], lambda d: b"", lambda d: d + b"\0",
                                    lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: b"\xff" * 8 + d[8:]])  # fmt: skip
def test_a_damaged_file_is_refused_before_it_is_parsed(store, damage, monkeypatch):
    sha256 = store.put(ARRAYS, HEADER)
    path = store.path(sha256)
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr("headwater.registry.artifact.decode", lambda *_: pytest.fail("parsed"))
    with pytest.raises(CorruptData, match=r"altered or cut short.*headwater rebuild"):
        store.get(sha256)


def test_putting_it_again_mends_a_damaged_file(store):
    sha256 = store.put(ARRAYS, HEADER)
    store.path(sha256).write_bytes(b"rubbish")
    assert store.put(ARRAYS, HEADER) == sha256
    store.verify(sha256)


@given(st.binary(max_size=300))
def test_rubbish_is_corrupt_data_and_nothing_else(data):
    with pytest.raises(CorruptData):
        decode(data)


@given(st.data())
def test_any_change_of_the_header_is_corrupt_data_or_harmless(data):
    good = encode(ARRAYS, HEADER)
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        found = decode(changed)
    except CorruptData:  # any other error fails
        return
    assert sum(array.nbytes for array in found.arrays.values()) <= len(changed)  # nothing is made of what is not there
    again = decode(encode(found.arrays, found.header))
    assert again.header == found.header
    assert {n: a.tobytes() for n, a in again.arrays.items()} == {n: a.tobytes() for n, a in found.arrays.items()}


def test_a_header_that_claims_too_much_is_refused():
    huge = (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 8)
    with pytest.raises(CorruptData, match="impossible length"):
        decode(huge)
    with pytest.raises(Fatal, match="header is too large"):
        encode({}, {"x": "y" * MAX_HEADER_BYTES})


def test_a_header_with_nan_or_objects_is_refused():
    for header in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises(Fatal, match="header cannot be written"):
            encode({}, header)


def test_a_file_over_the_limit_is_neither_written_nor_read(tmp_path):
    sha256 = Artifacts(tmp_path).put(ARRAYS, HEADER)
    small = Artifacts(tmp_path, max_bytes=100)
    with pytest.raises(Fatal, match="too large"):
        small.put(ARRAYS, HEADER)
    with pytest.raises(CorruptData, match="too large"):
        small.get(sha256)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63])
def test_what_is_no_hash_never_becomes_a_path(store, name):
    for call in (store.get, store.verify, store.path):
        with pytest.raises(Fatal, match="not the hash of a version"):
            call(name)


def test_a_missing_file_says_so(store):
    with pytest.raises(CorruptData, match="file is missing"):
        store.get("0" * 64)
    assert store.hashes() == []


@pytest.mark.parametrize("name", ["registry.written", "registry.renamed"])
def test_a_crash_while_writing_leaves_all_or_nothing(store, crash_at, name):
    crash_at(name)
    with pytest.raises(Crash):
        store.put(ARRAYS, HEADER)
    crashpoints.arm(None)
    for sha256 in store.hashes():
        store.verify(sha256)
    assert store.get(store.put(ARRAYS, HEADER)).header == HEADER
    assert [p.suffix for p in store.path("0" * 64).parent.iterdir()] == [".safetensors"]


def test_a_full_disk_is_said_and_leaves_nothing(store, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="a version cannot be written"):
        store.put(ARRAYS, HEADER)
    assert list(store.path("0" * 64).parent.iterdir()) == []
