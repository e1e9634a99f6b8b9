"""Rows of the whole installation, gateway and learner: `freshness-p50`, `freshness-p99`, `recovery`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import time
from bisect import bisect_left
from dataclasses import dataclass, field

import uvloop

from bench.data import LINES, N_SENSORS, readings
from bench.load import Connection, connect, request
from bench.paths.ingest import fresh
from bench.result import Result, Spec, figure
from bench.row import Row, Size
from bench.sides import ROOT, WORK, Server, cpu_s, ours, peak_mb

EVENTS_PER_S, ASKS_PER_S, LINES_A_REQUEST, SECONDS, WARM_S, ROUNDS, RECOVERIES = 5_000, 500, 50, 16, 2, 3, 7
FULL_RATE_EVENTS, PATIENCE_S = 400_000, 60.0
_CONNECTIONS, _AFTER_S = 8, 2.0  # questions go on after the last event
_APP = str(ROOT / "bench" / "apps" / "loop.py")


@dataclass(slots=True)
class _Seen:
    """What the client saw; times are monotonic seconds.

    Attributes:
        sent: (before sending, the log's end after it, when it was acknowledged) of each acknowledged request.
        answers: (at, seq) of each answer, in order of arrival.
        late_s: How far the client itself fell behind its timetable.
        n_failed: Requests and questions without a good answer.
    """

    sent: list[tuple[float, int, float]] = field(default_factory=list)
    answers: list[tuple[float, int]] = field(default_factory=list)
    late_s: float = 0.0
    n_failed: int = 0

    def freshness_ms(self, since_s: float) -> list[float]:
        """Of each request sent after `since_s`: until the first answer by a model that had learnt all of it."""
        highest, reached = 0, []
        for _, seq in self.answers:
            highest = max(highest, seq)
            reached.append(highest)
        out = []
        for began, end, _ in self.sent:
            first = bisect_left(reached, end)
            if began >= since_s:
                out.append(1000 * (self.answers[first][0] - began) if first < len(reached) else float("inf"))
        return out


async def _paced(seen: _Seen, per_s: float, n: int, work: asyncio.Queue[int]) -> None:
    began = time.monotonic()
    for i in range(n):
        ahead = began + i / per_s - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        else:
            seen.late_s = max(seen.late_s, -ahead)
        work.put_nowait(i)
    for _ in range(_CONNECTIONS):
        work.put_nowait(-1)


async def _sender(seen: _Seen, connection: Connection, bodies: list[bytes], work: asyncio.Queue[int]) -> None:
    while (i := await work.get()) >= 0:
        began = time.monotonic()
        status, body = await connection.ask(bodies[i])
        if status == 200:  # noqa: PLR2004
            seen.sent.append((began, json.loads(body)["end"], time.monotonic()))
        else:
            seen.n_failed += 1


async def _asker(seen: _Seen, connection: Connection, work: asyncio.Queue[int]) -> None:
    while (i := await work.get()) >= 0:
        raw = request("/predict/failing?record=false", b'{"sensor":"s%04d"}' % (i * 7 % N_SENSORS))
        status, body = await connection.ask(raw)
        if status == 200:  # noqa: PLR2004
            seen.answers.append((time.monotonic(), int(json.loads(body)["version"].partition("@")[2])))
        else:
            seen.n_failed += 1


async def _drive(port: int, bodies: list[bytes], seconds: float) -> _Seen:
    seen = _Seen()
    sends: asyncio.Queue[int] = asyncio.Queue()
    asks: asyncio.Queue[int] = asyncio.Queue()
    first = [await connect(port) for _ in range(_CONNECTIONS)]
    second = [await connect(port) for _ in range(_CONNECTIONS)]
    await asyncio.gather(
        _paced(seen, EVENTS_PER_S / LINES_A_REQUEST, len(bodies), sends),
        _paced(seen, ASKS_PER_S, round((seconds + _AFTER_S) * ASKS_PER_S), asks),
        *(_sender(seen, c, bodies, sends) for c in first),
        *(_asker(seen, c, asks) for c in second),
    )
    for connection in first + second:
        connection.close()
    return seen


def _bodies(n: int, each: int) -> list[bytes]:
    lines = readings(n).read_bytes().splitlines(keepends=True)
    bodies = [b"".join(lines[at : at + each]) for at in range(0, n, each)]
    return [request("/events/reading", body, "application/x-ndjson") for body in bodies]


def _freshness(row: Row, size: Size) -> list[Result]:
    seconds = size.work(SECONDS)
    bodies = _bodies(seconds * EVENTS_PER_S, LINES_A_REQUEST)
    quantiles: dict[float, list[float]] = {0.5: [], 0.99: []}
    acknowledged: list[float] = []
    failed, late_ms, used, peak, versions = 0, 0.0, [0.0, 0.0], [0.0, 0.0], {}
    for _ in range(size.rounds(ROUNDS)):
        with Server([*ours("run"), _APP, str(fresh("freshness"))], pin=False) as server:
            pids = [server.facts["pids"][role] for role in ("gateway", "learner")]
            began = time.monotonic()
            seen = uvloop.run(_drive(server.port, bodies, seconds))
            used, peak, versions = [cpu_s(p) for p in pids], [peak_mb(p) for p in pids], server.facts["versions"]
        ranked = sorted(seen.freshness_ms(began + WARM_S))
        acknowledged += [1000 * (at - sent) for sent, _, at in seen.sent if sent >= began + WARM_S]
        for share, values in quantiles.items():
            values.append(ranked[int(share * len(ranked))])
        failed, late_ms = failed + seen.n_failed, max(late_ms, 1000 * seen.late_s)
    shutil.rmtree(WORK / "run")
    acknowledged.sort()
    facts = {
        "ms to the acknowledgement, p50 and p99": [acknowledged[int(share * len(acknowledged))] for share in quantiles],
        "failed": failed, "client late at most, ms": late_ms, "CPU seconds of gateway and learner, start included": used,
        "peak MB": peak,
    }  # fmt: skip
    return [
        Result(
            spec,
            "",
            figure(values),
            statistics.median(values),
            None,
            "ms",
            len(bodies) * LINES_A_REQUEST,
            len(values),
            failed == 0,
            versions,
            facts,
        )
        for spec, values in zip(row.specs, quantiles.values(), strict=True)
    ]


async def _seq(connection: Connection) -> int:
    """How far the published model has learnt; 0 while nobody can say."""
    head = b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n"
    status, body = await connection.ask(head)
    return int(json.loads(body)["gateway"].get("seq") or 0) if status == 200 else 0  # noqa: PLR2004


@dataclass(slots=True)
class _Recovery:
    seconds: float
    backlog: int
    per_s: float


async def _recover(port: int, learner: int, bodies: list[bytes]) -> _Recovery:
    end, following = 0, iter(bodies)
    connections = [await connect(port) for _ in range(4)]
    killed = asyncio.Event()

    async def send(connection: Connection) -> None:
        nonlocal end
        for body in following:
            while not killed.is_set():
                status, answer = await connection.ask(body)
                if status == 200:  # noqa: PLR2004
                    end = max(end, json.loads(answer)["end"])
                    break
                await asyncio.sleep(0.01)  # the door says "later": the learner is behind

    async def until(acknowledged: int) -> None:
        while end < acknowledged:  # noqa: ASYNC110 - counted by four senders
            await asyncio.sleep(0.01)

    watcher = await connect(port)
    sending = asyncio.gather(*map(send, connections))
    await until(LINES * len(bodies) // 3)
    before, began = await _seq(watcher), time.monotonic()
    await until(LINES * len(bodies) * 2 // 3)
    learnt = await _seq(watcher)
    per_s = (learnt - before) / (time.monotonic() - began)
    os.kill(learner, signal.SIGKILL)
    at = time.monotonic()
    killed.set()
    await sending
    backlog = end - learnt
    while await _seq(watcher) < end:
        if time.monotonic() - at > PATIENCE_S:
            return _Recovery(float("inf"), backlog, per_s)
        await asyncio.sleep(0.01)
    return _Recovery(time.monotonic() - at - backlog / max(per_s, 1.0), backlog, per_s)


def _recovery(row: Row, size: Size) -> list[Result]:
    bodies, rounds, versions = _bodies(size.work(FULL_RATE_EVENTS), LINES), [], {}
    for _ in range(size.rounds(RECOVERIES)):
        with Server([*ours("run"), _APP, str(fresh("recovery"))], pin=False) as server:
            rounds.append(uvloop.run(_recover(server.port, server.facts["pids"]["learner"], bodies)))
            versions = server.facts["versions"]
    shutil.rmtree(WORK / "run")
    seconds = [r.seconds for r in rounds]
    facts = {
        "backlog at the kill, events": [r.backlog for r in rounds],
        "learner's events per second before": [r.per_s for r in rounds],
    }
    return [
        Result(
            row.specs[0],
            "",
            figure(seconds),
            statistics.median(seconds),
            None,
            "seconds",
            len(bodies) * LINES,
            len(rounds),
            max(seconds) < PATIENCE_S,
            versions,
            facts,
        )
    ]


FRESHNESS = Row(
    (Spec("freshness-p50", "ms", "lower", 6, 4), Spec("freshness-p99", "ms", "lower", 25, 10)),
    "HTTP arrival -> synced -> learnt -> visible to `/predict` in another process", "",
    "`headwater run` with default settings: gateway and learner as two processes, 7 features, every label learnt.",
    "5,000 events/s in requests of 50 and 500 questions/s by key from one client on the same 2 cores, nothing pinned. From "
    "just before a request is sent to the first answer by a model that has learnt all of it: the client's questions, "
    "one each 2 ms, are part of the figure.",
    _freshness,
)  # fmt: skip
RECOVERY = Row(
    (Spec("recovery", "s", "lower", 5, 1),), "kill -9 of the learner at full rate until nothing waits", "",
    "`headwater run` with default settings; the supervisor starts the learner again, which loads the last checkpoint and "
    "folds the log.",
    "4 connections send requests of 1,000 as fast as they are taken; the learner is killed, the sending stops. From the kill "
    "until the published model has learnt everything acknowledged, less the time that what was not yet learnt at the kill "
    "takes at the learner's rate before it.",
    _recovery,
)  # fmt: skip
