"""F5: a bit of a file at rest is not what was written, or a file is another one of its kind, or from yesterday.

Whatever it is: it is named, or it has no effect. It is never served, and what was found is never deleted. What the installation
tells afterwards is compared with what it told before, and half of the flips are in bytes that it surely reads (see `spots`).
"""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.faults.installation import Installation, settings_of
from headwater.faults.oracle import Book, audit
from headwater.faults.sandbox import fork
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.spots import Spot, spots
from headwater.faults.telling import Telling, differing, told
from headwater.faults.world import SHOPS, Recipe, requests, shop
from headwater.following.cursors import FILE_NAME as CONSUMERS
from headwater.following.notices import FILE_NAME as NOTICES
from headwater.registry.catalog import Catalog
from headwater.runtime.changes import remembered
from headwater.runtime.places import FOLLOWING, STATE, VIEW
from headwater.runtime.supervisor import APP_FILE, claim_state
from headwater.store.history import History

_RECIPE = Recipe(11, orders=90, requests=6)
_HISTORY = "history"
_DAMAGES = 2  # of one schedule, each to a copy of its own
_SHARP = 0.5  # of the flips in a file are where it surely is read

_KINDS = {
    "log": "state/log/data.mdb", "state": f"state/{STATE}/data.mdb", "view": f"state/{VIEW}/data.mdb",
    "version": "state/registry/versions/*.safetensors", "catalogue": "state/registry/catalog.sqlite",
    "notices": f"state/{FOLLOWING}/{NOTICES}", "consumers": f"state/{FOLLOWING}/{CONSUMERS}", "app": f"state/{APP_FILE}",
    "declaration": f"state/{STATE}/declaration.json", "history": f"{_HISTORY}/*/*.parquet",
}  # fmt: skip
_YESTERDAY = {
    "log": "state/log/data.mdb", "state": f"state/{STATE}/data.mdb", "notices": f"state/{FOLLOWING}/{NOTICES}",
}  # fmt: skip

Files = dict[str, bytes]


@dataclass(slots=True)
class _Victim:
    """An installation at rest.

    Attributes:
        files: Every file of it.
        yesterday: Every file of it, half-way.
        spots: Where in its files lies what is surely read.
        told: What it tells.
    """

    files: Files = field(default_factory=dict)
    yesterday: Files = field(default_factory=dict)
    spots: dict[str, list[Spot]] = field(default_factory=dict)
    told: Telling = field(default_factory=dict)


