"""Ten times what a running installation can do: it sheds, keeps those it lets in, answers its operator, and recovers."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headwater.ingest.client import Client
from headwater.runtime.declared import load_app
from headwater.runtime.settings import Settings
from headwater.runtime.supervisor import Supervisor

from .conftest import SPEC, departure, until
from .offering import Beside, Offered, closed, opened, request

EVENTS = 200  # in a request
OFFERED_S = 2.0
MORE = 10
MOST_MS = 10_000  # of who is let in: far beyond a quarter of a second, and far below what a queue of a crowd would cost
MIB = 1 << 20


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


@dataclass
class Watch:
    """Asks the operator's pages, and how much memory the gateway has, until it is told to stop."""

    url: str
    pid: int
    asked: int = 0
    refused: list[str] = field(default_factory=list)
    most_bytes: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        pages = ("/healthz", "/readyz", "/status", "/metrics")
        while not self.stopping.is_set():
            page = pages[self.asked % len(pages)]
            self.asked += 1
            try:
                with urllib.request.urlopen(f"{self.url}{page}", timeout=30) as answer:
                    answer.read()
            except OSError as error:
                self.refused.append(f"{page}: {error}")
            self.most_bytes = max(self.most_bytes, memory(self.pid))
            self.stopping.wait(0.02)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    settings = Settings.model_validate(
        {
            "state_dir": tmp_path_factory.mktemp("state"),
            "server": {"port": 0, "max_lag_events": 20_000},
            "logging": {"level": "error"},
        }
    )
    with Supervisor(load_app(SPEC), str(SPEC), settings) as supervisor:
        yield supervisor
    for child in supervisor.children.values():
        child.process.stdout.close()


def bodies(n: int, first: int) -> list[bytes]:
    made = []
    for r in range(n):
        rows = (json.dumps(departure(first + r * EVENTS + i)) for i in range(EVENTS))
        made.append(request("/events/departure", "\n".join(rows).encode(), "application/x-ndjson"))
    return made


def questions(n: int) -> list[bytes]:
    rows = [{k: v for k, v in departure(i).items() if k not in {"stream", "id"}} for i in range(100)]
    return [request("/predict/late?record=false&explain=true", json.dumps(rows).encode(), "application/json")] * n


def learnt(url: str) -> bool:
    with Client(url) as client:
        return bool(client.get("/readyz")["age_events"] == 0)


@pytest.mark.parametrize("lane", ["events", "predictions"])
def test_ten_times_the_sustainable_rate(
    running: Supervisor, lane: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    port, gateway = int(running.url.rpartition(":")[2]), running.children["gateway"]
    first = 1_000_000 if lane == "events" else 0

    def made(n: int) -> list[bytes]:
        nonlocal first
        first += n * EVENTS
        return bodies(n, first) if lane == "events" else questions(n)

    def settled() -> None:
        until(lambda: learnt(running.url), "everything is learnt")

    if lane == "predictions":
        asyncio.run(closed(port, bodies(1, 0), 1))
    settled()
    asyncio.run(closed(port, made(20), 4))  # what is loaded at a first use is so now
    settled()
    quiet = asyncio.run(closed(port, made(60), 2))
    per_s = 60 / quiet.seconds
    settled()
    before = memory(gateway.pid)
    watch = Watch(running.url, gateway.pid)
    thread = threading.Thread(target=watch.run)
    crowd, few = made(int(MORE * per_s * OFFERED_S)), made(800)
    thread.start()
    beside = Beside(port, few, tmp_path)
    over: Offered = asyncio.run(opened(port, crowd, MORE * per_s))
    watched = beside.ended()
    let_in = watched["took"]
    watch.stopping.set()
    thread.join()
    assert let_in
    p50, p99 = 1000 * let_in[len(let_in) // 2], 1000 * let_in[int(0.99 * len(let_in))]
    with capsys.disabled():
        print(f"\n{lane}: {per_s:,.0f} requests/s are sustained, {sum(over.statuses.values()) / over.seconds:,.0f}/s offered; "
              f"{dict(over.statuses)}; of {sum(watched['statuses'].values())} beside them {len(let_in)} are let in: p50 "
              f"{p50:,.0f} ms, p99 {p99:,.0f} ms (before the crowd {quiet.quantile_ms(0.99):,.0f} ms); "
              f"the operator asked {watch.asked} times; memory +{(watch.most_bytes - before) / MIB:,.0f} MiB")  # fmt: skip
    assert p99 < MOST_MS
    assert quiet.statuses == {200: 60}
    shed = over.statuses[429] + over.statuses[503]
    assert shed > 0
    assert over.statuses[200] > 0
    assert over.statuses.keys() <= {200, 429, 503}
    assert over.n_retry_after == shed
    assert watch.asked > 3
    assert watch.refused == []
    assert watch.most_bytes - before < 300 * MIB
    settled()
    assert gateway.restarts == 0
