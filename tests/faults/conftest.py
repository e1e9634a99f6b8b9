"""The harness forks, so it wants a process with one thread: one is started for all tests of this room, and loads what
schedules need. It forks for each program: so every program has a process of its own, and none loads everything again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_PARENT = """
import json, os, runpy, sys
from headwater.faults.world import warm
warm()
for line in sys.stdin:
    asked = json.loads(line)
    if not (child := os.fork()):
        for number, file in enumerate((os.devnull, asked["out"], asked["err"])):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.argv = asked["argv"]
        if asked["argv"][0] == "headwater":
            runpy.run_module("headwater", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(asked["argv"][0], run_name="__main__")
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Ran = tuple[int, str, str]


@pytest.fixture(scope="session")
def _ask() -> Iterator[Callable[..., str]]:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None

        def ask(**asked: Any) -> str:
            parent.stdin.write(json.dumps(asked) + "\n")
            parent.stdin.flush()
            return parent.stdout.readline()

        yield ask
        parent.stdin.close()
        assert parent.wait() == 0


@pytest.fixture
def ran(_ask: Callable[..., str], tmp_path: Path) -> Callable[..., Ran]:
    """Run a program, or `headwater`, in a process of its own; its exit code, what it printed, and what it said of errors."""

    def run(*argv: str) -> Ran:
        out, err = tmp_path / "out", tmp_path / "err"
        code = _ask(argv=argv, out=str(out), err=str(err))
        return int(code), out.read_text(), err.read_text()

    return run


@pytest.fixture
def run(ran: Callable[..., Ran], tmp_path: Path):
    """Run the command; its exit code, what it printed, and its JSON."""

    def command(*arguments: str) -> tuple[int, str, dict[str, Any]]:
        file = tmp_path / "report.json"
        code, out, err = ran("headwater", "faults", "--json", str(file), *arguments)
        assert file.exists(), err
        return code, out, json.loads(file.read_text())

    return command


@pytest.fixture
def program(ran: Callable[..., Ran], tmp_path: Path):
    """Run a program's text; what it printed."""

    def text(text: str, *arguments: str) -> str:
        file = tmp_path / "program.py"
        file.write_text(text)
        code, out, err = ran(str(file), *arguments)
        assert code == 0, err
        return out

    return text
