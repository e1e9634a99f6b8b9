"""F2: the power fails. What lies on the disk then is any legal mixture of what was written and not yet synced.

One run of the shop is recorded, LMDB's and SQLite's own system calls among it; each schedule builds some of the disks that a
power failure may have left of it, starts on them, and audits what comes of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from headwater.faults.images import played
from headwater.faults.installation import Installation, settings_of
from headwater.faults.oracle import Book, audit, rows_of
from headwater.faults.recording import Op, record
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.world import Line, Recipe, requests, shop
from headwater.log.open import open_log
from headwater.runtime.supervisor import claim_state

_RECIPE = Recipe(7, orders=80, requests=12)
_IMAGES = 4  # of one schedule
_ACKED = "acked"


class PowerFailed:
    """Crash images of one recorded run."""

    id, title, is_process = "F2", "power failure: writes lost, cut, garbled", False

    def __init__(self) -> None:
        self._recorded: list[Op] = []

    def expand(self, random: Random) -> Steps:
        """Where the power fails, and what becomes of writes and of changes of names that were not synced."""
        n = len(self._ops())
        return [
            {"at": random.randrange(n), "fates": "".join(random.choices("kdcg", (4, 3, 2, 2), k=40)), "names": random.random()}
            for _ in range(_IMAGES)
        ]

    def _ops(self) -> list[Op]:
        """The recording: made by the first who asks, shared by all forks after that."""
        if not self._recorded:
            with tempfile.TemporaryDirectory(prefix="hw-recorded-") as folder:
                root = Path(folder).resolve() / "disk"
                root.mkdir()
                self._recorded = record(lambda mark: _live(root, mark), root)
        return self._recorded

    def run(self, steps: Steps, place: Path) -> Outcome:
        fired, said = 0, []
        for number, step in enumerate(steps):
            ops, folder = self._ops(), place / str(number)
            disk, marks = played(ops, step["at"])
            folder.mkdir()
            fired += disk.crash(folder, step["fates"], step["names"]) > 0
            op = ops[step["at"]]
            acked = [int(text) for mark in marks for text in mark.split() if text.isdigit()]
            said += [f"power fails at {op.kind} {step['at']} of {op.path}: {what}" for what in started(folder, acked)]
            shutil.rmtree(folder, ignore_errors=True)
        return Outcome(fired, said)


def _live(root: Path, mark: Callable[[str], None]) -> None:
    """What is recorded: events come, are learnt and saved, versions are registered and told of."""
    app = shop()
    settings_of(root).state_dir.mkdir()
    claim_state(settings_of(root).state_dir, app)
    with Installation(app, root) as there:
        for number, lines in enumerate(requests(_RECIPE)):
            if there.send(lines).status == 200:  # noqa: PLR2004
                mark(f"{_ACKED} {number} ")
            if number % 2:
                there.learn()


def started(folder: Path, acked: list[int]) -> list[str]:
    """What is wrong after a start on a disk, given the numbers of the requests that had been acknowledged; empty is well."""
    app, bodies = shop(), requests(_RECIPE)
    settings = settings_of(folder)
    try:
        settings.state_dir.mkdir(exist_ok=True)
        claim_state(settings.state_dir, app)
        with Installation(app, folder) as there:
            there.learn()
        return lost(folder, [bodies[number] for number in acked]) + audit(app, settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, it does not start
        return [f"it does not start: {type(error).__name__}: {error}"]


def lost(folder: Path, bodies: list[list[Line]]) -> list[str]:
    """Acknowledged events that are not in the log, or twice."""
    book = Book()
    for lines in bodies:
        book.enter(lines)
    with closing(open_log(settings_of(folder).log_url, readonly=True)) as log:
        names = [(row["source"], row["id"]) for _, row in rows_of(log)]
    missing = sorted(book.events.keys() - set(names))
    said = [f"{len(missing)} acknowledged events are gone: {missing[:5]}"] if missing else []
    return said + ([f"{len(names) - len(set(names))} events are in the log twice"] if len(set(names)) < len(names) else [])
