from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.core.errors import ConfigError
from headwater.runtime import config
from headwater.runtime.guarding import guarding, token_of
from headwater.runtime.settings import Settings
from headwater.serving.keys import KeyFile
from headwater.serving.scopes import EVERYTHING, NOTHING, parse


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in config.names():
        monkeypatch.delenv(config.variable_of(name), raising=False)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "headwater.toml"
        path.write_text(text)
        return path

    return write


def setting(loaded, name):
    return next(s for s in loaded.explain() if s.name == name)


def test_without_file_or_environment_everything_is_a_default():
    loaded = config.load()
    assert {s.source for s in loaded.explain()} == {"default"}
    assert loaded.settings.model_dump() == Settings().model_dump()
    assert loaded.settings.log.dedupe_for_ms == 7 * 86_400_000
    assert loaded.settings.log.retention_age_ms is None


def test_the_command_line_wins_over_the_environment_over_the_file(file, monkeypatch):
    path = file('[server]\nhost = "::1"\nport = 1\nmax_event_bytes = 2\n')
    monkeypatch.setenv("HEADWATER_SERVER_PORT", "2")
    monkeypatch.setenv("HEADWATER_SERVER_MAX_EVENT_BYTES", "3")
    loaded = config.load(path, {"server.max_event_bytes": 4, "server.linger_ms": None})
    server = loaded.settings.server
    assert (server.host, server.port, server.max_event_bytes, server.max_body_bytes) == ("::1", 2, 4, 64 << 20)
    keys = ("host", "port", "max_event_bytes", "max_body_bytes", "linger_ms")
    sources = [setting(loaded, f"server.{key}").source for key in keys]
    assert sources == [f"{path}:2", "environment HEADWATER_SERVER_PORT", "command line", "default", "default"]


_ANY = {
    "log.url": "lmdb:///x",
    "log.retention_age": "3h",
    "log.retention_bytes": 5,
    "server.token_file": Path("t"),
    "server.hosts": "events.example.org",
}


def test_every_setting_can_be_set_from_each_place(file, monkeypatch):
    loaded = config.load()
    for s in loaded.explain():
        value = _ANY.get(s.name, s.value)
        assert setting(config.load(None, {s.name: value}), s.name).source == "command line"
        with monkeypatch.context() as patched:
            patched.setenv(s.variable, str(value))
            found = setting(config.load(), s.name)
            assert (found.value, found.source) == (value, f"environment {s.variable}")
        section, _, key = s.name.rpartition(".")
        text = json.dumps(value) if isinstance(value, int | float) else f'"{value}"'
        path = file(f"[{section}]\n{key} = {text}\n" if section else f"{key} = {text}\n")
        assert setting(config.load(path), s.name).source == f"{path}:{2 if section else 1}"


