"""A profile charges every stage what it took, and counts every event once."""

from __future__ import annotations

import json

import pytest

from headwater.cli import main
from headwater.runtime import profiling
from headwater.runtime.checkpointing import Checkpointer
from headwater.runtime.profiling import STAGES, Pace, profile
from headwater.runtime.publishing import Publisher
from headwater.runtime.replay import replay

from .conftest import events, write_lines


@pytest.fixture
def mixed(tmp_path):
    return write_lines(tmp_path / "mixed.jsonl", events(400))


class _Clock:
    """Moves a millisecond at each look, and as far as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self):
        self.now += 0.001
        return self.now


def test_each_stage_is_charged_what_it_took(app, mixed, monkeypatch):
    clock, save, publish = _Clock(), Checkpointer.save, Publisher.publish

    def slow_save(self):
        clock.now += 700.0
        return save(self)

    def slow_publish(self):
        clock.now += 30.0
        return publish(self)

    monkeypatch.setattr(profiling, "time", clock)
    monkeypatch.setattr(Checkpointer, "save", slow_save)
    monkeypatch.setattr(Publisher, "publish", slow_publish)
    done = profile(app, {}, mixed=[mixed], pace=Pace(batch=100, checkpoint_events=250))
    assert done.saves >= 2
    assert done.publishes >= 4
    assert done.seconds["checkpoint"] == pytest.approx(700.0 * done.saves, abs=1.0)
    assert done.seconds["publish"] == pytest.approx(30.0 * done.publishes, abs=1.0)
    assert all(done.seconds[stage] < 10.0 for stage in STAGES if stage not in ("checkpoint", "publish"))


def test_every_event_is_counted_and_the_shares_are_a_whole(app, mixed):
    report = profile(app, {}, mixed=[mixed], pace=Pace(batch=64)).report()
    assert report["events"] == replay(app, {}, mixed=[mixed]).events
    assert tuple(report["stages"]) == STAGES
    assert sum(stage["share"] for stage in report["stages"].values()) == pytest.approx(1.0)
    assert sum(stage["us_per_event"] for stage in report["stages"].values()) == pytest.approx(report["us_per_event"])
    for stage in ("decode", "store", "features", "score", "metric", "learn", "checkpoint", "publish"):
        assert report["stages"][stage]["us_per_event"] > 0, stage


def test_a_file_without_a_good_event_is_an_empty_profile(app, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"stream": "departure"}\n')
    assert profile(app, {}, mixed=[tmp_path / "bad.jsonl"]).report()["events"] == 0


def test_the_command_prints_and_writes_it(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main.run(["init", str(tmp_path / "orders")])
    monkeypatch.chdir(tmp_path / "orders")
    with pytest.raises(SystemExit) as left:
        main.run(["profile", "app.py", "--input", "sample.jsonl", "--json", "profile.json"])
    out = capsys.readouterr().out
    assert not left.value.code, out
    report = json.loads((tmp_path / "orders" / "profile.json").read_text())
    assert f"{report['events']:,} events" in out
    assert all(stage in out for stage in STAGES)
