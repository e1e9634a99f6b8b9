"""The code blocks of a document: found, run, held against what the document says that they print."""

from __future__ import annotations

import io
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int  # of its first line in the document
    printed: str | None  # the `text` block right after it, if there is one


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(text))
    out = []
    for i, match in enumerate(found):
        after = found[i + 1] if i + 1 < len(found) else None
        follows = after is not None and after[1] == "text" and not text[match.end() : after.start()].strip()
        printed = after[2] if follows and after else None
        out.append(Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1, printed))
    return out


def prose(text: str) -> str:
    """A document without its code blocks."""
    return _BLOCK.sub("", text)


@contextmanager
def module(name: str) -> Iterator[dict[str, Any]]:
    """A namespace to declare classes in: their annotations are looked up in `sys.modules`."""
    made = types.ModuleType(name)
    sys.modules[name] = made
    try:
        yield vars(made)
    finally:
        del sys.modules[name]


def run(block: Block, where: str, space: dict[str, Any], replaced: Mapping[str, str] | None = None) -> None:
    """Run one block and compare what it prints; its lines count as in the document, so that a traceback leads there."""
    code = "\n" * (block.line - 1) + block.code
    for old, new in (replaced or {}).items():
        code = code.replace(old, new)
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, where, "exec"), space)
    if block.printed is not None:
        assert out.getvalue() == block.printed, f"{where}:{block.line}"
