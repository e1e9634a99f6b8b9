"""Folders, disks and maps: what an `LmdbLog` does with what it is given."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from headwater.core import crashpoints
from headwater.core.errors import ConfigError, DiskFull, Retryable, WrongState
from headwater.log import LmdbLog, MemoryLog, open_log
from headwater.testing.log_conformance import Row, batch_of, stored


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """A disk that is full: writes beyond `n_bytes` of a file fail (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def big(name: str) -> list[Row]:
    return [Row(f"{name}-{i}", user="x" * 50_000) for i in range(10)]


def test_a_full_disk_refuses_the_append_and_keeps_the_rest(tmp_path: Path) -> None:
    log = LmdbLog(tmp_path / "log")
    log.append(batch_of([Row("a")]))
    with largest_file(300_000):
        for _ in range(2):
            with pytest.raises(DiskFull, match="Nothing was stored"):
                log.append(batch_of(big("b")))
        assert issubclass(DiskFull, Retryable)
        assert stored(log) == [(0, Row("a"))]
        assert log.append(batch_of([Row("small"), Row("a")])).seq.tolist() == [1, 0]
    receipt = log.append(batch_of(big("b")))
    assert receipt.seq.tolist() == list(range(2, 12))
    assert log.append(batch_of(big("b"))).verdict.tolist() == [1] * 10
    assert log.counts()["gate-1"].accepted == 12
    log.close()
    assert [seq for seq, _ in stored(LmdbLog(tmp_path / "log"))] == list(range(12))


def test_retention_makes_room_on_a_full_disk(tmp_path: Path) -> None:
    log = LmdbLog(tmp_path / "log")
    with largest_file(2_000_000):
        for i in range(3):
            log.append(batch_of(big(str(i))))
        with pytest.raises(DiskFull):
            log.append(batch_of([row for i in range(3, 7) for row in big(str(i))]))
        end = log.bounds()[1]
        assert log.retain(max_bytes=600_000) == end - 10
        assert log.append(batch_of(big("new"))).end == end + 10


def test_a_map_that_is_too_small_grows(tmp_path: Path) -> None:
    log = LmdbLog(tmp_path / "log", map_bytes=1)
    for i in range(8):
        assert log.append(batch_of(big(str(i)))).end == 10 * i + 10
    assert len(stored(log)) == 80


def test_threads_append_and_read_while_the_map_grows(tmp_path: Path) -> None:
    log = LmdbLog(tmp_path / "log", map_bytes=1)
    failures: list[BaseException] = []

    def append(name: str) -> None:
        try:
            for i in range(5):
                log.append(batch_of(big(f"{name}{i}")))
                assert [seq for seq, _ in stored(log)][:10] == list(range(10))
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(stored(log)) == 100


@pytest.mark.parametrize("name", ["log.put", "log.committed"])
@pytest.mark.parametrize("kind", ["lmdb", "memory"])
def test_an_append_that_failed_may_be_sent_again(tmp_path: Path, name: str, kind: str) -> None:
    log = LmdbLog(tmp_path / "log") if kind == "lmdb" else MemoryLog()

    def fail(reached: str) -> None:
        if reached == name:
            raise InterruptedError(reached)

    crashpoints.arm(fail)
    try:
        with pytest.raises(InterruptedError):
            log.append(batch_of([Row("a")]))
    finally:
        crashpoints.arm(None)
    assert log.append(batch_of([Row("b"), Row("a")])).seq.tolist() == ([0, 1] if name == "log.put" else [1, 0])
    assert sorted(row.id for _, row in stored(log)) == ["a", "b"]


def test_nothing_to_read_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(WrongState, match="nothing to read here yet"):
        LmdbLog(tmp_path / "absent", readonly=True)
    assert not (tmp_path / "absent").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "other")).close()
    with pytest.raises(WrongState, match="nothing to read here yet"):
        LmdbLog(tmp_path / "other", readonly=True)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(WrongState, match="not an LMDB environment"):
        LmdbLog(tmp_path / "junk")


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    LmdbLog(tmp_path / "log").close()
    with lmdb.open(str(tmp_path / "log"), max_dbs=3) as env, env.begin(write=True, db=env.open_db(b"meta")) as txn:
        txn.put(b"format", b"headwater-log-9")
    with pytest.raises(WrongState, match="headwater-log-9"):
        LmdbLog(tmp_path / "log")


def test_one_process_opens_a_folder_once(tmp_path: Path) -> None:
    log = LmdbLog(tmp_path / "log")
    with pytest.raises(WrongState, match="has it open already"):
        LmdbLog(tmp_path / "log")
    log.close()
    LmdbLog(tmp_path / "log").close()


def test_the_url_chooses_the_engine(tmp_path: Path) -> None:
    log = open_log(f"lmdb://{tmp_path}/a%20log")
    assert isinstance(log, LmdbLog)
    assert (tmp_path / "a log" / "data.mdb").exists()
    log.close()
    assert isinstance(open_log("memory://"), MemoryLog)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("lmbd:///x", "Did you mean lmdb"),
        ("/var/x", "lmdb://"),
        ("lmdb://var/x", "three slashes"),
        ("lmdb:///", "three slashes"),
    ],
)
def test_a_wrong_url_is_explained(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_log(url)
