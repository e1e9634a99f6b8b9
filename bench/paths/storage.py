"""Rows of reading what was stored: `log-read`, `online-read`."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from bench.data import readings
from bench.environments import theirs
from bench.result import Result, Spec, figure, ratio
from bench.row import Row, Size
from bench.sides import WORK, ours, run

EVENTS, ENTITIES, READS, ROUNDS = 200_000, 10_000, 200_000, 7


def _fresh(name: str) -> Path:
    folder = WORK / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _log_read(row: Row, size: Size) -> list[Result]:
    n, folder = size.work(EVENTS), _fresh("log-read")
    made = run(ours("fill_log"), readings(n), folder)
    mine, others = [], []
    for _ in range(size.rounds(ROUNDS)):
        mine.append(run(ours("log_read"), folder))
        others.append(run(theirs("lmdb", "lmdb_cursor"), folder))
    shutil.rmtree(folder)
    left, right = ([f["n_bytes"] / f["cpu_s"] / 1e6 for f in side] for side in (mine, others))
    right_bytes = {f["n_bytes"] for f in others} == {f["n_bytes"] for f in mine} == {others[0]["n_bytes"]}
    per_cpu_s = n * mine[0]["passes"] / statistics.median(f["cpu_s"] for f in mine)
    return [
        Result(
            row.specs[0],
            row.peer,
            ratio(left, right),
            statistics.median(left),
            statistics.median(right),
            "MB per CPU-second",
            n,
            len(mine),
            right_bytes and mine[0]["n"] == n,
            {**others[0]["versions"], **mine[0]["versions"]},
            {
                "events per CPU-second": per_cpu_s,
                "bytes an event": made["n_bytes"] / n,
                "peak MB": [mine[0]["peak_mb"], others[0]["peak_mb"]],
            },
        )
    ]


def _online_read(row: Row, size: Size) -> list[Result]:
    folder, n = _fresh("online-read"), size.work(READS)
    run(ours("fill_view"), folder, ENTITIES)
    mine, others = [], []
    for _ in range(size.rounds(ROUNDS)):
        mine.append(run(ours("online_read"), folder, ENTITIES, n))
        others.append(run(theirs("lmdb", "lmdb_get"), folder, ENTITIES, n))
    shutil.rmtree(folder)
    left, right = ([f["p50_us"] for f in side] for side in (mine, others))
    same = {f["total"] for f in mine} == {f["total"] for f in others}
    features = figure([f["features_p50_us"] for f in mine])
    return [
        Result(
            row.specs[0],
            row.peer,
            ratio(left, right),
            statistics.median(left),
            statistics.median(right),
            "us, p50",
            n,
            len(mine),
            same,
            {**others[0]["versions"], **mine[0]["versions"]},
            {
                "p99 us": [statistics.median(f["p99_us"] for f in side) for side in (mine, others)],
                "us with the features' arithmetic (FeatureReader), p50": features.value,
                "peak MB": [mine[0]["peak_mb"], others[0]["peak_mb"]],
            },
        )
    ]


LOG_READ = Row(
    (Spec("log-read", "x", "higher", 0.5, 0.9),), "log to columns", "LMDB cursor over the same bytes",
    "LmdbLog.read from the first event: every chunk copied out of a transaction, its checksum and place in the chain "
    "verified, decoded to columns. Chunks of 1,000 events.",
    "py-lmdb 3.0.0, a cursor over the same database file that copies every value to bytes; nothing is verified or decoded.",
    _log_read, ("lmdb",),
)  # fmt: skip
ONLINE_READ = Row(
    (Spec("online-read", "x", "lower", 2.0, 1.3),), "20 features of one entity from another process, p50",
    "raw LMDB get + frombuffer",
    "The online view that a learner process published: ViewReader.open (one transaction, its place in the log) and the "
    "entity's row of 20 float64, as an array.",
    "py-lmdb 3.0.0 over the same file and keys: a read transaction with buffers, get, numpy.frombuffer.",
    _online_read, ("lmdb",),
)  # fmt: skip
