"""The real streams: their kinds, their leaks, and ladders near those that were measured by others.

The expected figures are of another linear learner, in another program: they say which rung is how good, not which bits.
"""

from __future__ import annotations

import pytest

from headwater.assess.assessment import assess
from headwater.assess.choices import Choices
from headwater.assess.declaration import declare
from headwater.assess.events import write_events
from headwater.core.batch import Frame, column
from headwater.core.clock import VirtualClock
from headwater.runtime.declared import load_app
from headwater.runtime.publishing import Publisher
from headwater.runtime.replay import replay
from headwater.runtime.served import served
from headwater.serving.answerer import ViewAnswerer
from headwater.serving.protocol import Question
from headwater.store.memory_view import MemoryView

RUNGS = ("every_event", "1%", "5%", "frozen")
MEASURED = {
    "elec2": ("auc", (0.852, 0.834, 0.814, 0.775), 0.02),
    "flights13": ("auc", (0.749, 0.715, 0.687, 0.666), 0.02),
    "pm25": ("mae", (49.3, 58.8, 70.5, 99.5), 5.0),
    "llm_routing": ("auc", (0.695, 0.670, 0.596, 0.574), 0.05),
}


@pytest.fixture(scope="module")
def found(streams):
    made = {}

    def look(name, **options):
        if name not in made:
            choices = Choices("label", "ts", "label_ts" if name == "flights13" else None)
            made[name] = assess(streams / f"{name}.csv.gz", choices, **options).report()
        return made[name]

    return look


@pytest.mark.parametrize("name", MEASURED)
def test_ladders(found, name):
    measure, expected, near = MEASURED[name]
    ladder = found(name)["ladder"]
    assert [ladder[rung][measure] for rung in RUNGS] == pytest.approx(expected, abs=near)


def test_leaks(found):
    leaks = {name: found(name)["suspected_leaks"] for name in MEASURED}
    assert leaks == {"elec2": [], "flights13": ["arr_delay"], "pm25": [], "llm_routing": ["strong_correct"]}


def test_kinds(found):
    flights = found("flights13")["columns"]
    assert {name for name, kind in flights.items() if kind == "category"} == {"carrier", "flight", "tailnum", "origin", "dest"}
    assert (flights["ts"], flights["label_ts"], flights["label"], flights["distance"]) == (
        "time",
        "label_time",
        "label",
        "number",
    )
    assert found("flights13")["why"]["flight"] == "integers named like ids"
    assert found("llm_routing")["columns"]["prompt"] == "text"
    assert set(found("elec2")["columns"].values()) == {"time", "number", "label"}


def test_several_classes_and_rare_clicks(found):
    """The first 60,000 connections of the file hold ten classes; the full run's figures stand in docs/assess.md."""
    connections = found("kdd99", rows=60_000)
    assert connections["task"] == "multiclass"
    assert connections["suspected_leaks"] == []
    assert connections["ladder"]["every_event"]["log_loss"] < 0.02 < connections["ladder"]["frozen"]["log_loss"]
    assert found("obd")["suspected_leaks"] == []
    assert "next to nothing" in found("obd")["verdict"]


def test_the_app_of_several_classes_learns_and_serves(streams, tmp_path):
    """Connections, 20,000 of them: written as an app, replayed to the ladder's scores, and asked."""
    found = assess(streams / "kdd99.csv.gz", Choices("label", "ts"), rows=20_000)
    (tmp_path / "app.py").write_text(declare(found))
    app = load_app(tmp_path / "app.py")
    done = replay(app, write_events(found, tmp_path / "events"))
    live = done.fold.metrics()["outcome"]["overall"]["live"]
    assert live["n"] == 20_000
    assert live["accuracy"] > 0.98
    view = MemoryView()
    Publisher(done.fold, view, VirtualClock(), resume=False).publish()
    answerer = ViewAnswerer(app.plan, served(app), view, app.fingerprint())
    schema = app.models["outcome"].schema
    fields = {f.name: column(f, [7 if f.name == "case_id" else None]) for f in schema.fields}
    said = answerer.answer("outcome", Question(Frame(1, fields), frozenset(fields))).classes
    assert said is not None
    assert set(said.names) == {one["label"] for one in done.fold.metrics()["outcome"]["classes"]}
    assert 0.5 < said.probabilities.sum() <= 1.0
