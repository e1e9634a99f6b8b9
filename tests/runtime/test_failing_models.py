"""A model that hangs in the gateway and raises in the learner, in a running installation: everything else goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import START_MS, Command, lives, until

SPEC = Path(__file__).parent / "apps" / "failing.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Command(tmp_path_factory.mktemp("failing") / "state", SPEC)
    try:
        made.start()
        with made.client() as client:
            yield Story(made, client)
    finally:
        made.kill()


class Story:
    """A running installation, and what is sent to it."""

    def __init__(self, command, client):
        self.command, self.client, self.n = command, client, 0

    def teach(self, *xs):
        """Questions with their labels; returns once they are learnt."""
        events = []
        for x in xs:
            self.n += 1
            beside = {"id_": f"q{self.n}", "time": START_MS + 60_000 * self.n}
            events += [{"stream": "question", "id": f"a{self.n}", "x": x, **beside},
                       {"stream": "outcome", "id": f"b{self.n}", "y": 1.0, **beside}]  # fmt: skip
        self.client.send(None, events)
        until(lambda: self.client.get("/readyz")["age_events"] == 0, "all is learnt")

    def ask(self, x, model="fragile"):
        return self.client.predict(model, {"id_": "new", "x": x}, record=False)

    def stopped(self):
        return self.client.get("/status")["learner"]["metrics"]["fragile"].get("stopped")

    def incidents(self):
        out = self.headwater("tail", "_incidents", "--from", "start", "--no-follow", "--json")
        return [json.loads(line) for line in out.splitlines()]

    def headwater(self, *arguments):
        command = [sys.executable, "-m", "headwater", *arguments, "--state", str(self.command.state)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_installation_outlives_its_model(run):
    gateway, learner = run.command.pid("gateway"), run.command.pid("learner")
    run.teach(1, 2, 3, 4)
    until(lambda: run.ask(1)["predictions"][0]["score"] == 4.0, "the model answers")
    assert "degraded" not in run.ask(1)

    # It hangs over a question: "no change" answers, since the one state there is hangs too; the rest is as before.
    for _ in range(3):
        said = run.ask(13)
        assert said["degraded"]
        assert said["predictions"][0]["score"] == 1.0
        assert "degraded" not in run.ask(1, "sturdy")
    assert run.client.get("/status")["gateway"]["guarded"]["fragile"]["opened"] == 1
    until(lambda: "degraded" not in run.ask(2), "it is asked again after a pause")

    # It cannot learn a block: it is stopped there, and goes on scoring.
    run.teach(66, 6, 7, 8, 9, 10, 11, 12)
    until(run.stopped, "it is stopped")
    assert run.stopped() == {"what": "learn", "at": 4, "dropped": 8}
    assert run.ask(1)["predictions"][0]["score"] == 4.0
    assert run.client.get("/status")["learner"]["metrics"]["sturdy"]["questions"]["labelled"] == 12

    # A person has it go on.
    assert "fragile goes on from seq" in run.headwater("resume", "fragile")
    until(lambda: run.stopped() is None, "it goes on")
    run.teach(1, 2, 3, 4)
    until(lambda: run.ask(1)["predictions"][0]["score"] == 8.0, "it has learnt four more")

    kinds = [incident["data"]["kind"] for incident in run.incidents()]
    assert sorted(kinds) == ["model.failing", "model.stopped"]
    assert (run.command.pid("gateway"), run.command.pid("learner")) == (gateway, learner)
    assert lives(gateway)
    assert lives(learner)
    assert "signed by this installation" in run.headwater("verify")
