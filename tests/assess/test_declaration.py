"""The app that is written runs, is typed, and repeats what the ladder measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import headwater
from headwater.assess.assessment import assess
from headwater.assess.choices import Choices
from headwater.assess.declaration import declare
from headwater.assess.events import write_events
from headwater.assess.ladder import climb
from headwater.evaluation import prequential as p
from headwater.evaluation.metrics import exact_auc
from headwater.runtime.declared import load_app
from headwater.runtime.replay import replay
from headwater.testing import LocalRun

from .conftest import drifting, moments, save

N = 2000


def written(tmp_path, table, choices):
    """Assess, write and replay; gives the assessment, the app and every judged row."""
    found = assess(save(tmp_path / "table.csv", table), choices)
    (tmp_path / "app.py").write_text(declare(found))
    files = write_events(found, tmp_path / "events")
    app, judged = load_app(tmp_path / "app.py"), []
    done = replay(app, files, on_effects=lambda effects: judged.extend(effects.judged["outcome"]))
    assert done.counts["applied"] == done.counts["in"]
    return found, app, done, np.concatenate(judged)


def rich(late):
    """Every kind of column, odd names, missing cells, and labels that come at once or late and out of order."""
    rng = np.random.default_rng(2)
    table = drifting(N)
    words = np.array(["late", "broken", "fine", "good", "soon", "never", "again", "here"])
    table["x"] = ["" if rng.random() < 0.1 else x for x in table["x"]]
    remarks = [" ".join(rng.choice(words, 5)) + f" {i}" for i in range(N)]
    table |= {"user id": rng.integers(0, 30, N).tolist(), "class": table.pop("shop"), "remark": remarks, "id": range(N)}
    if late:
        all_moments = moments(N + 300)
        table["known"] = [all_moments[i + int(d)] for i, d in enumerate(rng.integers(1, 300, N))]
    return table


@pytest.mark.parametrize("late", [False, True])
def test_the_replay_of_the_app_is_the_first_rung(tmp_path, late):
    choices = Choices("label", "ts", "known" if late else None, drop=("id",))
    found, _, done, judged = written(tmp_path, rich(late), choices)
    assert found.prepared.encoded.texts == ("remark",)
    climbed = climb(found.prepared.encoded, spec=found.spec)
    order = np.argsort(found.prepared.encoded.known_ms, kind="stable") if late else np.arange(N)
    live, frozen = judged[:, p.J_SCORES], judged[:, p.J_SCORES + 1]
    np.testing.assert_allclose(live, climbed.said[order, 0], rtol=0, atol=1e-9)
    after = np.isin(order, np.arange(N // 5, N))
    np.testing.assert_allclose(frozen[after], climbed.said[order, 3][after], rtol=0, atol=1e-9)
    assert exact_auc(found.prepared.encoded.y[order][after], live[after]) == pytest.approx(
        found.ladder["every_event"]["auc"], abs=1e-9
    )
    assert done.fold.metrics()["outcome"]["questions"]["labelled"] == N


def test_last_labels_are_features_where_no_change_beats_the_ladder(tmp_path):
    table = drifting(N)
    table["label"] = ["up" if (i // 60) % 2 else "down" for i in range(N)]
    found, app, done, _ = written(tmp_path, table, Choices("label", "ts", key="shop"))
    assert found.but
    assert "hw.last(Outcome.label == 'up', by=Outcome.shop, at=Case.shop, n=3)" in (tmp_path / "app.py").read_text()
    assert len(app.models["outcome"].numbers) == 2 + 3 + 1
    overall = done.fold.metrics()["outcome"]["overall"]
    assert overall["live"]["accuracy"] > found.ladder["every_event"]["accuracy"]


@pytest.mark.parametrize(("late", "numbered"), [(False, False), (True, True)])
def test_several_classes_become_a_softmax_whose_replay_is_the_first_rung(tmp_path, late, numbered):
    """Classes depend on x and on the shop, and one comes up half way; of numbers the field is an int."""
    table, rng = rich(late), np.random.default_rng(9)
    x = np.array([float(v or 0) for v in table["x"]])
    kinds = np.where(x > 0.8, "high", np.where(x < -0.8, "low", np.where(np.arange(N) > N // 2, "new one", "mid")))
    kinds[rng.random(N) < 0.1] = "(odd) 'name'"
    names = list(dict.fromkeys(kinds.tolist()))
    table["label"] = [names.index(kind) for kind in kinds] if numbered else kinds.tolist()
    choices = Choices("label", "ts", "known" if late else None, drop=("id",))
    found, app, done, judged = written(tmp_path, table, choices)
    assert found.task == "multiclass"
    text = (tmp_path / "app.py").read_text()
    assert "learner=hw.Softmax(classes=16, " in text
    assert f"label: hw.Field[{'int' if numbered else 'str'}]" in text
    order = np.argsort(found.prepared.encoded.known_ms, kind="stable") if late else np.arange(N)
    climbed = climb(found.prepared.encoded, spec=found.spec)
    live, frozen = judged[:, p.J_SCORES], judged[:, p.J_SCORES + 1]
    np.testing.assert_allclose(live, climbed.said[order, 0], rtol=0, atol=1e-9)
    after = np.isin(order, np.arange(N // 5, N))
    np.testing.assert_allclose(frozen[after], climbed.said[order, 3][after], rtol=0, atol=1e-9)
    assert -np.log(live[after]).mean() == pytest.approx(found.ladder["every_event"]["log_loss"], abs=1e-9)
    report = done.fold.metrics()["outcome"]
    assert {one["label"]: one["labels"] for one in report["classes"]} == dict(Counter(map(str, table["label"])))
    run = LocalRun(app)
    run.control("begun")
    assert run.predict("outcome", case_id=1, x=0.5)["predictions"][0]["label"] is None


def test_what_classes_were_lately_are_features_where_no_change_beats_the_ladder(tmp_path):
    table = drifting(N)
    table["label"] = [("up", "down", "flat")[(i // 60) % 3] for i in range(N)]
    found, _, done, _ = written(tmp_path, table, Choices("label", "ts"))
    assert found.but
    assert "hw.mean(Outcome.label == 'up', half_life=" in (tmp_path / "app.py").read_text()
    overall = done.fold.metrics()["outcome"]["overall"]
    assert overall["live"]["accuracy"] > found.ladder["every_event"]["accuracy"]


def test_numbers_in_their_own_unit_with_long_gaps(tmp_path):
    table = drifting(N)
    rng = np.random.default_rng(4)
    table["label"] = [5000 + 300 * float(x) + 50 * rng.normal() for x in table["x"]]
    table["ts"] = [f"20{10 + i // 200}-0{1 + i % 200 // 100}-01T{i % 100 // 5:02d}:{i % 5:02d}:00" for i in range(N)]
    found, _, done, judged = written(tmp_path, table, Choices("label", "ts"))
    after = judged[N // 5 :]
    mae = np.abs(after[:, p.J_SCORES] - after[:, p.J_LABEL]).mean()
    assert mae == pytest.approx(found.ladder["every_event"]["mae"], abs=1e-6)
    assert done.report()["quarantined_by_reason"] == {}


def test_the_file_is_typed_and_answers(tmp_path):
    found, app, _, _ = written(tmp_path, rich(late=True), Choices("label", "ts", "known", key="user id"))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "app.py")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=_here())
    assert checked.returncode == 0, checked.stdout
    run = LocalRun(app)
    run.control("begun")
    answer = run.predict("outcome", case_id=1, x=0.5, noise=None, user_id=3, class_="shop-1", remark="broken again")
    assert answer["predictions"][0]["score"] == pytest.approx(0.5)
    assert found.choices.key == "user id"


def _here():
    source = str(Path(headwater.__file__).parents[1])
    return {**os.environ, "MYPYPATH": source, "PYTHONPATH": source}
