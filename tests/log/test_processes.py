"""What happens to a log when processes die, or append together."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headwater.core import crashpoints
from headwater.core.errors import HeadwaterError, WrongState
from headwater.faults.kills import die_at
from headwater.faults.tracing import allow_tracing, failing
from headwater.log import LmdbLog, Verdict
from headwater.testing.log_conformance import Row, batch_of, stored

FORK = multiprocessing.get_context("fork")  # a child that imports anew would take seconds


def batches(n_ids: int, seed: int, n: int) -> list[list[Row]]:
    random = Random(seed)
    return [[Row(f"id-{random.randrange(n_ids)}", price=random.choice([1.0, 1.0, 2.0])) for _ in range(20)] for _ in range(n)]


def append_all(folder: Path, sent: list[list[Row]], crashpoint: str, times: int, pipe: Connection) -> None:
    log = LmdbLog(folder)
    if crashpoint:
        crashpoints.arm(die_at(crashpoint, times))
    pipe.send("open")
    pipe.recv()
    for rows in sent:
        receipt = log.append(batch_of(rows))
        pipe.send((receipt.verdict.tolist(), receipt.seq.tolist(), receipt.end))


class Appender:
    """A process that opens a log, waits for `go`, appends batches and says what was acknowledged."""

    def __init__(self, folder: Path, sent: list[list[Row]], crashpoint: str = "", times: int = 0) -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=append_all, args=(folder, sent, crashpoint, times, theirs), daemon=True)
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "open"

    def go(self) -> None:
        self.pipe.send("go")

    def acknowledged(self, n: int | None = None) -> list[Any]:
        """The next `n` receipts, or all until the process ends."""
        receipts = []
        while n is None or len(receipts) < n:
            try:
                receipts.append(self.pipe.recv())
            except (EOFError, ConnectionResetError):
                break
        return receipts

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Appender]]:
    appenders: list[Appender] = []

    def started(*args: Any) -> Appender:
        appenders.append(Appender(*args))
        return appenders[-1]

    yield started
    for appender in appenders:
        appender.close()


def check_acknowledged(log: LmdbLog, sent: list[list[Row]], receipts: list[Any]) -> None:
    """Every acknowledged row is where its receipt says, and no id is there twice."""
    rows = dict(stored(log))
    assert max((n for n in Counter((r.source, r.id) for r in rows.values()).values()), default=1) == 1
    for batch, (verdicts, seqs, _) in zip(sent, receipts, strict=False):
        for row, verdict, seq in zip(batch, verdicts, seqs, strict=True):
            assert rows[seq].id == row.id
            assert (rows[seq] == row) == (verdict != Verdict.CONFLICT)


@pytest.mark.parametrize(("crashpoint", "times"), [("", 0), ("log.encoded", 8), ("log.put", 8), ("log.committed", 8)])
def test_a_killed_appender_loses_and_doubles_nothing(tmp_path: Path, start: Any, crashpoint: str, times: int) -> None:
    sent = batches(n_ids=1000, seed=5, n=60)
    child = start(tmp_path / "log", sent, crashpoint, times)
    child.go()
    receipts = child.acknowledged(7)
    if not crashpoint:
        child.process.kill()
    receipts += child.acknowledged()
    child.process.join()
    assert child.process.exitcode == -signal.SIGKILL
    log = LmdbLog(tmp_path / "log")
    check_acknowledged(log, sent, receipts)
    end = receipts[-1][2]
    assert log.bounds()[1] > end if crashpoint == "log.committed" else log.bounds()[1] >= end
    if crashpoint in ("log.encoded", "log.put"):
        assert log.bounds()[1] == end
    for rows in sent:  # the producer resends everything
        log.append(batch_of(rows))
    assert sorted(row.id for _, row in stored(log)) == sorted({row.id for rows in sent for row in rows})
    log.close()


def test_processes_that_append_together_agree_on_every_row(tmp_path: Path, start: Any) -> None:
    theirs, own = [batches(400, seed, 40) for seed in (1, 2)], batches(400, 3, 20)
    children = [start(tmp_path / "log", sent) for sent in theirs]
    for child in children:
        child.go()
    log = LmdbLog(tmp_path / "log")
    mine = [log.append(batch_of(rows)) for rows in own]
    answers = [child.acknowledged() for child in children]
    answers.append([(r.verdict.tolist(), r.seq.tolist(), r.end) for r in mine])

    for sent, answer in zip([*theirs, own], answers, strict=True):
        assert len(answer) == len(sent)
        check_acknowledged(log, sent, answer)
    counts = log.counts()["gate-1"]
    said = Counter(verdict for answer in answers for verdicts, _, _ in answer for verdict in verdicts)
    assert (said[0], said[1], said[2]) == (counts.accepted, counts.duplicate, counts.conflict)
    assert sum(said.values()) == 20 * (40 + 40 + 20)
    assert counts.accepted == log.bounds()[1] == len(stored(log))
    log.close()


def test_a_reader_in_another_process_follows_and_cannot_write(tmp_path: Path, start: Any) -> None:
    child = start(tmp_path / "log", batches(1000, 1, 3))
    reader = LmdbLog(tmp_path / "log", readonly=True)
    assert reader.bounds() == (0, 0)
    child.go()
    end = child.acknowledged()[-1][2]
    assert reader.bounds() == (0, end)
    assert len(stored(reader)) == end
    with pytest.raises(WrongState, match="reading only"):
        reader.append(batch_of([Row("a")]))
    with pytest.raises(WrongState, match="reading only"):
        reader.retain(max_bytes=0)
    reader.close()


def test_a_map_that_another_process_outgrew_is_followed(tmp_path: Path, start: Any) -> None:
    child = start(tmp_path / "log", [[Row(f"{i}-{j}", user="x" * 20_000) for j in range(20)] for i in range(10)])
    small = LmdbLog(tmp_path / "log", map_bytes=1 << 18)
    small.append(batch_of([Row("mine")]))
    child.go()
    assert len(child.acknowledged()) == 10
    assert len(stored(small)) == 201
    assert small.append(batch_of([Row("0-0", user="x" * 20_000), Row("new")])).seq.tolist() == [1, 201]
    small.close()


def test_every_append_is_synced_before_it_is_acknowledged(tmp_path: Path, start: Any) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    child = start(tmp_path / "log", batches(10_000, 1, 10))
    calls = "trace=fsync,fdatasync,msync,write,writev,pwrite64,pwritev"
    command = [strace, "-y", "-e", calls, "-o", str(tmp_path / "trace"), "-p", str(child.process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        if "attached" not in (said := tracer.stderr.readline()):
            pytest.skip(f"strace may not trace here: {said}")
        child.go()
        assert len(child.acknowledged()) == 10
        child.process.join()
    steps = "".join(map(step, (tmp_path / "trace").read_text().splitlines()))
    appends = steps.split("a")[:10]
    # Pages, then a sync, then the meta page (through a descriptor opened with O_DSYNC), and only then the acknowledgement.
    assert all(append.strip("w").startswith("s") and append.endswith("w") for append in appends), appends
    assert steps.count("s") == 10


def append_or_say(folder: Path, pipe: Connection) -> None:
    """Append each row that is sent, and say what came of it."""
    allow_tracing()
    log = LmdbLog(folder)
    pipe.send("open")
    while (name := pipe.recv()) is not None:
        try:
            pipe.send(log.append(batch_of([Row(name)])).seq.tolist())
        except HeadwaterError as error:
            pipe.send(type(error).__name__)
    log.close()


def test_a_log_goes_on_after_lmdb_refused_all_use(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    pipe, theirs = FORK.Pipe()
    child = FORK.Process(target=append_or_say, args=(tmp_path / "log", theirs), daemon=True)
    child.start()
    assert child.pid is not None

    def append(name: str) -> Any:
        pipe.send(name)
        return pipe.recv()

    assert pipe.recv() == "open"
    assert append("before") == [0]
    with failing(child.pid, ["pwrite64"], "EIO", 1) as failed:  # the first pages of the file are written by it
        assert [append("lost"), append("lost"), append("lost")] == ["DiskFull"] * 3
        assert failed() >= 3
    assert append("lost") == [1]
    assert append("before") == [0]
    pipe.send(None)
    child.join()
    log = LmdbLog(tmp_path / "log", readonly=True)
    assert [row.id for _, row in stored(log)] == ["before", "lost"]
    log.close()


def test_a_power_failure_leaves_no_half_made_environment(tmp_path: Path) -> None:
    """What is cut is the file beside; the name is given to what is on disk."""
    folder = tmp_path / "log"
    (folder / "making-1").mkdir(parents=True)
    (folder / "making-1" / "data.mdb").write_bytes(bytes(100))
    log = LmdbLog(folder)
    assert log.append(batch_of([Row("a")])).seq.tolist() == [0]
    log.close()
    assert (folder / "data.mdb").stat().st_nlink == 1


def step(line: str) -> str:
    if "data.mdb" in line:
        return "s" if "sync(" in line else "w"
    return "a" if line.startswith("write(") else ""
