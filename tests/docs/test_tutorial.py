"""The tutorial, run as it stands: its Python, its commands, and what it shows of their output; both languages alike."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headwater.runtime.runfile import running

from .markdown import DOCS, blocks

PAGES = [DOCS / "tutorial.md", DOCS / "tutorial.zh-CN.md"]
PORT = "8090"


def shell(line: str, folder: Path) -> str:
    """Run one line of the page with this installation's `headwater`; its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        line, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PATH": path, "HEADWATER_LOGGING_LEVEL": "error", "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Terminal:
    """The first terminal: `headwater run`, on a port that is free."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, "-m", "headwater", "run", "app.py", "--port", "0"]
        quiet = {**os.environ, "HEADWATER_LOGGING_LEVEL": "error"}
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=quiet)
        self._reader = threading.Thread(target=self._process.communicate, daemon=True)
        self._reader.start()

    def url(self) -> str:
        ends = time.monotonic() + 120
        while (found := running(self._folder / ".headwater")) is None or found.url is None:
            assert self._process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
        return found.url

    def close(self) -> None:
        self._process.terminate()
        self._reader.join(60)


def figures(text: str) -> list[list[str]]:
    """The numbers of each line of a table of text."""
    return [found for line in text.splitlines() if len(found := re.findall(r"\b\d\.\d{3,4}\b", line)) > 1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_tutorial_does_what_it_shows(tmp_path):
    page = blocks(PAGES[0])
    make, change = [b.code for b in page if b.language == "python"]
    (shown,) = [b.code for b in page if b.language == "text"]
    (tmp_path / "make_table.py").write_text(make)
    shell(f"{sys.executable} make_table.py", tmp_path)
    terminal = None
    out = {}
    try:
        for block in page:
            for line in block.code.splitlines() if block.language == "sh" else ():
                if line.startswith("headwater run"):
                    terminal = Terminal(tmp_path)
                    terminal.url()
                    continue
                if line.startswith("headwater plan"):
                    file = tmp_path / "app.py"
                    added = change.splitlines()[1]
                    file.write_text(file.read_text().replace("    features=[\n", f"    features=[\n    {added}\n"))
                there = f"127.0.0.1:{PORT}"
                out[line] = shell(line.replace(f"http://{there}", terminal.url()) if there in line else line, tmp_path)
    finally:
        if terminal is not None:
            terminal.close()
    assess, replay, send, first, status, told, second, plan, apply = out.values()
    assert "minutes: almost tells the label" in assess
    assert figures(assess)[:4] == figures(shown)[:4]
    live = next(line for line in replay.splitlines() if line.startswith("live"))
    assert float(live.split()[1]) == pytest.approx(float(figures(shown)[0][0]), abs=0.002)  # over all rows, not the last 80 %
    assert "40,000 stored" in send
    assert "outcome@40000" in first
    assert "better than no change" in status
    assert '"accepted":1' in told.replace(" ", "")
    assert re.search(r"outcome@4000[2-9]", second)
    assert "half-life 12h" in plan
    assert "the changed app has taken over" in apply


def test_both_languages_have_the_same_blocks():
    left, right = ([(b.language, b.code) for b in blocks(page)] for page in PAGES)
    assert left == right
