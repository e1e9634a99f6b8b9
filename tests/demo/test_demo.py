"""The demo as a user runs it, on its first 75 days: real processes, real HTTP, and what it claims."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from headwater.cli import main
from headwater.demo.data import load
from headwater.demo.stream import make_tape

DAYS = 75  # the fewest that `--days` takes: a fifth of the year's flights are left out of the figures


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "headwater", "demo", "--exit", "--days", str(DAYS), "--state", str(folder / "state")]
    done = subprocess.run([*command, "--json", str(folder / "report.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return {**report, "said": done.stdout, "folder": folder}


def test_nothing_is_lost_and_the_line_of_conservation_has_no_zero(report: dict[str, Any]) -> None:
    parts = [report[k] for k in ("applied", "duplicate", "late", "quarantined")]
    assert all(parts)
    assert sum(parts) == report["in"] == report["events"]
    injected = report["injected"]
    assert report["duplicate"] == injected["duplicate"]
    assert report["late"] == injected["too_late"]
    assert report["quarantined"] == sum(injected.values()) - injected["duplicate"] - injected["too_late"]


def test_every_answer_is_the_folds(report: dict[str, Any]) -> None:
    assert report["checked"]["n"] >= 50  # a thousand over the whole year
    assert report["checked"]["same"] == report["checked"]["n"]
    assert report["checked"]["folded_again"]
    assert report["questions"]["failed"] == 0


def test_the_report_has_what_it_promises(report: dict[str, Any]) -> None:
    for metric in ("auc", "log_loss"):
        assert set(report[metric]) == {"live", "nightly", "planned", "frozen", "yesterday", "no_change"}
    assert report["freshness_ms"]["p50"] <= report["freshness_ms"]["p99"]
    assert len(report["nightly_margin_ci"]) == 2
    assert report["core_seconds"] > 0
    # One at each midnight of New York; one more when the first fifth of the flights is reached.
    assert report["versions"] in {DAYS, DAYS + 1}
    assert "curl -s http://127.0.0.1:" in report["said"]
    assert "(process " in report["said"]


def test_the_planner_refits_beside_serving_and_its_ledger_is_in_the_report(report: dict[str, Any]) -> None:
    ledger = report["ledger"]
    served = [fit for fit in ledger["updates"] if fit["outcome"] == "served"]
    assert served
    assert all(fit["core_s"] > 0 and fit["why"] for fit in served)
    assert ledger["core_seconds"] > sum(fit["core_s"] for fit in served)
    assert any(plan["action"] == "fit" for plan in ledger["plans"])
    assert ledger["verdict"] in " ".join(report["said"].split())
    assert report["log_loss"]["planned"] < report["log_loss"]["no_change"]


def test_live_beats_no_change_already_in_january(report: dict[str, Any]) -> None:
    assert report["auc"]["live"] > report["auc"]["no_change"] + 0.05
    assert report["log_loss"]["live"] < report["log_loss"]["no_change"]


def test_a_state_directory_of_something_else_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SystemExit) as left:
        main.run(["demo", "--exit", "--days", str(DAYS), "--state", str(tmp_path)])
    assert left.value.code == 1
    assert "not an earlier demo's" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_the_tape_is_in_order_and_the_data_are_those_of_the_package(tmp_path: Path) -> None:
    flights = load()
    assert (len(flights.departure), len(flights.arrival), len(flights.weather)) == (336_776, 336_776, 26_115)
    tape = make_tape(flights, limit_days=40)
    assert (np.diff(tape.time) >= 0).all()
    departures = flights.departure.slice(0, 20_000)
    outcome = dict(zip(flights.arrival["flight_id"].to_pylist(), flights.arrival["time"].to_pylist(), strict=True))
    waits = [
        (outcome[f] - t) / 3_600_000 for f, t in zip(*(departures[c].to_pylist() for c in ("flight_id", "time")), strict=True)
    ]
    assert min(waits) >= 0.4  # a label is never known before its question
    assert max(waits) <= 40
    paths = flights.write(tmp_path)
    assert sorted(p.name for p in paths) == ["arrival.parquet", "departure.parquet", "weather.parquet"]
    assert pq.read_schema(paths[0]).names[:3] == ["id", "source", "time"]
