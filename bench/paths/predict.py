"""Rows of answers over HTTP: `predict-one`, `predict-arrow`."""

from __future__ import annotations

import io
import json
import random
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from bench.environments import theirs
from bench.load import closed_loop, request
from bench.paths.ingest import fresh
from bench.result import Result, Spec, ratio
from bench.row import Row, Size
from bench.sides import ROOT, WORK, Server, cpu_s, ours, peak_mb, run

QUESTIONS, REQUESTS, CONNECTIONS, ROUNDS = 10_000, 12_000, 32, 5
ROWS, BATCHES = 1_000, 120
ARROW = "application/vnd.apache.arrow.stream"
TOLERANCE = 1e-9
_APP = str(ROOT / "bench" / "apps" / "predict.py")

Decode = Callable[[bytes], list[float]]


@dataclass(slots=True)
class _Side:
    """One side's requests and what came of them; rates are of rows."""

    command: Sequence[str]
    requests: list[bytes]
    decode: Decode
    rows_each: int
    scores: dict[int, list[float]] = field(default_factory=dict)
    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    n_failed: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    def round(self, connections: int) -> None:
        def check(i: int, body: bytes) -> None:
            if i % 50 == 0:  # decoding costs the client time: a sample
                self.scores[i] = self.decode(body)

        with Server(self.command) as server:
            closed_loop(server.port, self.requests[: max(2, len(self.requests) // 20)], connections=connections)
            before = cpu_s(server.pid)
            load = closed_loop(server.port, self.requests, connections=connections, check=check)
            used = cpu_s(server.pid) - before
            self.peak_mb, self.versions = peak_mb(server.pid), server.facts["versions"]
        n = len(self.requests) * self.rows_each
        self.per_s.append(n / load.seconds)
        self.per_cpu_s.append(n / used)
        self.p99_ms.append(load.quantile_ms(0.99))
        self.n_failed += load.n_failed


def _difference(left: _Side, right: _Side) -> float:
    """The greatest difference of sampled answers; infinite where there are none, or of different numbers."""
    pairs = [(left.scores[i], right.scores[i]) for i in left.scores.keys() & right.scores.keys()]
    if not pairs or any(len(a) != len(b) for a, b in pairs):
        return float("inf")
    return max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))


def _sides(mine: tuple[list[bytes], Decode], other: tuple[list[bytes], Decode], rows_each: int) -> tuple[_Side, _Side]:
    given = WORK / "run" / "predict.json"
    serve = [*ours("serve"), _APP, str(WORK / "run" / "predict"), str(WORK / "run" / "ours.decisions")]
    peer = [*theirs("fastapi", "fastapi_predict"), str(given), str(WORK / "run" / "theirs.decisions")]
    return _Side(serve, *mine, rows_each), _Side(peer, *other, rows_each)


def _measured(row: Row, size: Size, left: _Side, right: _Side, *, by_cpu: bool, what: str) -> list[Result]:
    for _ in range(size.rounds(ROUNDS)):
        left.round(CONNECTIONS if left.rows_each == 1 else 2)
        right.round(CONNECTIONS if left.rows_each == 1 else 2)
    shutil.rmtree(WORK / "run")
    worst = _difference(left, right)
    a, b = (left.per_cpu_s, right.per_cpu_s) if by_cpu else (left.per_s, right.per_s)
    other = (left.per_s, right.per_s) if by_cpu else (left.per_cpu_s, right.per_cpu_s)
    facts = {
        f"{what} per {'second' if by_cpu else 'CPU-second'}": [statistics.median(r) for r in other],
        "p99 ms": [statistics.median(s.p99_ms) for s in (left, right)], "failed": [left.n_failed, right.n_failed],
        "greatest difference": worst, "peak MB": [left.peak_mb, right.peak_mb],
    }  # fmt: skip
    return [
        Result(
            row.specs[0],
            row.peer,
            ratio(a, b),
            statistics.median(a),
            statistics.median(b),
            f"{what} per {'CPU-second' if by_cpu else 'second'}",
            len(left.requests) * left.rows_each,
            len(a),
            worst <= TOLERANCE and not left.n_failed + right.n_failed,
            {**right.versions, **left.versions},
            facts,
        )
    ]


def _fill() -> list[list[float]]:
    folder = fresh("predict")
    run(ours("fill_predict"), folder, WORK / "run" / "predict.json", QUESTIONS)
    rows: list[list[float]] = json.loads((WORK / "run" / "predict.json").read_text())["rows"]
    return rows


def _one(row: Row, size: Size) -> list[Result]:
    _fill()
    chance = random.Random(6)
    bodies = [json.dumps({"ask": f"q{chance.randrange(QUESTIONS)}"}).encode() for _ in range(size.work(REQUESTS))]
    requests = [request("/predict/good", body) for body in bodies]
    left, right = _sides(
        (requests, lambda body: [json.loads(body)["predictions"][0]["score"]]),
        (requests, lambda body: [json.loads(body)["score"]]),
        1,
    )
    return _measured(row, size, left, right, by_cpu=True, what="requests")


def _arrow_body(keys: list[str], rows: list[list[float]]) -> bytes:
    columns = {"ask": pa.array(keys), **{f"x{j + 1}": pa.array([r[j] for r in rows]) for j in range(len(rows[0]))}}
    table, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _arrow_scores(body: bytes) -> list[float]:
    scores: list[float] = pa.ipc.open_stream(body).read_all()["score"].to_pylist()
    return scores


def _arrow(row: Row, size: Size) -> list[Result]:
    given, n = _fill(), size.work(BATCHES)
    mine, other = [], []
    for at in range(n):
        start = at * ROWS % QUESTIONS
        rows, keys = given[start : start + ROWS], [f"new-{at}-{i}" for i in range(ROWS)]
        mine.append(request("/predict/good?record=false", _arrow_body(keys, rows), ARROW))
        body = json.dumps([{"ask": key, "x": x} for key, x in zip(keys, rows, strict=True)]).encode()
        other.append(request("/predict-rows/good", body))
    left, right = _sides((mine, _arrow_scores), (other, lambda body: [r["score"] for r in json.loads(body)]), ROWS)
    return _measured(row, size, left, right, by_cpu=False, what="rows")


_PEER = "FastAPI 0.165 on uvicorn with uvloop and httptools, one process, async route, pydantic models, our weights"
ONE = Row(
    (Spec("predict-one", "x", "higher", 6, 12),), "`/predict`, one row by key, features looked up, decision log on",
    "FastAPI + scikit-learn",
    "The gateway process: a question's 20 stored features from the online view by its key, score, JSON answer with "
    "`line@seq`; a record of each decision to a file in groups, unsynced. 32 connections.",
    f"{_PEER}; the same 20 features from a dict by key, predict_proba, JSON answer; a record of each decision "
    "to a buffered file.",
    _one, ("fastapi",),
)  # fmt: skip
ARROW_ROW = Row(
    (Spec("predict-arrow", "x", "higher", 50, 100),), "`/predict`, batches of 1,000 new rows of 20 features",
    "FastAPI + scikit-learn, JSON",
    "The gateway process: an Arrow stream of rows that are not in the log (each is looked for), score, Arrow answer; each "
    "call's keys, scores and version as one batch to a file, in groups, unsynced; "
    "the rows are not recorded as events (`record=false`). 2 connections.",
    f"{_PEER}; the same rows as a JSON array, one predict_proba for all, JSON answer; a record of the "
    "decisions to a buffered file.",
    _arrow, ("fastapi",),
)  # fmt: skip