class Rotten:
    """One bit flipped somewhere; two versions exchanged; the log or the state from yesterday."""

    id, title, is_process = "F5", "bit rot, exchanged and stale files", False

    def __init__(self) -> None:
        self._made = _Victim()

    def expand(self, random: Random) -> Steps:
        return [self._damage(random) for _ in range(_DAMAGES)]

    def _damage(self, random: Random) -> dict[str, Any]:
        files = self._victim().files
        if (chance := random.random()) < 0.06:  # noqa: PLR2004
            return {"exchange": sorted(random.sample(_matching(files, _KINDS["version"]), 2))}
        if chance < 0.12:  # noqa: PLR2004
            return {"yesterday": _YESTERDAY[random.choice(sorted(_YESTERDAY))]}
        path = random.choice(_matching(files, _KINDS[random.choice(list(_KINDS))]))
        whole = Spot(0, len(files[path]))
        is_sharp = random.random() < _SHARP
        spot = random.choice(self._made.spots.get(path, [whole])) if is_sharp else whole
        return {"flip": path, "byte": random.randrange(*spot), "bit": random.randrange(8)}

    def _victim(self) -> _Victim:
        """Made by the first who asks, shared by all forks after that."""
        if not self._made.files:
            with tempfile.TemporaryDirectory(prefix="hw-rot-") as folder:
                place = Path(folder) / "place"
                place.mkdir()
                for files, stop in ((self._made.yesterday, _RECIPE.requests // 2), (self._made.files, _RECIPE.requests)):
                    child = fork(lambda stop=stop: _live(place, stop), output=place.with_suffix(".out"))  # type: ignore[misc]
                    child.reap()
                    said = json.loads(child.result() or b"{}")
                    files.update(_read(place))
                self._made.spots = {f"state/{file}": [Spot(*at) for at in found] for file, found in said["spots"].items()}
                self._made.told = said["told"]
        return self._made

    def run(self, steps: Steps, place: Path) -> Outcome:
        said = []
        for number, step in enumerate(steps):
            folder = place / str(number)
            files = self._damaged(step)
            _write(folder, files)
            child = fork(partial(_said, folder, self._victim().told), output=place / f"{number}.out")
            code = child.reap()
            found = (child.result() or b"").decode().splitlines() if code == 0 else [f"the process died of it, code {code}"]
            said += [f"{step}: {what}" for what in found]
            if child.said[1:] == b"" and _read(folder).keys() < files.keys():
                said.append(f"{step}: files were deleted: {sorted(files.keys() - _read(folder).keys())}")
        return Outcome(len(steps), said)

    def _damaged(self, step: dict[str, Any] | Any) -> Files:
        victim = self._victim()
        files = dict(victim.files)
        if "exchange" in step:
            one, other = step["exchange"]
            files[one], files[other] = files[other], files[one]
        elif "yesterday" in step:
            files[step["yesterday"]] = victim.yesterday[step["yesterday"]]
        else:
            content = bytearray(files[step["flip"]])
            content[step["byte"]] ^= 1 << step["bit"]
            files[step["flip"]] = bytes(content)
        return files


def _live(place: Path, stop: int) -> bytes:
    """Live up to a request; what is told then, and where it lies."""
    app, settings = shop(_picky), settings_of(place)
    state = settings.state_dir
    state.mkdir(exist_ok=True)
    claim_state(state, app)
    with Installation(app, place, tells=True) as there:
        for lines in requests(_RECIPE)[:stop]:
            there.send(lines)  # what was sent before is known already
            there.learn()
            there.deliver()
    times = pa.array([1_767_225_600_000 + 60_000 * i for i in range(50)], pa.timestamp("ms", "UTC"))
    rows = pa.table(
        {"seq": list(range(50)), "time": times, "shop": ["ash", "elm"] * 25, "amount": [1.5 * i for i in range(50)]}
    )
    if not (place / _HISTORY).exists():
        History(place / _HISTORY).append(rows)
    said = told(settings)
    return json.dumps({"told": said, "spots": spots(settings, said)}).encode()


def _picky(event: Any, _envelope: object) -> None:
    """A handler that will never take some events."""
    if event.shop == SHOPS[0]:
        raise ValueError(f"nothing of {event.shop} is wanted")


def _said(folder: Path, wanted: Telling) -> bytes:
    return "\n".join(_consequences(folder, wanted)).encode()


def _consequences(folder: Path, wanted: Telling) -> list[str]:
    """Start on damaged files and look at everything; what is wrong about how that ends. Empty: named, or without effect."""
    heard: list[Any] = []
    app, settings, book = shop(lambda event, _: heard.append(event)), settings_of(folder), Book()
    for lines in requests(_RECIPE):
        book.enter(lines)
    try:
        claim_state(settings.state_dir, app)
        remembered(settings.state_dir / STATE)
        with Installation(app, folder, tells=True) as there:
            there.learn()
            there.deliver()
        with closing(Catalog(settings.registry_dir)) as catalog:
            for version in catalog.list():
                catalog.artifacts.get(version.sha256)
        history = History(folder / _HISTORY).read().to_pylist()
        said = audit(app, settings, book, is_exact=False) + differing(told(settings), wanted)
    except HeadwaterError as error:
        return [] if error.next_step else [f"it is named, but not what to do about it: {error}"]
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return [f"nobody says what it is: {type(error).__name__}: {error}"]
    if [(row["seq"], row["shop"], row["amount"]) for row in history] != [
        (i, ("ash", "elm")[i % 2], 1.5 * i) for i in range(50)
    ]:
        said.append("the history says something else")
    if heard:
        said.append(f"the handler is told of {len(heard)} events once more")
    return said


def _matching(files: Files, pattern: str) -> list[str]:
    found = sorted(path for path in files if Path(path).match(pattern))
    assert found, pattern
    return found


def _read(place: Path) -> Files:
    skipped = {"lock.mdb", "lock"}
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name not in skipped and not path.name.endswith(("-shm", ".out"))
    }


def _write(folder: Path, files: Files) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
