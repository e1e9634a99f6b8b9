"""The code blocks of a document, and what it says beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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
