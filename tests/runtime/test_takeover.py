"""A feature and a model are added to a running app, under load: no request is lost, and nothing of the log is missing."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from headwater.ingest.client import Client
from headwater.runtime import takeover
from headwater.runtime.checkpointing import restore
from headwater.runtime.declared import load_app
from headwater.runtime.places import NEXT, PREVIOUS, STATE
from headwater.runtime.runfile import running
from headwater.runtime.supervisor import Supervisor
from headwater.store.checkpoint import Checkpoints

from .conftest import SPEC, Command, events, learnt, log_end, refolded, settings, until

CHANGED = SPEC.with_name("changed.py")


@dataclass
class Asked:
    """What a client that asks all the time was told, over one connection that it keeps as long as it may."""

    url: str
    seqs: list[int] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with Client(self.url, patience_s=0) as client:
            while not self.stop.wait(0.005):
                try:
                    said = client.predict("late", {"flight_id": "f1"}, record=False)
                    self.seqs.append(int(said["version"].partition("@")[2]))
                except Exception as error:  # noqa: BLE001 - every unanswered question counts
                    self.failures.append(error)


def test_a_feature_is_added_to_a_running_app_without_a_lost_request(app, tmp_path):
    made = Command(tmp_path / "state")
    try:
        made.start()
        rows = events(900)
        with made.client() as client:
            client.send(None, rows[:1000])
        askers = [Asked(made.url) for _ in range(3)]
        threads = [threading.Thread(target=asked.run, daemon=True) for asked in askers]
        for thread in threads:
            thread.start()
        until(lambda: all(len(asked.seqs) > 20 for asked in askers), "questions are answered")
        sent: list[int] = []
        producer = threading.Thread(target=lambda: sent.append(send(made, rows[1000:])), daemon=True)
        producer.start()
        done = subprocess.run(
            [sys.executable, "-m", "headwater", "apply", str(CHANGED), "--state", str(made.state)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + made.out
        producer.join(60)
        answered = [len(asked.seqs) for asked in askers]
        until(lambda: all(len(a.seqs) > n + 20 for a, n in zip(askers, answered, strict=True)), "the changed app answers on")
        for asked, thread in zip(askers, threads, strict=True):
            asked.stop.set()
            thread.join(10)
        assert [asked.failures for asked in askers] == [[], [], []]
        assert all(seqs == sorted(seqs) for seqs in (asked.seqs for asked in askers))
        assert sent == [len(rows) - 1000]
        learnt(made.url, log_end(made.state))
        with made.client() as client:
            assert client.predict("better", {"flight_id": "f1"}, record=False)["predictions"][0]["score"] > 0
        assert running(made.state).spec == str(CHANGED)
        assert (made.state / PREVIOUS / STATE).exists()
        assert not (made.state / NEXT).exists()
    finally:
        if made.process is not None:
            made.process.terminate()
            made.process.wait(60)
    changed = load_app(CHANGED)
    with closing(Checkpoints(made.state / STATE, readonly=True)) as store:
        assert restore(changed, store).state_hash() == refolded(changed, made.state).state_hash()


def send(made: Command, rows: list[dict[str, object]]) -> int:
    """Send in small requests; how many were accepted, each by whichever gateway answered."""
    n = 0
    with Client(made.url, patience_s=0) as client:
        for at in range(0, len(rows), 20):
            n += client.send(None, rows[at : at + 20]).accepted
    return n


def test_a_changed_app_takes_over_at_a_start_too(app, tmp_path):
    told: list[tuple[str, str]] = []
    with Supervisor(app, str(SPEC), settings(tmp_path)) as first, Client(first.url) as client:
        client.send(None, events(200))
        learnt(first.url, log_end(tmp_path))
    changed = load_app(CHANGED)
    with Supervisor(changed, str(CHANGED), settings(tmp_path), lambda *said: told.append(said)) as second:
        learnt(second.url, log_end(tmp_path))
        with Client(second.url) as client:
            assert client.predict("better", {"flight_id": "f1"}, record=False)["predictions"][0]["score"] > 0
    assert told[0][0] == "backfill"
    with closing(Checkpoints(tmp_path / STATE, readonly=True)) as store:
        assert restore(changed, store).state_hash() == refolded(changed, tmp_path).state_hash()


@pytest.mark.parametrize("at", ["marked", "half"])
def test_a_crash_amid_the_exchange_is_mended_at_the_next_start(tmp_path, at):
    for folder in (tmp_path, tmp_path / NEXT):
        for name in ("state", "view"):
            (folder / name).mkdir(parents=True)
            (folder / name / "whose").write_text(folder.name if folder.name == NEXT else "old")
    (tmp_path / NEXT / takeover._EXCHANGING).touch()
    if at == "half":
        (tmp_path / PREVIOUS).mkdir()
        (tmp_path / "view").rename(tmp_path / PREVIOUS / "view")
        (tmp_path / NEXT / "view").rename(tmp_path / "view")
    takeover._exchange(tmp_path)
    assert [(tmp_path / name / "whose").read_text() for name in ("state", "view")] == [NEXT, NEXT]
    assert [(tmp_path / PREVIOUS / name / "whose").read_text() for name in ("state", "view")] == ["old", "old"]


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("has", [True, False])
def test_the_worker_changes_with_the_app(had, has):
    """Who is told of events is declared in the file that takes over."""
    done: list[str] = []

    class Child:
        def __init__(self, name):
            self.name = name

        def __getattr__(self, what):
            return lambda: done.append(f"{self.name} {what}")

    class Supervisor:
        spec = "new.py"
        app = SimpleNamespace(consumers={"notify": None} if has else {})
        children = {"worker": Child("old")} if had else {}

        def child(self, role, spec):
            assert (role, spec) == ("worker", "new.py")
            return Child("new")

        def spawn(self, child):
            child.spawn()

        def adopt(self, child):
            self.children["worker"] = child

    supervisor = Supervisor()
    takeover._replace_worker(supervisor)
    assert done == ["old end"] * had + ["new spawn", "new go"] * has
    assert [child.name for child in supervisor.children.values()] == ["new"] * has
