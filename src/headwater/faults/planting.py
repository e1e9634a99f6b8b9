"""Plants each known-bad variant in a process of its own, and runs schedules until one of them catches it.

The variant's text takes the place of the real one before the module is imported: a fresh interpreter is started, whose first
act is to put the changed source in the module's way. Nothing of the installed package is written to.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headwater.core.errors import Fatal
from headwater.faults.catalogue import all_faults
from headwater.faults.runner import run_faults
from headwater.faults.schedule import Fault
from headwater.faults.variants import VARIANTS, Variant

_PLANT = Path(__file__).with_name("plant.py")
_JOBS = 2


class Caught(msgspec.Struct, frozen=True):
    """What became of one variant.

    Attributes:
        name: Which one.
        module: What it is planted in.
        caught: Whether a schedule had a violation, and has none in the code as it is.
        where: The schedule, as class, seed and number.
        number: Its number, among those of the variant's classes.
        said: What it found.
    """

    name: str
    module: str
    caught: bool
    where: str = "not caught"
    number: int = -1
    said: str = ""


def source_of(module: str) -> str:
    """A module's source, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def check(variant: Variant) -> None:
    """Whether a variant can be planted in the code as it is.

    Raises:
        Fatal: The text that it replaces is no longer there, or more than once.
    """
    source = source_of(variant.module)
    for old, _ in variant.edits:
        if (n := source.count(old)) != 1:
            raise Fatal(
                "a known-bad variant does not fit the code any more", where=f"{variant.name}, in {variant.module}",
                expected=f"once: {old.strip()[:80]}", got=f"{n} times",
                next_step="Write its text anew in faults/variants.py.",
            )  # fmt: skip


def try_all(
    seed: int, variants: Sequence[Variant] = VARIANTS, *, progress: Callable[[str, int, int], None] = lambda *_: None
) -> list[Caught]:
    """Plant every variant, two at a time; what became of each, in their order.

    Those that only classes could notice which are not in the catalogue are left out.

    Raises:
        Fatal: One does not fit the code, or its process ended without a word.
    """
    known = {fault.id for fault in all_faults()}
    variants = [variant for variant in variants if known & set(variant.faults)]
    for variant in variants:
        check(variant)
    waiting, running = list(variants), dict[int, tuple[Variant, subprocess.Popen[bytes]]]()
    done: dict[str, Caught] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _JOBS:
                process = _start(waiting[0], seed)
                running[os.pidfd_open(process.pid)] = (waiting.pop(0), process)
            for life in select.select(list(running), [], [])[0]:
                variant, process = running.pop(life)
                os.close(life)
                done[variant.name] = _result(variant, process)
                progress("variants", len(done), len(variants))
    finally:
        for _, process in running.values():
            process.kill()
    return _credible([done[variant.name] for variant in variants], seed)


def _credible(tried: list[Caught], seed: int) -> list[Caught]:
    """A schedule that is violated without its variant too has shown nothing of it."""
    process = _run({"control": [(one.name, one.number) for one in tried if one.caught], "seed": seed})
    without = msgspec.json.decode(_said("the code as it is", process), type=list[str])
    where = "not caught: its schedule is violated without it too"
    return [msgspec.structs.replace(one, caught=False, where=where) if one.name in without else one for one in tried]


def _start(variant: Variant, seed: int) -> subprocess.Popen[bytes]:
    return _run({"module": variant.module, "edits": variant.edits, "name": variant.name, "seed": seed})


def _run(asked: dict[str, Any]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", str(_PLANT), json.dumps(asked)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 - ourselves


def _result(variant: Variant, process: subprocess.Popen[bytes]) -> Caught:
    return msgspec.json.decode(_said(variant.name, process), type=Caught)


def _said(what: str, process: subprocess.Popen[bytes]) -> bytes:
    """The last line that such a process prints."""
    out, errors = process.communicate()
    if process.returncode:
        raise Fatal("a known-bad variant could not be tried", where=what, got=errors.decode(errors="replace")[-1000:].strip())
    return out.splitlines()[-1]


def try_here(name: str, seed: int) -> Caught:
    """Run the schedules that should catch a variant, which is planted in this process."""
    variant = _named(name)
    report = run_faults(variant.most, seed=seed, faults=_classes(variant), jobs=1, until_violation=True)
    if not report.violations:
        return Caught(name, variant.module, caught=False)
    found = report.violations[0]
    where = f"{found.schedule.fault}, seed {seed}, number {found.schedule.number}"
    said = found.said.strip().splitlines()[-1]
    return Caught(name, variant.module, caught=True, where=where, number=found.schedule.number, said=said)


def control_here(caught: Iterable[tuple[str, int]], seed: int) -> list[str]:
    """Run the schedules that caught variants, with none of them planted; names of those that are violated all the same."""
    return [
        name
        for name, number in caught
        if run_faults(0, seed=seed, faults=_classes(_named(name)), numbers=[number], jobs=1).violations
    ]


def _named(name: str) -> Variant:
    return next(variant for variant in VARIANTS if variant.name == name)


def _classes(variant: Variant) -> list[Fault]:
    return [fault for fault in all_faults() if fault.id in variant.faults and (not fault.is_process or variant.is_process)]
