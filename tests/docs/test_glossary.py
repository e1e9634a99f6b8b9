"""The glossary: one line a term, in order, and every public name."""

from __future__ import annotations

import re

import headwater
import headwater.testing

from .markdown import DOCS

TEXT = (DOCS / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", TEXT, re.MULTILINE)


def test_each_term_is_one_line_and_they_are_in_order():
    words = [word.lower() for word, _ in TERMS]
    assert words == sorted(set(words))
    assert len(words) == len(re.findall(r"^- \*\*", TEXT, re.MULTILINE))
    assert all(text.endswith(".") for _, text in TERMS)


def test_every_public_name_has_its_place():
    names = [f"hw.{name}" for name in headwater.__all__] + [f"headwater.testing.{name}" for name in headwater.testing.__all__]
    assert set(re.findall(r"`((?:hw|headwater\.testing)\.\w+)`", TEXT)) == set(names)


def test_what_the_guide_calls_a_term_is_in_the_glossary():
    known = {word.lower() for word, _ in TERMS}
    guide = (DOCS / "guide.md").read_text(encoding="utf-8")
    bold = {word.lower().strip(":") for word in re.findall(r"(?<!- )\*\*([\w -]+)\*\*", guide)}
    said = {"by key", "by fields", "folding", "recorded", "quarantined", "missing", "corrected", "repeated", "late in coming"}
    assert bold - known - said - {"bold"} == set()
