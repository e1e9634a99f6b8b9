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
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from headwater.core.errors import Fatal
from headwater.faults.variants import VARIANTS, Variant

_PLANT = Path(__file__).with_name("plant.py")
_JOBS = 2


class Caught(msgspec.Struct, frozen=True):
    """What became of one variant.

    Attributes:
        name: Which one.
        module: What it is planted in.
        caught: Whether a schedule had a violation.
        where: The schedule, as class, seed and number.
        said: What it found.
    """

    name: str
    module: str
    caught: bool
    where: str = "not caught"
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

    Raises:
        Fatal: One does not fit the code, or its process ended without a word.
    """
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
    return [done[variant.name] for variant in variants]


def _start(variant: Variant, seed: int) -> subprocess.Popen[bytes]:
    said = json.dumps({"module": variant.module, "edits": variant.edits, "name": variant.name, "seed": seed})
    command = [sys.executable, "-P", str(_PLANT), said]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 - ourselves


def _result(variant: Variant, process: subprocess.Popen[bytes]) -> Caught:
    out, errors = process.communicate()
    if process.returncode:
        raise Fatal(
            "a known-bad variant could not be tried", where=variant.name, got=errors.decode(errors="replace")[-1000:].strip()
        )
    return msgspec.json.decode(out.splitlines()[-1], type=Caught)


def try_here(name: str, seed: int) -> Caught:
    """Run the schedules that should catch a variant, which is planted in this process."""
    from headwater.faults.catalogue import all_faults  # noqa: PLC0415 - after the planting
    from headwater.faults.runner import run_faults  # noqa: PLC0415

    (variant,) = (variant for variant in VARIANTS if variant.name == name)
    faults = [fault for fault in all_faults() if fault.id in variant.faults and (not fault.is_process or variant.is_process)]
    report = run_faults(variant.most, seed=seed, faults=faults, jobs=1, until_violation=True)
    if not report.violations:
        return Caught(name, variant.module, caught=False)
    found = report.violations[0]
    where = f"{found.schedule.fault}, seed {seed}, number {found.schedule.number}"
    return Caught(name, variant.module, caught=True, where=where, said=found.said.strip().splitlines()[-1])
