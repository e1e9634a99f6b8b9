from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import typer.main

from headwater.cli import main
from headwater.registry import Catalog, Version


@pytest.fixture(autouse=True)
def _as_in_a_pipe(monkeypatch):
    """The output is no terminal and has no width, also in a worker process that was told one."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _one_program():
    """The tree of all commands is made once, and not for each command that a test runs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(main, "build", functools.cache(main.build))
        patched.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def done(capsys):
    """Run a command that must succeed; gives its output, parsed where --json asks for it."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert left.value.code == 0, captured.err
        return json.loads(captured.out) if "--json" in arguments else captured.out

    return call


@pytest.fixture
def state(tmp_path):
    """A state directory with two versions of one line."""
    with Catalog(tmp_path / "state" / "registry") as catalog:
        for i, weights in enumerate(([3.0, 4.0], [3.0, 5.0])):
            sha256 = catalog.artifacts.put({"weights": np.array(weights)}, {"learner": "linear"})
            parent = f"late@{100 * i}" if i else None
            recipe, metrics = {"code": "c0de", "parameters": {"step": 0.1 * (i + 1)}}, {"log_loss": 0.5 - i / 10}
            catalog.register(
                Version("late", 100 * (i + 1), sha256, 86_400_000 * i, "midnight", recipe, parent, 0, metrics, 1.5)
            )
    return tmp_path / "state"
