"""`headwater assess` as a user runs it."""

from __future__ import annotations

import csv
import importlib.util
import json

import numpy as np
import pytest

from headwater.cli import main

N = 1500
KEYS = ["every_event", "1%", "5%", "frozen", "no_change"]


@pytest.fixture
def file(tmp_path):
    """A yes/no label that depends on x, whose sign turns half way."""
    rng = np.random.default_rng(0)
    x, sku = rng.normal(size=N), rng.integers(100, 140, N)
    y = (rng.random(N) < 1 / (1 + np.exp(-np.where(np.arange(N) < N // 2, 2, -2) * x))).astype(int)
    with (tmp_path / "orders.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["at", "x", "sku", "refund", "late"])
        writer.writerows([1_700_000_000 + 60 * i, x[i], sku[i], 9.5 if y[i] else "", y[i]] for i in range(N))
    return tmp_path / "orders.csv"


@pytest.fixture
def failed(capsys):
    """Run a command that must fail; gives what it says."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main.run([str(a) for a in arguments])
        assert left.value.code != 0
        return " ".join(capsys.readouterr().err.split())

    return call


def assess(file, *more):
    return ("assess", file, "--label", "late", "--time", "at", *more)


def test_what_is_printed(done, file):
    out = done(*assess(file))
    assert "orders.csv: 1,500 rows, 2023-11-14 to 2023-11-15; late is 1 in" in out
    assert "integers named like ids: sku" in out
    assert "refund: almost tells the label: AUC 1.000 alone" in out
    for rung in ("at every event", "each 1 %", "each 5 %", "once, after 20 %", "no change"):
        assert f"\n{rung}" in out
    assert "Learning at every event makes AUC" in out
    assert "\u2588" * 24 in out


def test_the_report(done, file):
    report = done(*assess(file, "--json", "-"))
    assert report["task"] == "binary"
    assert report["rows"] == N
    assert report["seconds"] > 0
    assert report["columns"] == {"at": "time", "x": "number", "sku": "category", "refund": "number", "late": "label"}
    assert report["suspected_leaks"] == ["refund"]
    assert list(report["ladder"]) == KEYS
    assert all(set(report["ladder"][rung]) == {"auc", "log_loss", "accuracy"} for rung in KEYS[:-1])
    assert set(report["ladder"]["no_change"]) == {"accuracy"}
    assert report["ladder"]["every_event"]["auc"] > report["ladder"]["frozen"]["auc"] + 0.1
    assert report["verdict"].startswith("Learning at every event")


def test_the_report_goes_into_a_file_too(done, file, tmp_path):
    out = done("assess", file, *["--label", "x", "--time", "at", "--drop", "late,refund"], f"--json={tmp_path / 'r.json'}")
    assert "x is a number (regression)" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["task"] == "regression"
    assert report["columns"]["refund"] == "dropped"
    assert all(set(scores) == {"mae", "rmse"} for scores in report["ladder"].values())


def test_a_written_app_is_replayed(done, file, tmp_path):
    app = tmp_path / "app.py"
    out = done(*assess(file, "--write", app))
    inputs = [f"--input={stream}={tmp_path / 'app_events' / stream}.parquet" for stream in ("case", "outcome")]
    assert f"headwater replay {app} {' '.join(i.replace('=', ' ', 1) for i in inputs)}" in out
    overall = done("replay", app, *inputs, "--json", "-")["metrics"]["outcome"]["overall"]
    ladder = done(*assess(file, "--json", "-"))["ladder"]
    assert overall["live"]["auc"] == pytest.approx(
        ladder["every_event"]["auc"], abs=0.1
    )  # the ladder leaves the first fifth out
    done(*assess(file, "--write", app))  # over one of its own


def test_it_writes_over_nobody_elses_file(failed, file, tmp_path):
    (tmp_path / "mine.py").write_text("print()")
    assert "not written by assess" in failed(*assess(file, "--write", tmp_path / "mine.py"))
    assert "no such folder" in failed(*assess(file, "--write", tmp_path / "no" / "app.py"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--label lat --time at", "no such column where: FILE, --label got: lat next: Did you mean late or at?"),
        ("--label late --time when", "no such column where: FILE, --time got: when"),
        ("--label late --time at --drop nothing", "--drop got: nothing"),
        ("--label late --time late", "the label is also a time"),
        ("--label late --time at --task ordinal", "no such task"),
        ("--label x --time at --task binary", "does not suit the task binary"),
        ("--label x --time at --task multiclass", "at most 200 classes"),
        ("--label late --time at --label-time x", "outside the years|known before their event"),
        ("--label late --time at --drop late", "both used and dropped"),
    ],
)
def test_wrong_arguments(failed, file, arguments, said):
    got = failed("assess", file, *arguments.split()).replace("\u2502 ", "").replace(" \u2502", "").replace(str(file), "FILE")
    assert any(" ".join(part.split()) in " ".join(got.split()) for part in said.split("|")), got


def test_no_such_file(failed, tmp_path):
    assert "there is no such file" in failed(*assess(tmp_path / "x.csv"))
    assert "cannot be read" in failed(*assess(_touched(tmp_path / "x.xlsx")))


def _touched(path):
    path.touch()
    return path


def test_a_picture(done, failed, file, tmp_path):
    if importlib.util.find_spec("matplotlib") is None:
        said = failed(*assess(file, "--plot", tmp_path / "ladder.png"))
        assert "Install headwater[plot]" in said
        pytest.skip("matplotlib is not installed: only its absence was tried")
    done(*assess(file, "--plot", tmp_path / "ladder.png"))
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")
    assert "picture cannot be written" in failed(*assess(file, "--plot", tmp_path / "ladder.odd"))