def test_every_setting_says_what_it_is_for_and_what_none_means():
    for s in config.load().explain():
        assert len(s.purpose.split()) > 5, s.name
        if s.value is None:
            assert "None means" in s.purpose, s.name
        for suffix, unit in {"_ms": "milliseconds", "_s": "seconds", "_bytes": "bytes"}.items():
            assert not s.name.endswith(suffix) or unit in s.purpose, s.name


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[server]\nprot = 1\n", 2, "no such setting; got server.prot. Did you mean server.port"),
        ("port = 1\n", 1, "no such setting; got port. Did you mean server.port"),
        ("[serve]\nport = 1\n", 2, "Did you mean server.port"),
        ("[foo]\n", 1, "no such setting; got foo. Known: learner.checkpoint_every_events"),
        ("server = 3\n", 1, "no such setting; got server"),
        ("[[server]]\nport = 3\n", 1, "no such setting; got server"),
        ("\n[server]\nport = 99999\n", 3, "wrong value for server.port; expected less than or equal to 65535; got 99999"),
        (
            "[log]\nretention_age = 'soon'\n",
            2,
            "log.retention_age; expected a duration like 250ms, 3h or 7d; got 'soon'",
        ),
        ("[logging]\nformat = 'jsn'\n", 2, "expected 'console' or 'json'; got 'jsn'"),
        ("[learner]\ncheckpoint_every_s = inf\n", 2, "finite"),
        ("[server.port]\nx = 1\n", 1, "wrong value for server.port"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(file, text, line, message):
    path = file(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe", b"x = 1\nx = 2\n"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    path = tmp_path / "headwater.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot be read.*expected a TOML file"):
        config.load(path)


def test_an_unknown_variable_is_an_error_naming_the_nearest(monkeypatch):
    monkeypatch.setenv("HEADWATER_SERVER_PRT", "1")
    with pytest.raises(ConfigError, match=r"environment HEADWATER_SERVER_PRT.*Did you mean HEADWATER_SERVER_PORT"):
        config.load()


def test_a_wrong_value_in_the_environment_names_the_variable(monkeypatch):
    monkeypatch.setenv("HEADWATER_SERVER_PORT", "abc")
    with pytest.raises(ConfigError, match=r"^environment HEADWATER_SERVER_PORT: wrong value for server\.port"):
        config.load()


def test_an_unknown_name_from_the_command_line_is_an_error():
    with pytest.raises(ConfigError, match=r"^command line: no such setting; got server\.prt"):
        config.load(None, {"server.prt": 1})


def test_the_environment_can_take_back_what_the_file_set(file, monkeypatch):
    monkeypatch.setenv("HEADWATER_LOG_RETENTION_AGE", "none")
    monkeypatch.setenv("HEADWATER_LOG_URL", "")  # empty: as if it were not there
    loaded = config.load(file("[log]\nretention_age = '3h'\nurl = 'lmdb:///x'\n"))
    assert loaded.settings.log.retention_age is None
    assert loaded.settings.log.url == "lmdb:///x"


def test_a_relative_state_folder_counts_from_the_file(file, tmp_path, monkeypatch):
    path = file("state_dir = 'state'\n")
    monkeypatch.chdir("/")
    assert config.load(path).settings.state_dir == tmp_path / "state"
    assert config.load(path, {"state_dir": "here"}).settings.state_dir.as_posix() == "here"


def test_the_file_beside_the_app_is_found(file, tmp_path):
    assert config.find(tmp_path / "app.py", None) is None
    path = file("")
    assert config.find(tmp_path / "app.py", None) == path
    with pytest.raises(ConfigError, match="there is no such file"):
        config.find(tmp_path / "app.py", tmp_path / "other.toml")


def test_where_things_lie(tmp_path):
    settings = config.load(None, {"state_dir": tmp_path / "a b"}).settings
    assert settings.log_url == f"lmdb://{tmp_path}/a%20b/log"
    assert settings.registry_dir == tmp_path / "a b" / "registry"
    assert config.load(None, {"log.url": "memory://"}).settings.log_url == "memory://"


def test_an_address_that_others_can_reach_needs_a_key_or_a_token(file, tmp_path):
    open_to_all = config.load(file('[server]\nhost = "0.0.0.0"\n'), {"state_dir": tmp_path / "state"}).settings
    with pytest.raises(ConfigError, match="can be reached by other machines, and there is no key"):
        guarding(open_to_all)
    keys = KeyFile(tmp_path / "state")
    keys.add("till", parse("ingest", where=""))
    assert guarding(open_to_all).anonymous == NOTHING
    keys.revoke("till")
    with pytest.raises(ConfigError, match="there is no key"):
        guarding(open_to_all)
    secret = tmp_path / "token"
    secret.write_text("x" * 19)
    loaded = config.load(file(f'[server]\nhost = "0.0.0.0"\ntoken_file = "{secret}"\n')).settings
    with pytest.raises(ConfigError, match="too short"):
        token_of(loaded.server.token_file)
    secret.write_text("x" * 20 + "\n")
    assert token_of(loaded.server.token_file) == "x" * 20
    assert guarding(loaded).anonymous == NOTHING
    with pytest.raises(ConfigError, match="cannot be read"):
        token_of(tmp_path / "nowhere")


def test_callers_without_a_key_may_do_what_the_setting_says(file, tmp_path):
    here = {"state_dir": tmp_path / "state"}
    assert guarding(config.load(None, here).settings).anonymous == EVERYTHING
    asked = config.load(file('[server]\nwithout_key = "predict"\n'), here).settings
    assert guarding(asked).anonymous == {"predict"}
    assert guarding(config.load(file('[server]\nwithout_key = "nothing"\n'), here).settings).anonymous == NOTHING
    with pytest.raises(ConfigError, match=r"server\.without_key.*all, nothing"):
        config.load(file('[server]\nwithout_key = "root"\n'))
