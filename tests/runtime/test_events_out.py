"""Events out with real processes: handlers, a webhook, followers and `tail`, while the worker is killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headwater.cli import main
from headwater.following import Cursors
from headwater.ingest.client import Client
from headwater.registry import Catalog
from headwater.runtime.declared import load_app
from headwater.runtime.places import FOLLOWING
from headwater.runtime.runfile import running
from headwater.runtime.supervisor import Supervisor

from .conftest import SPEC, events, settings, until

N_FLIGHTS = 500
CONSUMING = SPEC.parent / "consuming.py"


class Hook(BaseHTTPRequestHandler):
    """Answers 500 for as long as it is broken."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    is_broken = True
    sent: list[tuple[bool, str, list[dict[str, Any]]]] = []  # noqa: RUF012 - one server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.sent.append((not self.is_broken, self.headers["idempotency-key"], body))
        self.send_response(500 if self.is_broken else 200)
        self.send_header("content-length", "0")
        self.send_header("retry-after", "0.1")  # else the test would wait for as long as the failures had lasted
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Story:
    """What was seen from outside.

    Attributes:
        folder: The state directory; `heard` beside it has what consumers wrote.
        followed: By two HTTP followers: the versions, in order.
        tailed: Exit code, stdout lines and stderr of `headwater tail`.
        status: /status while the webhook was broken, and at the end.
        metrics: The metrics page while it was broken.
        shown, listed: What `headwater status` and `headwater tail _versions` said.
    """

    folder: Path
    followed: list[list[dict[str, Any]]] = field(default_factory=list)
    tailed: tuple[int, list[str], str] = (0, [], "")
    status: list[dict[str, Any]] = field(default_factory=list)
    metrics: str = ""
    shown: str = ""
    listed: str = ""

    def heard(self, name: str) -> list[list[Any]]:
        """[pid, facts...] of each call of a handler."""
        path = self.folder.parent / "heard" / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def follow_versions(url: str, into: list[dict[str, Any]], limit: int) -> None:
    """Follow from the start until there are enough, waiting in between."""
    place = 0
    with Client(url) as client:
        while len(into) < 4:
            page = client.follow("_versions", place, limit=limit, wait_s=10)
            into += page["events"]
            place = page["next"]


