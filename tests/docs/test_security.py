"""What SECURITY.md claims is held by a test, and the one claim about all of the source is tested here."""

from __future__ import annotations

import ast
import re

import pytest

from .markdown import ROOT

CLAIMED = re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch", "yaml"}
RIVER = ROOT / "src/headwater/learning/river.py"  # its models have no other form; see SECURITY.md
CALLS = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("name", CLAIMED)
def test_every_test_that_it_names_exists(name):
    assert any(f"def {name}(" in path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def test_nothing_here_can_run_data():
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            imported |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            if path != RIVER:
                assert not {name.split(".")[0] for name in imported} & MODULES, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in CALLS, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", path
