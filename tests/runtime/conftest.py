"""Real processes on a small app, and what the tests ask of them. Nothing here sleeps to be in step: it polls to a deadline."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headwater.ingest.client import Client
from headwater.log.open import open_log
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.places import STATE
from headwater.runtime.runfile import running
from headwater.runtime.settings import Settings
from headwater.runtime.warm import warm

SPEC = Path(__file__).parent / "apps" / "small.py"
START_MS = 1_767_225_600_000  # 2026-01-01
DEADLINE_S = 60.0
CARRIERS = ("AA", "B6", "DL", "UA")


def until(true: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until something holds; its value."""
    ends = time.monotonic() + deadline_s
    while time.monotonic() < ends:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def departure(i: int, **changed: Any) -> dict[str, Any]:
    row = {
        "stream": "departure", "id": f"d{i}", "time": START_MS + 60_000 * i, "flight_id": f"f{i}",
        "carrier": CARRIERS[i % 4], "origin": ("EWR", "JFK", "LGA")[i % 3], "distance": 100.0 + i % 17, "constant": 1.0,
        "seats": None if i % 5 == 0 else 100 + i % 90,
    }  # fmt: skip
    return {**row, **changed}


def arrival(i: int, delay: float | None, **changed: Any) -> dict[str, Any]:
    row = {
        "stream": "arrival", "id": f"a{i}", "time": START_MS + 60_000 * i + 3_600_000, "flight_id": f"f{i}",
        "carrier": CARRIERS[i % 4], "delay": delay,
    }  # fmt: skip
    return {**row, **changed}


def events(n_flights: int, seed: int = 5) -> list[dict[str, Any]]:
    """Departures and arrivals by time; the carrier and the distance tell something of the delay."""
    chance = random.Random(seed)
    made = []
    for i in range(n_flights):
        delay = 10.0 * (i % 4) + (i % 17) + chance.gauss(-8, 12)
        made += [departure(i), arrival(i, None if chance.random() < 0.02 else round(delay, 1))]
    return sorted(made, key=lambda e: (e["time"], e["stream"], e["id"]))


@pytest.fixture(scope="session")
def app():
    loaded = load_app(SPEC)
    warm(loaded)  # children find the kernels compiled
    return loaded


def settings(folder: Path, **server: Any) -> Settings:
    """Quick saves, quiet processes, a free port."""
    return Settings.model_validate(
        {
            "state_dir": folder,
            "server": {"port": 0, **server},
            "learner": {"checkpoint_every_s": 0.2},
            "logging": {"level": "error"},
        }
    )


@dataclass
class Command:
    """`headwater run` as a process of its own, as a user starts it."""

    state: Path
    spec: Path = SPEC
    process: subprocess.Popen[str] | None = None

    def start(self, *more: str) -> None:
        command = [sys.executable, "-m", "headwater", "run", str(self.spec), "--state", str(self.state), "--port", "0", *more]
        out = self.state.parent / f"{self.state.name}.out"
        with out.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, text=True)
        until(
            lambda: self.process.poll() is not None or ((found := running(self.state)) and found.url),
            "the command runs",
            2 * DEADLINE_S,
        )
        assert self.process.poll() is None, out.read_text()

    @property
    def out(self) -> str:
        return (self.state.parent / f"{self.state.name}.out").read_text()

    @property
    def url(self) -> str:
        return running(self.state).url

    def pid(self, role: str) -> int:
        return running(self.state).processes[role].pid

    def client(self, **options: Any) -> Client:
        return Client(self.url, **options)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def log_end(folder: Path) -> int:
    with closing(open_log(settings(folder).log_url, readonly=True)) as log:
        return log.bounds()[1]


def learnt(url: str, end: int) -> None:
    """Wait until the served model has learnt everything before `end`, and says so."""
    with Client(url) as client:
        until(lambda: (client.get("/status")["gateway"]["seq"] or 0) >= end, f"seq {end} is learnt")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def command(app, tmp_path_factory) -> Iterator[Command]:
    """A running `headwater run`, shared by a module; whatever it started ends with it."""
    made = Command(tmp_path_factory.mktemp("run") / "state")
    try:
        made.start()
        yield made
    finally:
        made.kill()


def refolded(app: Any, folder: Path) -> Fold:
    """The log folded once more, alone."""
    fold = Fold(app)
    with closing(open_log(settings(folder).log_url, readonly=True)) as log:
        for chunk in log.read(0):
            fold.step(chunk)
    return fold


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


__all__ = ["DEADLINE_S", "SPEC", "STATE", "Command", "arrival", "departure", "events", "lives", "until"]
