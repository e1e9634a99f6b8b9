"""The whole frontier on a small history, and on a real one where it is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headwater.assess.choices import Choices
from headwater.assess.encoding import prepare
from headwater.core.errors import Fatal
from headwater.frontier import matrix
from headwater.frontier.plot import draw
from headwater.frontier.report import Row, recommend
from headwater.frontier.run import Asked, frontier, live
from headwater.frontier.scores import metrics, quality
from headwater.frontier.screen import chart
from headwater.frontier.stream import stream_of

from .conftest import ROOT, history

pytest.importorskip("lightgbm")
pytest.importorskip("river")
NAMES = {
    "no_change", "never", "always", "always_lags", "adwin", "ddm", "page_hinkley", "oracle", "planner", "periodic/2",
    "periodic/5", "periodic/10", "periodic/20", "periodic/50", "planner@0.01", "planner@0.02", "planner@0.05",
    "planner@0.1", "planner@0.2",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(module_patch):
    module_patch.setattr(matrix, "WINDOWS", (0.5, 1.0))
    module_patch.setattr(matrix, "SIZES", ((5, 4), (8, 4)))
    return frontier(history(1500, turn=700))


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_every_policy_is_there_with_its_cost(report):
    assert {row.name for row in report.policies} == NAMES
    assert report.row("always").share_of_always == pytest.approx(1.0)
    assert report.row("no_change").core_seconds == 0.0
    assert report.row("never").full_updates == 1
    assert report.row("always").full_updates > 100
    assert report.row("oracle").quality <= report.row("never").quality
    for row in report.policies:
        assert set(row.metrics) == {"log_loss", "auc", "accuracy"}
        assert np.isfinite(list(row.metrics.values())).all()


def test_it_recommends_in_one_sentence_and_goes_into_json(report):
    found = json.loads(json.dumps(report.as_json()))
    assert {"task", "rows", "policies", "recommended", "why"} <= set(found)
    assert found["recommended"] in NAMES - {"oracle"}
    assert found["why"].startswith(f"Use {found['recommended']}: its log loss is ")
    assert found["why"].count("%") == 1


def test_every_plan_says_why(report):
    assert report.plans
    for plan in report.plans:
        assert plan["action"] in {"wait", "fit", "refuse"}
        assert plan["why"].endswith(".")
        assert plan["numbers"]["cost_core_s"] > 0


def test_it_is_drawn(report, tmp_path):
    pytest.importorskip("matplotlib")

    draw(report, tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert "A " in chart(report).splitlines()[-1]
    with pytest.raises(Fatal, match="cannot be written"):
        draw(report, tmp_path / "frontier.nonsense")


def test_the_cheapest_of_those_that_are_near_the_best_is_recommended():
    def row(name, loss, core_s):
        return Row(name, {"log_loss": loss, "auc": 0.5, "accuracy": 0.5}, core_s, core_s / 10, 1, 0.0)

    rows = [row("always", 0.5, 10.0), row("oracle", 0.1, 1.0), row("planner", 0.404, 0.5), row("planner@0.1", 0.4, 1.0)]
    assert recommend(rows)[0] == "planner"
    rare = [
        row("always", 0.003, 10.0),
        row("no_change", 0.0049, 0.0),
        row("planner", 0.0008, 0.5),
        row("planner@0.1", 0.0007, 1.0),
    ]
    assert recommend(rare)[0] == "planner"  # where little is lost, all of it counts


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(Fatal, match="too little history"):
        stream_of(history(500))
    several = history(classes=("a", "b", "c"))
    several.task = "multiclass"
    with pytest.raises(Fatal, match="more than two classes") as refused:
        stream_of(several)
    assert "--yes-unless" in refused.value.next_step
    same = history()
    same.y[:] = 1.0
    with pytest.raises(Fatal, match="all labels are the same"):
        stream_of(same)
    with pytest.raises(Fatal, match="no such slow model"):
        frontier(history(), Asked(slow="xgboost"))


def test_a_real_stream_s_fast_layer_beats_no_change():
    path = Path(ROOT.parent / "shared" / "data" / "elec2.csv.gz")
    if not path.exists():
        pytest.skip("the public streams are not beside this checkout")
    stream = stream_of(prepare(path, Choices(label="label", time="ts"), rows=12_000).encoded)
    done = live(stream, 5.0)
    assert quality(metrics(stream, done.layer.fused)) < 0.7 * quality(metrics(stream, stream.rows.unchanged))
