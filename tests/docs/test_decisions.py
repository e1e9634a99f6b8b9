"""Decision records: numbered without gaps, each with its four parts, each with its title."""

from __future__ import annotations

import re

import pytest

from .markdown import DOCS

RECORDS = sorted((DOCS / "decisions").glob("*.md"))


def test_they_are_numbered_without_gaps():
    assert [path.name[:4] for path in RECORDS] == [f"{n:04}" for n in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_each_says_context_decision_consequences_and_what_was_measured(path):
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
    assert text.startswith(f"# {path.name[:4]} · ")
    places = [text.find(f"**{part}") for part in ("Context.", "Decision.", "Consequences")]
    assert -1 not in places
    assert places == sorted(places)
    assert re.search(r"\*\*(Consequences and what was m|M)easured|what was measured\*\*", text)
