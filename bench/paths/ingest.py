"""The row `ingest`: events over HTTP, acknowledged once they are on disk."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data import LINES, readings
from bench.environments import theirs
from bench.load import closed_loop, request
from bench.result import Result, Spec, ratio
from bench.row import Row, Size
from bench.sides import ROOT, WORK, Server, cpu_s, ours, peak_mb

EVENTS, COUNTED, ROUNDS, CONNECTIONS = 200_000, 20_000, 5, 4
APP = ROOT / "bench" / "apps" / "loop.py"


@dataclass(frozen=True, slots=True)
class _Round:
    per_s: float
    per_cpu_s: float
    peak_mb: float
    accepted: int
    versions: dict[str, str]


def requests(n: int) -> list[bytes]:
    """Bodies of 1,000 lines, as whole requests."""
    lines = readings(n).read_bytes().splitlines(keepends=True)
    bodies = [b"".join(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
    return [request("/events/reading", body, "application/x-ndjson") for body in bodies]


def fresh(name: str) -> Path:
    """An empty folder on the disk of the repository: never one in memory."""
    folder = WORK / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _commands() -> dict[str, list[str]]:
    mine, other = fresh("ingest-ours"), fresh("ingest-theirs")
    return {"ours": [*ours("serve"), str(APP), str(mine)], "theirs": [*theirs("starlette", "starlette_ingest"), str(other)]}


def _once(command: Sequence[str], bodies: list[bytes]) -> _Round:
    accepted = 0

    def check(_: int, body: bytes) -> None:
        nonlocal accepted
        accepted += json.loads(body)["accepted"]

    with Server(command) as server:
        closed_loop(server.port, [bodies[0]] * 3, connections=1)  # warm: known afterwards, hence the -LINES below
        before = cpu_s(server.pid)
        load = closed_loop(server.port, bodies[1:], connections=CONNECTIONS, check=check)
        used, peak = cpu_s(server.pid) - before, peak_mb(server.pid)
        n = LINES * len(bodies[1:])
        return _Round(n / load.seconds, n / used, peak, accepted, server.facts.get("versions", {}))


def _syncs(command: Sequence[str], bodies: list[bytes]) -> dict[str, int] | None:
    """Real syncs by name in a run of its own under strace; None where there is no strace."""
    if shutil.which("strace") is None:
        return None
    table = WORK / "run" / "syncs.txt"
    traced = ["strace", "-f", "-c", "-e", "trace=fdatasync,fsync,msync,sync_file_range", "-o", str(table), *command]
    with Server(traced) as server:
        closed_loop(server.port, bodies, connections=CONNECTIONS)
    found = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", table.read_text(), re.MULTILINE)
    return {name: int(calls) for calls, name in found if name != "total"}


def _ingest(row: Row, size: Size) -> list[Result]:
    bodies = requests(size.work(EVENTS))
    rounds: dict[str, list[_Round]] = {"ours": [], "theirs": []}
    for _ in range(size.rounds(ROUNDS)):
        for side, command in _commands().items():
            rounds[side].append(_once(command, bodies))
    few = requests(COUNTED)
    syncs = {side: _syncs(command, few) for side, command in _commands().items()}
    shutil.rmtree(WORK / "run")
    n, sides = LINES * (len(bodies) - 1), ("ours", "theirs")
    left, right = ([r.per_s for r in rounds[side]] for side in sides)
    facts = {
        "events per CPU-second": [statistics.median(r.per_cpu_s for r in rounds[side]) for side in sides],
        "peak MB": [rounds[side][0].peak_mb for side in sides], "connections": CONNECTIONS,
        f"syncs for {len(few)} requests (strace)": [_counted(syncs[side]) for side in sides],
    }  # fmt: skip
    right_counts = all(r.accepted == n for side in sides for r in rounds[side])
    versions = rounds["theirs"][0].versions | rounds["ours"][0].versions
    return [
        Result(
            row.specs[0],
            row.peer,
            ratio(left, right),
            statistics.median(left),
            statistics.median(right),
            "events per second",
            n,
            len(left),
            right_counts,
            versions,
            facts,
        )
    ]


def _counted(syncs: dict[str, int] | None) -> str:
    return "not counted" if syncs is None else " + ".join(f"{n} {name}" for name, n in syncs.items()) or "none"


INGEST = Row(
    (Spec("ingest", "x", "higher", 3, 8),), "HTTP, JSON lines of 1,000, acknowledged after sync", "Starlette + SQLite",
    "The gateway process of `headwater run` alone, default settings: decode (plain lines by the compiled "
    "scanner), checks, deduplication, checksummed chunk, LMDB "
    "commit with full sync (each also writes LMDB's meta page with O_DSYNC, which strace does not count here), one verdict for "
    "each event.",
    "Starlette 1.10 on uvicorn with uvloop and httptools, orjson, a thread for each request, one connection: INSERT OR IGNORE "
    "by primary key (deduplication), WAL, synchronous=FULL, one commit a request. No checks, no verdicts.",
    _ingest, ("starlette",),
)  # fmt: skip
