"""The harness forks, so it wants a process with one thread: the command is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(tmp_path: Path):
    """Run the command; its exit code, what it printed, and its JSON."""

    def ran(*arguments: str) -> tuple[int, str, dict[str, Any]]:
        file = tmp_path / "report.json"
        command = [sys.executable, "-m", "headwater", "faults", "--json", str(file), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert file.exists(), done.stderr
        return done.returncode, done.stdout, json.loads(file.read_text())

    return ran


@pytest.fixture
def program(tmp_path: Path):
    """Run a program in a process of its own; what it printed."""

    def ran(text: str, *arguments: str) -> str:
        file = tmp_path / "program.py"
        file.write_text(text)
        done = subprocess.run([sys.executable, str(file), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return ran
