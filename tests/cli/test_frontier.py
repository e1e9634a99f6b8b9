"""`headwater frontier` as it is typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from headwater.cli.main import build
from headwater.core.errors import Fatal
from headwater.frontier import matrix

pytest.importorskip("lightgbm")
pytest.importorskip("river")


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["at,a,b,what"]
    for i in range(1200):
        a, b = rng.normal(size=2)
        rows.append(f"2024-01-01T{i // 60:02d}:{i % 60:02d}:00,{a:.4f},{b:.4f},{'good' if a * b > 0 else 'bad'}")
    path = tmp_path / "history.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_it_prints_a_table_a_chart_and_a_sentence_and_writes_json(file, tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "WINDOWS", (1.0,))
    monkeypatch.setattr(matrix, "SIZES", ((4, 4),))
    out = tmp_path / "out.json"
    asked = ["--methods", "steps,window,full", "--change", "600", "--judged-from", "0.25", "--json", str(out)]
    done = CliRunner().invoke(build(), ["frontier", str(file), "--label", "what", "--time", "at", *asked])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert (report["task"], report["rows"]) == ("binary", 1200)
    assert report["why"] in done.output
    assert "of always' core-seconds" in done.output
    assert "of 1 known changes the loss came back to its level" in done.output
    assert [each["row"] for each in report["recovery"]] == [600]
    assert {"name", "metrics", "core_seconds", "share_of_always", "full_updates", "lag_ms"} == set(report["policies"][0])


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--methods", "prayer", "steps, window, full"),
        ("--judged-from", "1.5", "0.05 .. 1"),
        ("--change", "9999", "rows 1 .. 1199"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_fitted(file, option, value, reason):
    done = CliRunner().invoke(build(), ["frontier", str(file), "--label", "what", "--time", "at", option, value])
    assert isinstance(done.exception, Fatal)
    assert reason in str(done.exception)


def test_an_unknown_column_is_refused(file):
    done = CliRunner().invoke(build(), ["frontier", str(file), "--label", "wat", "--time", "at"])
    assert isinstance(done.exception, Fatal)
    assert "what" in done.exception.next_step
