"""An edit to a kernel's callee in another file is seen, although numba's own cache would not see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import headwater

CALLER = """
from headwater.core.compiled import kernel
from headwater.core.callee import step


@kernel
def run(x: float) -> float:
    return step(x) * 10.0
"""
CALLEE = """
from headwater.core.compiled import inline


@inline
def step(x: float) -> float:
    return x + {}
"""
ASK = "from headwater.core.caller import run; print(run(1.0), sum(run.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path):
    """A copy of what kernels need, with a kernel in one file and its callee in another."""
    core = tmp_path / "headwater" / "core"
    core.mkdir(parents=True)
    (core.parent / "__init__.py").touch()
    (core / "__init__.py").touch()
    shutil.copy(Path(headwater.__file__).parent / "core" / "compiled.py", core)
    (core / "caller.py").write_text(CALLER)
    (core / "callee.py").write_text(CALLEE.format(1.0))
    return tmp_path


def ask(package):
    environment = {
        **os.environ,
        "PYTHONPATH": str(package),
        "XDG_CACHE_HOME": str(package / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, cwd=package, capture_output=True, text=True, check=True)
    value, hits = done.stdout.split()
    return float(value), int(hits)


def test_an_edited_callee_in_another_file_changes_the_result(package):
    callee, other = (package / "headwater" / "core" / name for name in ("callee.py", "__init__.py"))
    assert ask(package) == (20.0, 0)
    callee.write_text(CALLEE.format(2.0))
    assert ask(package) == (30.0, 0)
    callee.write_text(CALLEE.format(1.0))
    other.write_text('"""Nothing compiled here: this edit does not matter."""\n')
    assert ask(package) == (20.0, 1)  # from the cache, which works at all
