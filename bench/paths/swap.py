"""Rows of a model's change under load: `swap-failed`, `swap-p99`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.load import Connection, connect, request
from bench.paths.ingest import fresh
from bench.result import Figure, Result, Spec, ratio
from bench.row import Row, Size
from bench.sides import ROOT, WORK, Server, cores, ours, peak_mb
from bench.swapping import CATEGORIES, QUESTIONS, D, base_block, questions, score

SWAPS, SWAPS_PER_S, ASKS_PER_S, STILL_S, ROUNDS = 1_000, 10, 400, 6, 10
_CONNECTIONS, _WARM = 16, 400
_APP = str(ROOT / "bench" / "apps" / "swap.py")
Answer = tuple[int, bytes]  # which question, the answer's body


@dataclass(slots=True)
class _Seen:
    """What the client saw in one block; a latency counts from when the question was due, not from when it was sent."""

    latencies_ms: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    n_failed: int = 0

    def p99_ms(self) -> float:
        return sorted(self.latencies_ms)[int(0.99 * len(self.latencies_ms))]


async def _asker(seen: _Seen, connection: Connection, due: asyncio.Queue[tuple[int, float]]) -> None:
    while (asked := await due.get())[0] >= 0:
        i = asked[0] * 7 % QUESTIONS
        status, body = await connection.ask(request("/predict/good", b'{"ask":"q%d"}' % i))
        seen.latencies_ms.append(1000 * (time.monotonic() - asked[1]))
        if status == 200:  # noqa: PLR2004
            seen.answers.append((i, body))
        else:
            seen.n_failed += 1


async def _load(port: int, n: int) -> _Seen:
    """Ask `n` questions at their times, whether or not earlier ones were answered."""
    seen, due = _Seen(), asyncio.Queue[tuple[int, float]]()
    clients = [await connect(port) for _ in range(_CONNECTIONS)]
    askers = [asyncio.create_task(_asker(seen, c, due)) for c in clients]
    began = time.monotonic()
    for i in range(n):
        at = began + i / ASKS_PER_S
        if (ahead := at - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        due.put_nowait((i, at))
    for _ in clients:
        due.put_nowait((-1, 0.0))
    await asyncio.gather(*askers)
    for client in clients:
        client.close()
    return seen


def _asked(port: int, n: int) -> _Seen:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[1]})
    try:
        return uvloop.run(_load(port, n))
    finally:
        os.sched_setaffinity(0, before)


def _writer(view: Path, first: int, count: int) -> subprocess.Popen[str]:
    """A learner's stand-in that is ready to publish, on the client's core."""
    core = cores()[1]
    made = subprocess.Popen(
        [*ours("swap"), str(view), str(first), str(count), str(SWAPS_PER_S)], cwd=ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509
    )  # fmt: skip
    assert made.stdout is not None
    if not made.stdout.readline():
        raise RuntimeError("the publishing side did not start")
    return made


def _end(writer: subprocess.Popen[str]) -> float:
    """Seconds that the publishing took."""
    said, _ = writer.communicate()
    seconds: float = json.loads(said.splitlines()[-1])["seconds"]
    return seconds


def _n_wrong(answers: list[Answer]) -> tuple[int, int]:
    """Answers that are not, bit for bit, what the version they name says; and how many versions were seen."""
    block, rows, wrong, versions = base_block(), questions(0), 0, set()
    for i, body in answers:
        said = json.loads(body)
        seq = int(said["version"].partition("@")[2])
        versions.add(seq)
        expected = score(block, seq, rows[i, :D].tolist(), [int(s) for s in rows[i, D : D + CATEGORIES]])
        wrong += said["predictions"][0]["score"] != expected
    return wrong, len(versions)


def _swap(row: Row, size: Size) -> list[Result]:
    rounds = size.rounds(ROUNDS)
    each = size.work(SWAPS) // rounds
    folder, seq = fresh("swap"), 1
    view, with_swaps, without, answers, failed, late_s = folder / "view", [], [], [], 0, 0.0
    subprocess.run([*ours("swap"), str(view), "1", "1", "1"], cwd=ROOT, input="\n", text=True, check=True, capture_output=True)
    with Server([*ours("serve"), _APP, str(folder), str(WORK / "run" / "swap.decisions")]) as server:
        _asked(server.port, _WARM)
        for _ in range(rounds):
            writer = _writer(view, seq + 1, each)
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
            swapped = _asked(server.port, each * ASKS_PER_S // SWAPS_PER_S)
            late_s = max(late_s, _end(writer) - each / SWAPS_PER_S)
            seq += each
            calm = _asked(server.port, STILL_S * ASKS_PER_S)
            with_swaps.append(swapped.p99_ms())
            without.append(calm.p99_ms())
            answers += swapped.answers + calm.answers
            failed += swapped.n_failed + calm.n_failed
        memory, versions = peak_mb(server.pid), server.facts["versions"]
    shutil.rmtree(WORK / "run")
    wrong, n_versions = _n_wrong(answers)
    bad, n_swaps = failed + wrong, each * rounds
    facts = {
        "swaps": n_swaps, "versions that answered": n_versions, "failed": failed, "wrong": wrong,
        "publishing late at most, s": late_s, "peak MB": memory,
    }  # fmt: skip
    is_right = bad == 0 and n_versions > n_swaps // 2
    return [
        Result(
            row.specs[0], row.peer, Figure(bad, bad, bad), bad, None, "answers failed or wrong", len(answers), rounds,
            is_right, versions, facts,
        ),
        Result(
            row.specs[1], row.peer, ratio(with_swaps, without), statistics.median(with_swaps), statistics.median(without),
            "ms, p99", len(answers), rounds, is_right, versions,
        ),
    ]  # fmt: skip


SWAP = Row(
    (
        Spec("swap-failed", "answers", "lower", 0, 0),
        Spec("swap-p99", "x", "lower", 1.1, 1.05),
    ),
    "`/predict` under 400 questions a second while a model is replaced 10 times a second", "the same server without swaps",
    "The gateway process; another process publishes a linear model with 2^21 hashed weights (16.8 MB; there are no forests "
    "yet) ten times a second, each time with different weights. Every answer's score is compared, bit for bit, with plain "
    "Python arithmetic over the weights of the version that it names. Latency counts from when a question was due.",
    "The same process between the blocks with swaps. The publishing process runs on the client's core, with the lowest "
    "priority.",
    _swap,
)  # fmt: skip
