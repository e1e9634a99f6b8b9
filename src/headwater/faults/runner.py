"""N schedules from one seed, two at a time, each in a process and a folder of its own.

The number of a schedule decides its class, and with the seed its steps: any one of them can be run again alone. Every fifth is
one of real processes, as long as there are such classes. A schedule that raises, hangs or dies is a violation like any other.
"""

from __future__ import annotations

import gc
import os
import select
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec

from headwater.core.errors import Fatal
from headwater.faults.catalogue import all_faults
from headwater.faults.report import Report, Schedule
from headwater.faults.sandbox import Child, ChildFailed, fork, tail
from headwater.faults.schedule import Fault, Outcome
from headwater.faults.world import warm
from headwater.telemetry.logs import configure

Progress = Callable[[str, int, int], None]

_EVERY_PROCESS = 5  # one schedule in so many is of real processes
_DEADLINE_S = {False: 60.0, True: 180.0}
_RAM = Path("/dev/shm")  # noqa: S108 - a folder of one's own is made in it
_ROOM_BYTES = 1 << 30


def fault_of(faults: Sequence[Fault], number: int) -> Fault:
    """The class of a schedule: real processes every fifth time, each class in its turn."""
    real = [fault for fault in faults if fault.is_process]
    within = [fault for fault in faults if not fault.is_process]
    if not real or not within:
        return faults[number % len(faults)]
    turn, place = divmod(number, _EVERY_PROCESS)
    if place == _EVERY_PROCESS - 1:
        return real[turn % len(real)]
    return within[(turn * (_EVERY_PROCESS - 1) + place) % len(within)]


def expanded(faults: Sequence[Fault], seed: int, number: int) -> tuple[Fault, Schedule]:
    """A schedule and its class."""
    fault = fault_of(faults, number)
    steps = fault.expand(Random(f"{seed}/{number}/{fault.id}"))  # noqa: S311 - repeatable on purpose
    return fault, Schedule(seed, number, fault.id, fault.title, fault.is_process, steps)


def run_faults(
    n: int, *, seed: int = 0, faults: Sequence[Fault] | None = None, numbers: Iterable[int] | None = None, jobs: int = 2,
    until_violation: bool = False, progress: Progress = lambda _what, _done, _of: None,
) -> Report:  # fmt: skip
    """Run schedules and gather what came of them.

    Args:
        n: How many: numbers 0 to n - 1.
        seed: Decides their steps.
        faults: Their classes; None means all.
        numbers: Run these instead.
        jobs: How many at a time.
        until_violation: Stop at the first one that has a violation.
        progress: Told (what, done, of).

    Raises:
        Fatal: No class is given, or this process cannot fork: it is not Linux, or has threads.
    """
    faults = all_faults() if faults is None else faults
    if not faults:
        raise Fatal("no class of faults is chosen", where="faults", next_step="See docs/guarantees.md for their ids.")
    wanted = list(range(n) if numbers is None else numbers)
    warm()
    _check_forks()
    began, report = time.monotonic(), Report(seed)
    with _root() as root:
        todo = (expanded(faults, seed, number) for number in wanted)
        for done, (schedule, outcome) in enumerate(_outcomes(todo, root, jobs), 1):
            report.add(schedule, outcome)
            progress("schedules", done, len(wanted))
            if until_violation and outcome.violations:
                break
    report.violations.sort(key=lambda violation: violation.schedule.number)
    report.seconds = time.monotonic() - began
    return report


def _check_forks() -> None:
    if sys.platform != "linux" or threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        step = "Run it in a process of its own: `headwater faults`."
        raise Fatal("schedules are forked", expected="Linux, and one thread", got=f"{sys.platform}: {names}", next_step=step)
    gc.collect()
    gc.freeze()  # a collection in a child would write to every page that it shares with us


@contextmanager
def _root() -> Iterator[Path]:
    """A folder for all schedules, in memory where there is room: a killed process leaves there what it leaves on a disk."""
    in_ram = _RAM.is_dir() and os.access(_RAM, os.W_OK) and shutil.disk_usage(_RAM).free > _ROOM_BYTES
    root = Path(tempfile.mkdtemp(prefix="hw-faults-", dir=_RAM if in_ram else None))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@dataclass(slots=True)
class _Running:
    schedule: Schedule
    place: Path
    child: Child
    ends_s: float

    @property
    def output(self) -> Path:
        return self.place.with_suffix(".out")


def _outcomes(todo: Iterator[tuple[Fault, Schedule]], root: Path, jobs: int) -> Iterator[tuple[Schedule, Outcome]]:
    running: list[_Running] = []
    try:
        while True:
            while len(running) < jobs and (following := next(todo, None)):
                running.append(_start(*following, root))
            if not running:
                return
            for one in _ended(running):
                running.remove(one)
                yield one.schedule, _outcome(one)
    finally:
        for one in running:
            one.child.kill()
            one.child.reap()


def _start(fault: Fault, schedule: Schedule, root: Path) -> _Running:
    place = root / str(schedule.number)
    place.mkdir()

    def work() -> bytes:
        configure("console", level="ERROR")
        return msgspec.json.encode(fault.run(schedule.steps, place))

    child = fork(work, output=place.with_suffix(".out"))
    return _Running(schedule, place, child, time.monotonic() + _DEADLINE_S[schedule.is_process])


def _ended(running: list[_Running]) -> list[_Running]:
    """Wait until at least one has ended or is overdue; those."""
    while True:
        left_s = max(0.0, min(one.ends_s for one in running) - time.monotonic())
        handles = [handle for one in running for handle in (one.child.life, one.child.pipe) if handle >= 0]
        ready = select.select(handles, [], [], left_s)[0]
        for one in running:
            one.child.read()
        now_s = time.monotonic()
        if found := [one for one in running if one.child.life in ready or one.ends_s <= now_s]:
            return found


def _outcome(one: _Running) -> Outcome:
    is_overdue = not select.select([one.child.life], [], [], 0)[0]
    if is_overdue:
        one.child.kill()
    code = one.child.reap()
    printed = tail(one.output)
    shutil.rmtree(one.place, ignore_errors=True)
    one.output.unlink(missing_ok=True)
    try:
        said = one.child.result()
    except ChildFailed as error:
        return Outcome(0, [f"{error.got}\n{printed}".strip()])
    if said is None:
        why = f"did not end within {_DEADLINE_S[one.schedule.is_process]:.0f} s" if is_overdue else f"ended with code {code}"
        return Outcome(0, [f"the schedule {why}\n{printed}".strip()])
    return msgspec.json.decode(said, type=Outcome)
