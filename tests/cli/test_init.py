from __future__ import annotations

import json
import subprocess
import sys

import pytest

from headwater.cli import main
from headwater.cli.init import sample
from headwater.runtime import config


def test_the_starter_app_passes_its_own_test(done, tmp_path):
    out = done("init", tmp_path / "orders")
    assert "headwater replay app.py --input sample.jsonl" in out
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    there = subprocess.run(command, cwd=tmp_path / "orders", capture_output=True, text=True, check=False)
    assert there.returncode == 0, there.stdout + there.stderr


def test_its_settings_are_valid(done, tmp_path):
    done("init", tmp_path)
    loaded = config.load(tmp_path / "headwater.toml")
    assert loaded.settings.state_dir == tmp_path / ".headwater"


def test_the_sample_is_the_same_every_time_in_order_and_has_both_answers():
    events = sample()
    assert json.dumps(events) == json.dumps(sample())
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    late = [e["minutes_late"] is None or e["minutes_late"] >= 10 for e in events if e["stream"] == "delivery"]
    assert 0.2 < sum(late) / len(late) < 0.8
    assert len({e["id"] for e in events}) == len(events)


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "app.py").write_text("mine")
    with pytest.raises(SystemExit, match="1"):
        main.run(["init", str(tmp_path)])
    assert "files would be overwritten" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["app.py"]
    assert (tmp_path / "app.py").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="1"):
        main.run(["init", str(tmp_path / "file" / "app")])
    assert "cannot be written" in capsys.readouterr().err
