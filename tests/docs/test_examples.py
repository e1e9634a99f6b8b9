"""What the documents show is what happens: their Python runs, and prints what stands under it."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pytest

from .markdown import DOCS, ROOT, Block, blocks

DOCUMENTS = [ROOT / "README.md", DOCS / "guide.md"]


@contextmanager
def _module(name: str) -> Iterator[dict[str, object]]:
    """A namespace that classes can be declared in: their annotations are looked up in `sys.modules`."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        yield vars(module)
    finally:
        del sys.modules[name]


def run(block: Block, where: str, space: dict[str, object], **replaced: str) -> None:
    """Run one block; lines are those of the document, so that a traceback leads there."""
    code = "\n" * (block.line - 1) + block.code
    for old, new in replaced.items():
        code = code.replace(old, new)
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, where, "exec"), space)
    if block.printed is not None:
        assert out.getvalue() == block.printed, f"{where}:{block.line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_runs_and_prints_what_is_shown(document):
    with _module(f"document_{document.stem}") as space:
        for block in blocks(document):
            if block.language == "python":
                run(block, str(document.relative_to(ROOT)), space)