def tail(url: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headwater", "tail", "arrival", "--url", url, *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start; the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def said_by(*command: str) -> str:
    """What a command prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("COLUMNS", raising=False)
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            main.run(list(command))
    return out.getvalue()


def consumer(client: Client, name: str) -> dict[str, Any]:
    (found,) = [c for c in client.get("/status")["consumers"] if c["name"] == name]
    return found


@pytest.fixture(scope="module")
def story(app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    (folder / "heard").mkdir()
    made = Story(folder / "state")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HEARD_IN", str(folder / "heard"))
        patched.setenv("HOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
        with Supervisor(load_app(CONSUMING), str(CONSUMING), settings(made.folder)) as supervisor:
            tell(made, supervisor)
    server.shutdown()
    server.server_close()
    for child in supervisor.children.values():
        child.process.stdout.close()
    return made


def tell(made: Story, supervisor: Supervisor) -> None:
    rows = events(N_FLIGHTS)
    made.followed = [[], []]
    followers = [
        threading.Thread(target=follow_versions, args=(supervisor.url, into, limit), daemon=True)
        for into, limit in zip(made.followed, (1, 1000), strict=True)
    ]
    for thread in followers:
        thread.start()
    process = tail(supervisor.url, "--from", "start", "--json")
    with Client(supervisor.url) as client:
        client.send(None, rows[:500])
        until(lambda: len(made.heard("arrivals")) > 50, "the handler has heard something")
        kill_worker(supervisor)
        client.send(None, rows[500:])
        until(lambda: consumer(client, "arrivals")["lag"] == 0, "all is handled")
        until(lambda: consumer(client, "departures")["lag"] == 0, "all is handled")
        made.status.append(client.get("/status"))
        made.metrics = client.get("/metrics")
        Hook.is_broken = False
        until(lambda: consumer(client, "webhook_arrival")["lag"] == 0, "the webhook has caught up")
        until(lambda: len(made.heard("other")) >= 4 and len(made.heard("one")) >= 4, "versions are heard")
        made.status.append(client.get("/status"))
        made.shown = said_by("status", "--state", str(made.folder))
        made.listed = said_by("tail", "_versions", "--from", "start", "--no-follow", "--url", supervisor.url)
    for thread in followers:
        thread.join(30)
    lines = [process.stdout.readline() for _ in range(N_FLIGHTS)]
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=30)
    made.tailed = (process.returncode, lines + rest.splitlines(), said)


def kill_worker(supervisor: Supervisor) -> None:
    before = supervisor.children["worker"].pid
    os.kill(before, signal.SIGKILL)
    folder = supervisor.settings.state_dir
    until(lambda: (now := running(folder)) and now.processes["worker"].pid != before, "another worker")


def test_a_killed_worker_loses_nothing_and_keeps_the_order(story):
    heard = story.heard("arrivals")
    assert len({pid for pid, *_ in heard}) >= 2
    seqs = list(dict.fromkeys(seq for _, seq, _ in heard))
    assert seqs == sorted(seqs)
    assert sorted({flight for *_, flight in heard}) == sorted(f"f{i}" for i in range(N_FLIGHTS))
    for pid in {pid for pid, *_ in heard}:  # within one process each event comes once
        own = [seq for p, seq, _ in heard if p == pid]
        assert own == sorted(set(own))


def test_only_the_bad_one_of_a_batch_is_put_aside(story):
    heard = {flight for *_, flight in story.heard("departures")}
    assert heard == {f"f{i}" for i in range(N_FLIGHTS)} - {"f7"}
    with closing(Cursors(story.folder / FOLLOWING, read_only=True)) as cursors:
        (parked,) = cursors.parked("departures")
    assert json.loads(parked.event)["data"]["flight_id"] == "f7"
    assert "seven is never taken" in parked.error


def test_a_broken_webhook_lags_visibly_and_catches_up(story):
    before, after = ({c["name"]: c for c in status["consumers"]} for status in story.status)
    assert before["webhook_arrival"]["lag"] > N_FLIGHTS > before["arrivals"]["lag"] == 0
    assert before["webhook_arrival"]["retries"] > 0
    assert "answered 500" in before["webhook_arrival"]["error"]
    assert (after["webhook_arrival"]["lag"], after["webhook_arrival"]["error"]) == (0, "")
    taken = [event for ok, _, body in Hook.sent if ok for event in body]
    assert sorted({e["data"]["flight_id"] for e in taken}) == sorted(f"f{i}" for i in range(N_FLIGHTS))
    first = list(dict.fromkeys(e["seq"] for e in taken))
    assert first == sorted(first)
    assert all(key == f"consuming/arrival/{body[0]['seq']}-{body[-1]['seq']}" for _, key, body in Hook.sent)


def test_independent_consumers_follow_a_models_versions(story):
    with Catalog(story.folder / "registry", read_only=True) as catalog:
        versions = [(v.name, v.sha256) for v in catalog.list("late")]
    assert len(versions) >= 4
    for followed in story.followed:  # over HTTP, one by one and all at once
        assert [(e["id"], e["data"]["sha256"]) for e in followed] == versions[: len(followed)]
        assert len(followed) >= 4
    for name in ("one", "other"):  # handlers
        heard = list(dict.fromkeys(map(tuple, (facts for _, *facts in story.heard(name)))))
        assert heard == versions[: len(heard)]
        assert len(heard) >= 4


def test_status_and_metrics_tell_of_each_consumer(story):
    assert 'headwater_consumer_lag{consumer="arrivals"} 0.0' in story.metrics
    assert 'headwater_consumer_parked{consumer="departures"} 1.0' in story.metrics
    assert {"one", "other", "arrivals", "departures", "webhook_arrival"} <= set(story.shown.split())
    assert {"consumer", "lag", "parked", "worker"} <= set(story.shown.split())


def test_tail_prints_what_comes_and_ends_well(story):
    code, lines, said = story.tailed
    told = [json.loads(line) for line in lines]
    assert code == 0, said
    assert sorted(e["data"]["flight_id"] for e in told) == sorted(f"f{i}" for i in range(N_FLIGHTS))
    assert [e["seq"] for e in told] == sorted(e["seq"] for e in told)
    assert "Traceback" not in said
    place = int(said.rpartition("--from ")[2])
    assert place > told[-1]["seq"]


def test_cursors_are_kept_when_nothing_runs(story, capsys):
    with pytest.raises(SystemExit):
        main.run(["status", "--state", str(story.folder), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert {c["name"] for c in said["consumers"]} == {"one", "other", "arrivals", "departures", "webhook_arrival"}
    assert said["run"] is None


def test_tail_stops_at_the_end_if_told_to(story):
    lines = [line.split() for line in story.listed.splitlines()]
    assert [line[0] for line in lines] == [str(i) for i in range(len(lines))]
    assert [line[2].removeprefix("headwater/_versions/") for line in lines][:4] == [e["id"] for e in story.followed[0]][:4]
