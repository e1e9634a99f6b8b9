"""README.zh-CN.md says what the first screen of README.md says: the same code, figures, commands."""

from __future__ import annotations

import re

from .markdown import ROOT, blocks, prose

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def first_screen(path, next_heading):
    text = path.read_text(encoding="utf-8")
    assert next_heading in text
    return prose(text.split(next_heading)[0])


def test_the_code_is_the_same():
    chinese = [(block.language, block.code) for block in blocks(CHINESE)]
    english = [(block.language, block.code) for block in blocks(ENGLISH)]
    assert chinese == english[: len(chinese)]
    assert "python" in {language for language, _ in chinese}


def test_the_figures_and_commands_are_the_same():
    english, chinese = first_screen(ENGLISH, "\n## Install\n"), first_screen(CHINESE, "\n## 往下读\n")
    for pattern in (r"\d[\d,.]*\d|\d", r"`[^`]+`"):
        assert sorted(re.findall(pattern, chinese)) == sorted(re.findall(pattern, english))


def test_the_table_has_as_many_rows():
    english, chinese = first_screen(ENGLISH, "\n## Install\n"), first_screen(CHINESE, "\n## 往下读\n")
    assert chinese.count("\n|") == english.count("\n|")


def test_each_leads_to_the_other():
    assert "(README.zh-CN.md)" in ENGLISH.read_text(encoding="utf-8")
    assert "(README.md)" in CHINESE.read_text(encoding="utf-8")
