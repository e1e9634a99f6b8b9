from __future__ import annotations

import asyncio
import json

import pytest

from headwater.cli import main
from headwater.cli.init import init
from headwater.core.clock import VirtualClock
from headwater.ingest import Door, Limits
from headwater.log import open_log
from headwater.log.wake import Doorbell
from headwater.runtime.changes import remember
from headwater.runtime.config import find, load
from headwater.runtime.declared import load_app
from headwater.runtime.places import BELLS, STATE

GOOD = {
    "stream": "order",
    "id": "1",
    "time": "2025-01-06T08:00:00Z",
    "order_id": "1",
    "shop": "s",
    "courier": "c",
    "distance_km": 1.0,
}
BAD = {**GOOD, "id": "2", "distance_km": "far\x1b[2J"}
UNKNOWN = {**GOOD, "id": "3", "stream": "odrer"}


@pytest.fixture
def app(tmp_path):
    """A starter app whose log holds one good event and two that were refused."""
    init(tmp_path)
    path = tmp_path / "app.py"
    log = open_log(load(find(path, None)).settings.log_url)
    door = Door(log, load_app(path).streams, clock=VirtualClock(1_736_150_400_000_000), limits=Limits(), on_append=lambda: None)
    body = "\n".join(map(json.dumps, (GOOD, BAD, UNKNOWN))).encode()
    asyncio.run(door.submit(body, "application/x-ndjson", {}, None))
    log.close()
    (state(path) / STATE).mkdir()
    remember(state(path) / STATE, load_app(path))
    return path


def state(app):
    return app.parent / ".headwater"


def test_refused_events_are_listed(done, app, capsys):
    capsys.readouterr()
    out = done("quarantine", "list", "--state", state(app))
    assert len(out.splitlines()) == 3
    found = done("quarantine", "list", "--state", state(app), "--json")
    assert [json.loads(f["raw"])["id"] for f in found] == ["2", "3"]
    only = done("quarantine", "list", "--state", state(app), "--code", found[0]["code"], "--limit", 1, "--json")
    assert [f["seq"] for f in only] == [found[0]["seq"]]


def test_one_is_shown_with_its_text_which_cannot_drive_the_terminal(done, app, capsys):
    capsys.readouterr()
    seq = done("quarantine", "list", "--state", state(app), "--json")[0]["seq"]
    out = done("quarantine", "show", seq, "--state", state(app))
    assert '"distance_km": "far' in out
    assert "\x1b" not in out
    with pytest.raises(SystemExit, match="1"):
        main.run(["quarantine", "show", "0", "--state", str(state(app))])
    assert "no dead letter here" in capsys.readouterr().err


def test_repaired_events_enter_once(done, app, capsys):
    capsys.readouterr()
    seq = done("quarantine", "list", "--state", state(app), "--json")[0]["seq"]
    again = ("quarantine", "replay", app, "--seq", seq, "--edit", "set distance_km=2.5", "--state", state(app), "--json")
    assert [(o["verdict"], o["seq"]) for o in done(*again, "--dry-run")] == [("accepted", None)]
    assert len(done("quarantine", "list", "--state", state(app), "--json")) == 2
    (outcome,) = done(*again)
    assert (outcome["verdict"], outcome["letter"]["seq"]) == ("accepted", seq)
    assert done(*again) == []
    assert len(done("quarantine", "list", "--state", state(app), "--json")) == 1
    assert len(done("quarantine", "list", "--all", "--state", state(app), "--json")) == 2


def test_a_replay_wakes_the_learner(done, app):
    with Doorbell(state(app) / BELLS) as bell:
        done("quarantine", "replay", app, "--code", "wrong_type", "--edit", "set distance_km=2.5", "--state", state(app))
        assert bell.wait(0)


def test_what_is_refused_again_is_exit_code_1(app, capsys):
    with pytest.raises(SystemExit, match="1"):
        main.run(["quarantine", "replay", str(app), "--dry-run", "--state", str(state(app))])
    out = capsys.readouterr().out
    assert "Nothing was stored." in out
    assert out.count("quarantined") == 2


def test_a_wrong_repair_is_refused(app, capsys):
    with pytest.raises(SystemExit, match="1"):
        main.run(["quarantine", "replay", str(app), "--edit", "sett a=1", "--state", str(state(app))])
    assert "set name=value" in capsys.readouterr().err


def test_what_may_be_personal_is_hidden_unless_it_is_asked_for(done, app, capsys):
    """The app now says that a shop is a person's; of an app that nobody knows, everything may be personal."""
    declared = state(app) / STATE / "declaration.json"
    said = json.loads(declared.read_text())
    next(f for f in said["streams"]["order"]["fields"] if f["name"] == "courier")["personal"] = True
    declared.write_text(json.dumps(said))
    capsys.readouterr()
    (bad, unknown) = done("quarantine", "list", "--state", state(app), "--json")
    assert json.loads(bad["raw"]) == {**BAD, "courier": "***", "distance_km": "***"}  # a text for a number
    assert json.loads(unknown["raw"]) == {**UNKNOWN, "courier": "***"}
    (bad, _) = done("quarantine", "list", "--state", state(app), "--json", "--personal")
    assert json.loads(bad["raw"]) == BAD
    assert '"courier": "c"' not in done("quarantine", "show", bad["seq"], "--state", state(app))
    assert '"courier": "c"' in done("quarantine", "show", bad["seq"], "--state", state(app), "--personal")
    declared.unlink()
    assert done("quarantine", "show", bad["seq"], "--state", state(app), "--json")["raw"].startswith("*** (")
