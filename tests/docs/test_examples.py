"""What the documents show is what happens: their Python runs, and prints what stands under it."""

from __future__ import annotations

import pytest

from .markdown import DOCS, ROOT, blocks, module, run


@pytest.mark.parametrize("document", [ROOT / "README.md", DOCS / "guide.md"], ids=lambda path: path.name)
def test_python_runs_and_prints_what_is_shown(document):
    python = [block for block in blocks(document) if block.language == "python"]
    assert python
    with module(f"document_{document.stem.lower()}") as space:
        for block in python:
            run(block, str(document.relative_to(ROOT)), space)
