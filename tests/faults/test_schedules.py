"""A short set of schedules, and what the harness says where a promise does not hold."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

import headwater
from headwater.core.errors import Fatal
from headwater.faults.catalogue import all_faults, chosen
from headwater.faults.kills import POINTS
from headwater.faults.runner import expanded, fault_of
from headwater.faults.upgrades import UPGRADE_POINTS

WITHIN = sorted({fault.id for fault in all_faults() if not fault.is_process}, key=lambda name: int(name[1:]))

OWN = """
import sys
from headwater.faults.schedule import Outcome
from headwater.testing import run_faults

class Odd:
    id, title, is_process = "F99", "odd numbers", False

    def expand(self, random):
        return [{"do": "draw", "number": random.randrange(1000)}]

    def run(self, steps, place):
        (place / "left").write_text("behind")
        number = steps[0]["number"]
        if number % 7 == 0:
            raise ValueError(f"seven divides {number}")
        if number % 7 == 1:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(1, [f"{number} is odd"] if number % 2 else [])

report = run_faults(60, seed=3, faults=[Odd()])
for found in report.violations:
    print(found.schedule.number, found.schedule.steps[0]["number"], found.said.strip().splitlines()[-1])
"""

HANGS = """
import signal
from headwater.faults import runner
from headwater.faults.schedule import Outcome

class Hangs:
    id, title, is_process = "F98", "a schedule that hangs", False

    def expand(self, random):
        return []

    def run(self, steps, place):
        signal.pause()

runner._DEADLINE_S[False] = 0.5
(found,) = runner.run_faults(1, faults=[Hangs()]).violations
print(found.said)
"""

MINE = """
import headwater as hw
from headwater.testing import Killed, run_faults

class Ask(hw.Event, key="id_"):
    id_: hw.Field[str]
    x: hw.Field[float]

class Tell(hw.Event, key="id_"):
    id_: hw.Field[str]
    y: hw.Field[float]

def app(told):
    answer = hw.label(Tell.y > 0, join=Tell.id_, on=Ask.id_, within="1h")
    return hw.App("mine", models=[hw.Model("sign", Ask, [Ask.x], answer, versions=hw.every_labels(20))])

def events(i):
    named = {"source": "me", "time": 1_767_225_600_000 + 1000 * i, "id_": f"k{i}"}
    told = {"stream": "tell", "id": f"t{i}", "y": i % 3 - 1.0, **named}
    return [{"stream": "ask", "id": f"a{i}", "x": i % 5 - 2.0, **named}, told]

sent = [[event for i in range(at, at + 10) for event in events(i)] for at in range(0, 120, 10)]
report = run_faults(6, faults=[Killed(1, app, sent)])
assert not report.violations, report.violations
print(report.fired["F1"])
"""


def test_no_promise_is_broken_and_every_class_fires(run):
    code, out, report = run("--n", "36", "--seed", "1", "--no-known-bad", *[a for name in WITHIN for a in ("--only", name)])
    assert (code, report["violations"]) == (0, 0), out
    assert report["schedules"] == 36
    assert set(report["fired"]) == set(WITHIN)
    assert all(report["fired"].values())


def test_one_schedule_alone_prints_its_steps(run):
    code, out, report = run("--seed", "1", "--schedule", "3", "--only", "F7", "--only", "F12")
    assert (code, report["schedules"]) == (0, 1)
    assert "schedule 3 of seed 1" in out
    assert "do=restart, before=" in out


def test_a_violation_an_error_and_a_death_are_each_told_with_their_schedule(program):
    lines = [line.split(maxsplit=2) for line in program(OWN).splitlines()]
    assert lines
    for _, number, said in lines:
        if int(number) % 7 == 0:
            assert said == f"ValueError: seven divides {number}"
        elif int(number) % 7 == 1:
            assert said == "the schedule ended with code -9"
        else:
            assert said == f"{number} is odd"
    drawn = [Random(f"3/{i}/F99").randrange(1000) for i in range(60)]
    assert [int(number) for _, number, _ in lines] == [n for n in drawn if n % 2 or n % 7 in {0, 1}]


def test_a_schedule_that_hangs_is_killed_and_a_violation(program):
    assert program(HANGS).strip() == "the schedule did not end within 0 s"


def test_an_app_of_ones_own_can_be_killed_at_every_step(program):
    assert int(program(MINE)) >= 4


FOUND = {  # what was broken once, by its steps: numbers lead elsewhere as soon as a class draws differently
    "F11": [
        (1309106733, 286, "site", "high", 34), (818015246, 291, "site", "high", 48),
        (3604457729, 267, "stuck", "damp", 63), (3523005861, 277, "fahrenheit", "warm", 41),
        (3327628352, 286, "noise", "high", 32), (187202280, 298, "noise", "warm", 71),
    ],
    "F14": [(4089689368, 0.3, 2245969167), (3656804582, 0.0, 1110769486)],
}  # fmt: skip


def _steps(fault, drawn):
    if fault == "F11":
        seed, before, failure, sensor, values = drawn
        return [{"seed": seed, "before": before}, {"failure": failure, "sensor": sensor, "values": values}]
    seed, explore, by = drawn
    live, refuse = next(f for f in all_faults() if f.id == fault).expand(Random(0))
    return [{**live, "seed": seed}, {**refuse, "explore": explore, "seed": by}]


@pytest.mark.parametrize("fault", FOUND)
def test_what_was_broken_once_is_not_again(fault, tmp_path):
    one = next(f for f in all_faults() if f.id == fault)
    for drawn in FOUND[fault]:
        found = one.run(_steps(fault, drawn), tmp_path)
        assert (found.fired > 0, found.violations) == (True, []), drawn


def test_a_seed_and_a_number_are_a_schedule():
    faults = all_faults()
    for number in range(30):
        assert expanded(faults, 5, number)[1] == expanded(faults, 5, number)[1]
    assert expanded(faults, 5, 0)[1].steps != expanded(faults, 6, 0)[1].steps


@pytest.mark.parametrize(("n", "least"), [(1000, 20), (10_000, 50)])
def test_every_class_gets_its_share(n, least):
    faults = all_faults()
    picked = [fault_of(faults, number) for number in range(n)]
    assert all(picked.count(fault) >= least for fault in faults)
    if any(fault.is_process for fault in faults):
        assert sum(fault.is_process for fault in picked) >= n // 5


def test_every_crash_point_of_the_code_is_killed_at():
    sources = Path(headwater.__file__).parent.rglob("*.py")
    named = {name for file in sources for name in re.findall(r'crashpoint\("([a-z_.]+)"\)', file.read_text())}
    of_refits = {"refit.fitted", "refit.marked"}  # the shop has no slow model; tests/runtime/test_refits_beside.py stops there
    assert named - of_refits == set(POINTS) | set(UPGRADE_POINTS)


def test_an_unknown_class_names_the_nearest():
    with pytest.raises(Fatal, match=r"no such class of faults.*got F77"):
        chosen(["F77"])
