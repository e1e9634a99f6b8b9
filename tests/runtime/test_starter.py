"""What `headwater init` writes, taken the whole way that its README describes; its own test runs in tests/cli/test_init.py."""

from __future__ import annotations

import json

import pytest

from headwater.cli import main
from headwater.cli.init import sample

from .conftest import Command, learnt, log_end


@pytest.fixture
def hw(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert not left.value.code, captured.out + captured.err
        return captured.out

    return call


def test_the_starter_is_judged_served_fed_exported_and_judged_again(hw, tmp_path, monkeypatch):
    hw("init", tmp_path / "orders")
    monkeypatch.chdir(tmp_path / "orders")
    judged = json.loads(hw("replay", "app.py", "--input", "sample.jsonl", "--json", "-"))
    overall = judged["metrics"]["late"]["overall"]
    assert overall["live"]["log_loss"] < overall["no_change"]["log_loss"] - 0.1
    run = Command(tmp_path / "orders" / ".headwater", tmp_path / "orders" / "app.py")
    try:
        run.start()
        assert f"{len(sample()):,} stored" in hw("send", "sample.jsonl")
        learnt(run.url, log_end(run.state))
        assert "late has learnt every event" in hw("status")
        answer = hw("predict", "late", "order_id=17", "shop=shop-3", "courier=courier-1", "distance_km=4.2", "--no-record")
        assert f"late@{len(sample())}" in answer
        hw("streams", "export", "history")
        newest = json.loads(hw("versions", "late", "--json"))[-1]
        assert "is the same" in hw("rebuild", newest["name"], "app.py")
    finally:
        run.kill()
    files = [f"{stream}=history/{stream}.parquet" for stream in ("order", "delivery")]
    again = json.loads(hw("replay", "app.py", "--input", files[0], "--input", files[1], "--json", "-"))
    assert again["state_hash"] == judged["state_hash"]
