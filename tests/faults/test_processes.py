"""A handful of schedules of real processes and of disks; and that the harness sees what it is there to see."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from headwater.faults.images import Disk, played
from headwater.faults.recording import Op
from headwater.faults.schedule import Outcome

# One schedule of each class that is named, each in a process of its own.
_SCRIPT = """
import json, sys
from pathlib import Path
from random import Random
from headwater.faults.catalogue import all_faults
from headwater.faults.sandbox import fork
import msgspec
said = {}
for name in sys.argv[2:]:
    fault = [one for one in all_faults() if one.id == name][-1]
    place = Path(sys.argv[1], name)
    place.mkdir()
    steps = fault.expand(Random(1))
    child = fork(lambda: msgspec.json.encode(fault.run(steps, place)), output=place.with_suffix(".out"))
    child.reap()
    said[name] = json.loads(child.result())
print(json.dumps(said))
"""


@pytest.fixture
def one_of_each(program: Callable[..., str], tmp_path: Path) -> Callable[..., dict[str, Outcome]]:
    """What came of one schedule of each class."""

    def run(*names: str) -> dict[str, Outcome]:
        found = json.loads(program(_SCRIPT, str(tmp_path), *names).splitlines()[-1])
        return {name: Outcome(one["fired"], one["violations"]) for name, one in found.items()}

    return run


def test_killed_paused_full_and_flooded_processes_lose_nothing(one_of_each: Callable[..., dict[str, Outcome]]) -> None:
    for name, outcome in one_of_each("F1", "F4", "F25", "F26", "F27", "F29").items():
        assert outcome.violations == [], name
        assert outcome.fired > 0, name


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_failing_syncs_and_power_failures_lose_nothing(one_of_each: Callable[..., dict[str, Outcome]]) -> None:
    for name, outcome in one_of_each("F2", "F3").items():
        assert outcome.violations == [], name
        assert outcome.fired > 0, name


def _ops(*, synced: bool) -> list[Op]:
    """A file that is replaced by rename, with or without a sync of its bytes."""
    ops = [Op("create", "a.tmp"), Op("write", "a.tmp", 0, b"x" * 2000), Op("rename", "a.tmp", to="a")]
    return [*ops[:2], Op("sync", "a.tmp"), ops[2], Op("sync", "")] if synced else ops


def _left(folder: Path, disk: Disk, fates: str, keep_names: float) -> bytes | None:
    folder.mkdir()
    disk.crash(folder, fates, keep_names)
    return (folder / "a").read_bytes() if (folder / "a").exists() else None


def test_a_rename_without_a_sync_may_name_an_empty_file(tmp_path: Path) -> None:
    disk, _ = played(_ops(synced=False), 3)
    assert _left(tmp_path / "dropped", disk, "d", 1.0) == b""
    assert _left(tmp_path / "cut", disk, "c", 1.0) == b"x" * 1024
    garbled = _left(tmp_path / "garbled", disk, "g", 1.0)
    assert garbled is not None
    assert garbled != b"x" * 2000
    assert len(garbled) == 2000
    assert _left(tmp_path / "unnamed", disk, "k", 0.0) is None
    assert _left(tmp_path / "kept", disk, "k", 1.0) == b"x" * 2000


def test_what_was_synced_is_there_whatever_chance_says(tmp_path: Path) -> None:
    ops = _ops(synced=True)
    disk, _ = played(ops, len(ops))
    for number, fate in enumerate("kdcg"):
        assert _left(tmp_path / str(number), disk, fate, 0.0) == b"x" * 2000


def test_a_write_within_a_sector_is_there_or_not() -> None:
    ops = [Op("create", "a"), Op("write", "a", 0, b"old"), Op("sync", "a"), Op("write", "a", 0, b"new", is_durable=True)]
    for stop, fate, expected in ((3, "c", b"old"), (3, "g", b"old"), (3, "k", b"new"), (4, "d", b"new")):
        disk, _ = played(ops, stop)  # at 3 the durable write is under way
        assert disk.names["a"].after(iter(fate * 9))[0] == expected


def test_steps_are_drawn_from_the_seed_alone() -> None:
    from headwater.faults.catalogue import all_faults  # noqa: PLC0415 - it loads every class

    for fault in all_faults():
        if fault.id not in {"F2", "F5"} and fault.is_process:
            assert fault.expand(Random(5)) == fault.expand(Random(5))
