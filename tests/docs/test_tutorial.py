"""The tutorial, run as it stands: its Python, its commands, and what it shows of their output; both languages alike."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from headwater.cli import main
from headwater.ingest.client import Client
from headwater.runtime.runfile import running

from .markdown import DOCS, blocks

PAGES = [DOCS / "tutorial.md", DOCS / "tutorial.zh-CN.md"]
PORT = "8090"


def shell(line: str, folder: Path) -> str:
    """Run one line of the page with this installation's `headwater`; its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        line, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def command(line: str) -> str:
    """Run a line's command in this process, which has everything loaded; its output."""
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as left:
        main.run(shlex.split(line)[1:])
    assert not left.value.code, f"{line}\n{out.getvalue()}"
    return out.getvalue()


@pytest.fixture
def page_folder(tmp_path, monkeypatch):
    """Where the page's commands are typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWATER_LOGGING_LEVEL", "error")
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


class Terminal:
    """The first terminal: `headwater run`, on a port that is free."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, "-m", "headwater", "run", "app.py", "--port", "0"]
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._process.communicate, daemon=True)
        self._reader.start()

    def url(self) -> str:
        ends = time.monotonic() + 120
        while (found := running(self._folder / ".headwater")) is None or found.url is None:
            assert self._process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
        return found.url

    def learnt(self) -> None:
        """Wait until everything that was sent is learnt, as a reader has who takes a moment to type."""
        ends = time.monotonic() + 120
        with Client(self.url()) as client:
            while client.get("/readyz")["age_events"]:
                assert time.monotonic() < ends
                time.sleep(0.02)

    def close(self) -> None:
        self._process.terminate()
        self._reader.join(60)


def figures(text: str) -> list[list[str]]:
    """The numbers of each line of a table of text."""
    return [found for line in text.splitlines() if len(found := re.findall(r"\b\d\.\d{3,4}\b", line)) > 1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_tutorial_does_what_it_shows(page_folder):
    page = blocks(PAGES[0])
    make, change = [b.code for b in page if b.language == "python"]
    (shown,) = [b.code for b in page if b.language == "text"]
    exec(make, {})
    terminal = None
    out = {}
    try:
        for block in page:
            for line in block.code.splitlines() if block.language == "sh" else ():
                if line.startswith("headwater run"):
                    terminal = Terminal(page_folder)
                    terminal.url()
                    continue
                if line.startswith("headwater plan"):
                    file = page_folder / "app.py"
                    added = change.splitlines()[1]
                    file.write_text(file.read_text().replace("    features=[\n", f"    features=[\n    {added}\n"))
                if line.startswith("headwater predict"):
                    terminal.learnt()
                there = f"127.0.0.1:{PORT}"
                if there in line:
                    out[line] = shell(line.replace(f"http://{there}", terminal.url()), page_folder)
                else:  # the first one as it is typed: it proves that there is such a program
                    out[line] = command(line) if out else shell(line, page_folder)
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
