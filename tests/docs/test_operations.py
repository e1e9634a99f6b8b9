"""The operations page against a running installation, and against the lists of what there is."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest

import headwater.cli.init
from headwater.cli.main import COMMANDS
from headwater.ingest.client import Client
from headwater.runtime import config
from headwater.runtime.declared import load_app
from headwater.runtime.settings import Settings
from headwater.runtime.supervisor import Supervisor
from headwater.telemetry.metrics import CONSUMER_TABLE, LEARNER_TABLE, TABLE

from .markdown import DOCS, blocks, module, run

PAGE = DOCS / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = "127.0.0.1:8080"


@pytest.mark.parametrize("name", config.names())
def test_every_setting_is_documented(name):
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("name", [*(spec.name for spec in TABLE), *LEARNER_TABLE, *CONSUMER_TABLE])
def test_every_metric_is_documented(name):
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command):
    assert f"`headwater {command}`" in TEXT


@pytest.fixture
def installation(tmp_path):
    """The app that `headwater init` writes, running."""
    headwater.cli.init.init(tmp_path / "orders")
    spec = tmp_path / "orders" / "app.py"
    settings = Settings(state_dir=tmp_path / "state", server={"port": 0}, logging={"level": "error"})
    with Supervisor(load_app(spec), str(spec), settings) as supervisor:
        yield supervisor
    for child in supervisor.children.values():
        child.process.stdout.close()


def alike(shown, got):
    """Equal but for fractions, which are shown as an example: those need only be numbers."""
    if isinstance(shown, float):
        return isinstance(got, float)
    if isinstance(shown, dict):
        return isinstance(got, dict) and shown.keys() == got.keys() and all(alike(v, got[k]) for k, v in shown.items())
    if isinstance(shown, list):
        return isinstance(got, list) and len(shown) == len(got) and all(map(alike, shown, got))
    return shown == got


def learnt(url):
    """Wait until everything sent so far is learnt: the page's examples follow one another."""
    with Client(url) as client:
        for _ in range(200):
            if client.get("/readyz")["age_events"] == 0:
                return
            time.sleep(0.05)
    raise AssertionError("the learner does not catch up")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's examples use curl")
def test_the_examples_of_the_http_api_do_what_is_shown(installation):
    here = installation.url.removeprefix("http://")
    now_and_then = {"next", "previous", "stopped", "keys.json", "planning"}  # an app is changed, nothing runs, keys, refits
    assert {path.name for path in installation.settings.state_dir.iterdir()} == documented_files() - now_and_then
    with module("operations") as space:
        shown = blocks(PAGE)
        for i, block in enumerate(shown):
            learnt(installation.url)
            if block.language == "python":
                run(block, "docs/operations.md", space, {SHOWN: here})
            elif block.language == "sh" and block.code.startswith("curl"):
                said = subprocess.run(
                    ["bash", "-ec", block.code.replace(SHOWN, here)], capture_output=True, text=True, check=True
                )
                assert alike(json.loads(shown[i + 1].code), json.loads(said.stdout)), said.stdout


def documented_files():
    section = TEXT.split("## The state directory")[1].split("\n## ")[0]
    names = [cell for row in section.splitlines() if row.startswith("| `") for cell in row.split("|")[1].split(",")]
    return {name.strip(" `/") for name in names}
