from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from headwater.cli import main
from headwater.core.batch import Text, frame, single
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.faults.installation import Installation
from headwater.faults.world import Recipe, requests, shop
from headwater.following import Cursors, Parked
from headwater.log import open_log
from headwater.planning.ledger import Job, Ledger
from headwater.runtime.config import load
from headwater.runtime.doctor import examine
from headwater.runtime.places import FOLLOWING, PLANNING, STATE
from headwater.store.checkpoint import Checkpoints

SCHEMA = Schema("order", (FieldSpec("order_id", Kind.STR),), key="order_id")


@pytest.fixture
def doctor(capsys):
    def call(state, code=0):
        with pytest.raises(SystemExit) as left:
            main.run(["doctor", "--state", str(state), "--json"])
        assert left.value.code == code
        return {f["check"]: f for f in json.loads(capsys.readouterr().out)}

    return call


@pytest.fixture(autouse=True)
def _any_port(monkeypatch):
    monkeypatch.setenv("HEADWATER_SERVER_PORT", "0")


def with_log(state):
    log = open_log(load(None, {"state_dir": state}).settings.log_url)
    rows = frame(SCHEMA, [SimpleNamespace(order_id=str(i)) for i in range(10)])
    log.append(single(SCHEMA, rows, np.arange(10, dtype=np.int64), Text.of([str(i) for i in range(10)])))
    log.close()
    return state


def test_a_sound_state_directory_is_all_ok(doctor, state):
    found = doctor(with_log(state))
    assert found.keys() == {"python", "libraries", "state directory", "log", "registry", "disk", "port"}
    assert {f["level"] for name, f in found.items() if name != "disk"} == {"ok"}
    assert found["log"]["finding"].startswith("10 events from seq 0 to 10")
    assert found["registry"]["finding"].startswith("2 versions")


def test_an_empty_place_is_a_warning_and_stays_empty(doctor, tmp_path):
    found = doctor(tmp_path / "state")
    assert {found[name]["level"] for name in ("state directory", "log", "registry")} == {"warn"}
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_log_fails_and_the_rest_is_still_checked(doctor, state):
    with_log(state)
    data = state / "log" / "data.mdb"
    damaged = data.read_bytes().replace(b"order_id", b"order_ie")
    data.write_bytes(damaged)
    found = doctor(state, code=1)
    assert found["log"]["level"] == "fail"
    assert found["log"]["next_step"]
    assert found["registry"]["level"] == "ok"


def test_an_altered_version_fails(doctor, state):
    path = next((state / "registry" / "versions").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    found = doctor(state, code=1)
    assert found["registry"]["level"] == "fail"
    assert "headwater rebuild" in found["registry"]["next_step"]


def test_a_taken_port_is_a_warning(doctor, state, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("HEADWATER_SERVER_PORT", str(taken.getsockname()[1]))
        assert doctor(state)["port"]["level"] == "warn"


def test_a_nearly_full_disk_fails(doctor, state, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    assert doctor(state, code=1)["disk"]["level"] == "fail"


def test_the_table_for_a_person(done, state):
    assert "every file has its hash" in done("doctor", "--state", state)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A state directory in which something was learnt, told and spent."""
    place = tmp_path_factory.mktemp("installed")
    with Installation(shop(), place, tells=True) as there:
        for lines in requests(Recipe(3, orders=60)):
            there.send(lines)
        there.learn()
    (place / "state" / PLANNING).mkdir()
    with Ledger(place / "state" / PLANNING / "ledger.sqlite") as ledger:
        ledger.append(Job(0, "fit", 1000, 0.5, 0.4, "served", "first model"))
    return place / "state"


def test_what_was_learnt_told_and_spent_is_read(doctor, installed):
    found = doctor(installed)
    assert {f["level"] for name, f in found.items() if name != "disk"} == {"ok"}
    assert "every checksum holds" in found["state"]["finding"]
    assert found["ledger"]["finding"].startswith("1 jobs")
    assert int(found["notices"]["finding"].split()[0]) > 50


def test_a_bit_of_the_state_is_missed(doctor, installed, tmp_path):
    state = shutil.copytree(installed, tmp_path / "state")
    with closing(Checkpoints(state / STATE, readonly=True)) as store:
        loaded = store.load(store.verify().app)
    weights = next(array for name, array in loaded[1].items() if name.endswith(".panes") and array.any()).tobytes()
    file = state / STATE / "data.mdb"
    content = bytearray(file.read_bytes())
    content[content.index(weights) + 5] ^= 4
    file.write_bytes(content)
    found = doctor(state, code=1)
    assert found["state"]["level"] == "fail"
    assert found["state"]["next_step"]


def test_notices_of_an_older_copy_and_a_job_that_was_altered_fail(doctor, installed, tmp_path):
    state = shutil.copytree(installed, tmp_path / "state")
    with closing(sqlite3.connect(state / FOLLOWING / "notices.sqlite")) as db, db:
        db.execute("DELETE FROM notices WHERE stream = '_features' AND seq > 20")
    with closing(sqlite3.connect(state / PLANNING / "ledger.sqlite")) as db, db:
        db.executescript("DROP TRIGGER jobs_are_not_changed; UPDATE jobs SET core_s = 0")
    found = doctor(state, code=1)
    assert "notices are missing" in found["notices"]["finding"]
    assert "a row was altered" in found["ledger"]["finding"]


def test_consumers_that_do_not_get_on_are_named(tmp_path):
    with closing(Cursors(tmp_path / "following")) as cursors:
        for name in ("fine", "bad", "down"):
            cursors.claim(name, "order", "handler", 0)
        cursors.park(Parked("bad", 3, 0, "Fatal: no", "{}"), 4)
        cursors.fail("down", 7, 0, "answered 500")
    found = [f.finding for f in examine(load(None, {"state_dir": tmp_path}).settings) if f.check == "consumers"]
    assert found == ["bad would not take 1 events", "down has failed 7 times: answered 500"]
