"""A killed worker is forked again; its parent's end, its own failure and its supervisor's end all end it for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import os, sys
from headwater.runtime.forking import in_fork

loaded = os.getpid()

def work():
    print(f"works {os.getpid()} {loaded}", flush=True)
    while word := os.read(0, 100):
        pass
    print(f"stops {os.getpid()}", flush=True)
    return int(sys.argv[1])

code = in_fork(work, lambda number: print(f"killed {number}", flush=True))
print(f"ends {os.getpid()} {code}", flush=True)
raise SystemExit(code)
"""


@pytest.fixture
def code() -> int:
    return 0


@pytest.fixture
def parent(code) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield process
        process.kill()


def said(parent: subprocess.Popen[str]) -> list[str]:
    return parent.stdout.readline().split()


def test_a_killed_worker_is_forked_again_when_it_is_told_to(parent):
    workers = []
    for _ in range(3):
        word, worker, loaded = said(parent)
        assert (word, int(loaded)) == ("works", parent.pid)  # what the parent loaded is there
        workers.append(int(worker))
        os.kill(int(worker), signal.SIGKILL)
        assert said(parent) == ["killed", "9"]
        parent.stdin.write("go\n")
    assert len({*workers, parent.pid}) == 4


@pytest.mark.parametrize("code", [0, 7])
def test_stdin_ends_the_worker_and_its_exit_code_is_the_parents(parent, code):
    _, worker, _ = said(parent)
    parent.stdin.close()
    rest = [line.split() for line in parent.stdout]
    assert parent.wait() == code
    assert rest == [["stops", worker], ["ends", worker, str(code)], ["ends", str(parent.pid), str(code)]]


def test_the_parents_death_ends_the_worker(parent):
    _, worker, _ = said(parent)
    parent.kill()
    assert said(parent) == ["stops", worker]


def test_a_killed_worker_without_a_supervisor_stays_dead(parent):
    _, worker, _ = said(parent)
    os.kill(int(worker), signal.SIGKILL)
    assert said(parent) == ["killed", "9"]
    parent.stdin.close()
    assert said(parent) == ["ends", str(parent.pid), "0"]
    assert parent.wait() == 0
