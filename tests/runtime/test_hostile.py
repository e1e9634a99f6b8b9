"""Nothing that somebody puts in a model's place is opened: offered everywhere, refused everywhere, and nothing unpickled."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from . import hostile

SOME = ("verify", "export", "diff")
DOORS = ("parser", "show", "forged")


@pytest.fixture(scope="module")
def offered(tmp_path_factory):
    """A process of its own: what is heard of Python's audit events cannot be unheard."""
    folder = tmp_path_factory.mktemp("hostile")
    done = subprocess.run([sys.executable, hostile.__file__, str(folder / "here")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_corpus_is_large(offered):
    assert offered["files"] >= 50


def test_no_hostile_file_is_taken_anywhere(offered):
    assert offered["taken"] == []
    assert {door: offered["refused"][door] for door in DOORS} == dict.fromkeys(DOORS, offered["files"])
    assert {door: offered["refused"][door] for door in SOME} == dict.fromkeys(SOME, offered["files"] // hostile.SOME)
    assert offered["refused"]["gateway"] == offered["refused"]["learner"] == 2 * offered["files"]


def test_nothing_is_unpickled_in_the_gateway_and_on_the_command_line(offered):
    assert offered["unpickled"] == 0


def test_no_hostile_file_leaves_anything_behind(offered):
    assert offered["left"] == []


def test_the_corpus_does_what_it_says_where_somebody_is_careless(tmp_path):
    """The files are live: a plain unpickler runs them."""
    for name, data in hostile.gadgets(tmp_path):
        if name in {"an object array", "cut short after its call"}:
            continue
        pickle.loads(data)
        marker = Path(tmp_path / hostile.MARKER)
        assert marker.exists(), name
        marker.rmdir()
