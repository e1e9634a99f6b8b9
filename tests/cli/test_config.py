from __future__ import annotations

import pytest

from headwater.cli import main
from headwater.runtime import config


def test_every_setting_is_explained(done):
    out = done("config", "explain")
    for name in config.names():
        assert name in out


def test_where_a_value_came_from(done, tmp_path, monkeypatch):
    file = tmp_path / "headwater.toml"
    file.write_text("[server]\nport = 9000\n")
    monkeypatch.setenv("HEADWATER_SERVER_HOST", "::1")
    found = {s["name"]: s for s in done("config", "explain", "--config", file, "--state", "here", "--json")}
    assert (found["server.port"]["value"], found["server.port"]["source"]) == (9000, f"{file}:2")
    assert found["server.host"]["source"] == "environment HEADWATER_SERVER_HOST"
    assert (found["state_dir"]["value"], found["state_dir"]["source"]) == ("here", "command line")
    assert len(done("config", "explain", "server.port", "--json")) == 1


def test_the_file_in_this_folder_is_found(done, tmp_path, monkeypatch):
    (tmp_path / "headwater.toml").write_text("[server]\nport = 9000\n")
    monkeypatch.chdir(tmp_path)
    assert done("config", "explain", "server.port", "--json")[0]["value"] == 9000


def test_an_unknown_setting_gets_the_nearest(capsys):
    with pytest.raises(SystemExit, match="1"):
        main.run(["config", "explain", "server.prot"])
    assert "Did you mean server.port" in capsys.readouterr().err
