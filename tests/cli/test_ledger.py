"""`headwater ledger` and `headwater refit` as they are typed."""

from __future__ import annotations

import csv
import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater.cli.main import build
from headwater.core.errors import Fatal, WrongState
from headwater.following.notices import PLANS, Notices
from headwater.log.control import control_events
from headwater.log.open import open_log
from headwater.planning.ledger import FILE_NAME, Job, Ledger
from headwater.planning.planner import Plan
from headwater.runtime.changes import remember
from headwater.runtime.marks import ASK_REFIT
from headwater.runtime.places import FOLLOWING, PLANNING, STATE
from headwater.runtime.refitting import plan_notice
from headwater.runtime.settings import Settings

DAY = 86_400_000


class Ask(hw.Event, key="id_"):
    id_: hw.Field[str]
    a: hw.Field[float]


class Told(hw.Event, key="id_"):
    id_: hw.Field[str]
    y: hw.Field[float]


@pytest.fixture
def state(tmp_path):
    (tmp_path / PLANNING).mkdir()
    with Ledger(tmp_path / PLANNING / FILE_NAME) as ledger:
        ledger.append(Job(5, "fit", 1000, 0.5, 0.4, "served", "Fit the first model: 1000 labels are known.", "m", "full"))
        ledger.append(Job(DAY, "gain", 500, 0.0, 0.0, "done", "", "m", "full", 12.5))
        ledger.append(Job(DAY, "fast", 500, 0.0, 0.1, "done", "", "m", "fast"))
        ledger.append(Job(DAY, "fit", 10, 0.5, 0.2, "failed", "why", "other", "full"))
    notices = Notices(tmp_path / FOLLOWING)
    notices.append_all(PLANS, [plan_notice("m", 3, 5, Plan("fit", "Fit the first model: 1000 labels are known."))])
    notices.close()
    return tmp_path


def run(*words):
    return CliRunner().invoke(build(), list(words), catch_exceptions=False)


def test_costs_and_gains_by_model_day_and_method(state):
    said = json.loads(run("ledger", "--state", str(state), "--model", "m", "--json").stdout)
    assert (said["updates"], said["served"], said["gained_loss"]) == (1, 1, 12.5)
    assert said["core_seconds"] == pytest.approx(0.5)
    days = [(day["day"], day["method"], day["core_s"], day["gained_loss"]) for day in said["days"]]
    assert days == [(0, "full", 0.4, 0.0), (1, "fast", 0.1, 0.0), (1, "full", 0.0, 12.5)]
    assert [plan["action"] for plan in said["plans"]] == ["fit"]


def test_a_table_for_people_and_a_file_for_programs(state):
    done = run("ledger", "--state", str(state), "--plans", "--csv", str(state / "jobs.csv"))
    assert done.exit_code == 0
    assert "2 updates, 1 served" in done.stdout
    assert "1970-01-02" in done.stdout
    assert "1000 labels are known" in done.stdout
    with (state / "jobs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["fit", "gain", "fast", "fit"]
    assert float(rows[1]["gained_loss"]) == 12.5


def test_where_no_ledger_is_it_says_so(tmp_path):
    with pytest.raises(WrongState, match="no ledger here"):
        run("ledger", "--state", str(tmp_path))


def test_a_wish_for_a_refit_goes_into_the_log(tmp_path):
    pytest.importorskip("lightgbm")
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="1h")
    models = [
        hw.Model("slow", on=Ask, features=[Ask.a], label=label, learner=hw.Fast(slow=hw.LightGBM())),
        hw.Model("plain", on=Ask, features=[Ask.a], label=label),
    ]
    (tmp_path / STATE).mkdir(parents=True)
    remember(tmp_path / STATE, hw.App("a", models=models))
    assert run("refit", "slow", "--state", str(tmp_path)).exit_code == 0
    with closing(open_log(Settings(state_dir=tmp_path).log_url, readonly=True)) as log:
        (mark,) = [mark for chunk in log.read(0) for mark in control_events(chunk.batch)]
    assert (mark.kind, mark.body) == (ASK_REFIT, {"model": "slow"})
    with pytest.raises(Fatal, match=r"got plain.*Known: slow"):
        run("refit", "plain", "--state", str(tmp_path))
