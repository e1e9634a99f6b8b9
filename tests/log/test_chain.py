"""A chunk that was changed, moved or lost is found and named, however it is reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from headwater.core.errors import CorruptData
from headwater.log import LmdbLog
from headwater.log.chunks import key_of
from headwater.testing.log_conformance import Row, batch_of, stored

FIRSTS = (0, 3, 6, 9, 12)  # the first seq of each of five chunks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = LmdbLog(tmp_path / "log")
    for first in FIRSTS:
        log.append(batch_of([Row(str(first + i)) for i in range(3)]))
    log.close()
    return tmp_path / "log"


def tamper(folder: Path, change: Callable[[Any, Any], None]) -> None:
    with lmdb.open(str(folder), max_dbs=3, map_size=1 << 30) as env:
        chunks = env.open_db(b"chunks")
        with env.begin(write=True, db=chunks) as txn:
            change(txn, chunks)


def flip(seq: int, byte: int) -> Callable[[Any, Any], None]:
    def change(txn: Any, _: Any) -> None:
        value = bytearray(txn.get(key_of(seq)))
        value[byte] ^= 0x10
        txn.put(key_of(seq), bytes(value))

    return change


def assert_found(folder: Path, names: int, starts: tuple[int, ...]) -> None:
    """A reader from each of `starts` gets what lies before the damage, and then an error that names it."""
    log = LmdbLog(folder, readonly=True)
    for start in starts:
        with pytest.raises(CorruptData, match=rf"seq {names}: "):
            stored(log, start, max_events=1)
    log.close()
    with pytest.raises(CorruptData, match=rf"seq {names}: "):  # the ids of its rows cannot be known
        LmdbLog(folder)


@pytest.mark.parametrize("byte", [0, 5, 8, 16, 20, 30, 40, 50, 56, 63, 64, 100, -1])
def test_a_flipped_bit_is_found(folder: Path, byte: int) -> None:
    tamper(folder, flip(6, byte))
    assert_found(folder, 6, starts=(0, 4, 6, 8))


def test_what_lies_before_the_damage_is_read(folder: Path) -> None:
    tamper(folder, flip(6, 100))
    log = LmdbLog(folder, readonly=True)
    chunks, seen = log.read(0), []
    with pytest.raises(CorruptData):
        seen.extend(chunk.seq for chunk in chunks)
    assert seen == [0, 3]
    assert [seq for seq, _ in stored(log, 9)] == [9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("seq", [3, 6, 9])
def test_a_lost_chunk_is_found(folder: Path, seq: int) -> None:
    tamper(folder, lambda txn, _: txn.delete(key_of(seq)))
    assert_found(folder, seq, starts=(0, seq, seq + 1))


def test_a_lost_first_chunk_is_found(folder: Path) -> None:
    tamper(folder, lambda txn, _: txn.delete(key_of(0)))
    assert_found(folder, 0, starts=(0, 1))


def test_a_lost_last_chunk_is_found_by_readers_and_appenders(folder: Path) -> None:
    log = LmdbLog(folder)
    with log._env._env.begin(write=True, db=log._chunks) as txn:
        txn.delete(key_of(12))
    with pytest.raises(CorruptData, match="seq 12: the chunk is missing"):
        log.append(batch_of([Row("new")]))
    log.close()
    assert_found(folder, 12, starts=(0, 9, 12))


def test_exchanged_chunks_are_found(folder: Path) -> None:
    def swap(txn: Any, _: Any) -> None:
        left, right = txn.get(key_of(3)), txn.get(key_of(9))
        txn.put(key_of(3), right)
        txn.put(key_of(9), left)

    tamper(folder, swap)
    assert_found(folder, 3, starts=(0, 3, 4))


def test_a_chunk_of_another_log_is_found(folder: Path, tmp_path: Path) -> None:
    other = LmdbLog(tmp_path / "other")
    for first in FIRSTS:
        other.append(batch_of([Row(f"other-{first + i}") for i in range(3)]))
    with other._env._env.begin(db=other._chunks) as txn:
        foreign = txn.get(key_of(6))
    tamper(folder, lambda txn, _: txn.put(key_of(6), foreign))
    assert_found(folder, 6, starts=(0, 3, 6))


def test_the_chain_holds_after_retention(folder: Path) -> None:
    log = LmdbLog(folder)
    assert log.retain(max_bytes=0, keep_from=6) == 6
    log.close()
    tamper(folder, flip(6, 16))  # the previous chunk's checksum, whose chunk is gone
    assert_found(folder, 6, starts=(6, 7))
