"""F30: files of another release, and a backup that is older than what lies beside it.

A file of a release that is not there yet is refused by name and left as it is, byte for byte; put back, the installation goes
on. Files of an earlier release are brought up to date at the first start, which is killed at a drawn step: the next one ends
what it began. An older backup is folded on.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from headwater.core import crashpoints
from headwater.core.errors import HeadwaterError
from headwater.faults.installation import Installation, settings_of
from headwater.faults.kills import die_at
from headwater.faults.sandbox import survives
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.story import Story
from headwater.faults.telling import differing, told
from headwater.faults.world import SHOPS, Recipe, recipe_of
from headwater.following.cursors import FILE_NAME as CONSUMERS
from headwater.following.notices import FILE_NAME as NOTICES
from headwater.log import chunks, lmdb
from headwater.registry.catalog import FILE_NAME as CATALOGUE
from headwater.registry.signing import trust_folder
from headwater.runtime import checkpointing
from headwater.runtime.places import FOLLOWING, STATE
from headwater.runtime.supervisor import APP_FILE, claim_state

_DATABASES = {
    "notices": f"{FOLLOWING}/{NOTICES}",
    "consumers": f"{FOLLOWING}/{CONSUMERS}",
    "catalogue": f"registry/{CATALOGUE}",
}
_WRITTEN = {"state": f"{STATE}/data.mdb", "log": "log/data.mdb"}
_KINDS = ("app", *_DATABASES, *_WRITTEN)
_AHEAD = 90  # formats
UPGRADE_POINTS = {
    "checkpoint.blocks_put": 1, "checkpoint.put": 1, "checkpoint.committed": 1,
    "registry.signing": 1, "registry.heads_written": 1, "database.upgrading": 2, "notices.put": 1,
}  # fmt: skip
"""The crash points that a first start on files of an earlier release passes, and how often."""
_LOWERED = {
    "notices": ("ALTER TABLE notices DROP COLUMN sum",),
    "consumers": ("ALTER TABLE consumers DROP COLUMN sum", "ALTER TABLE parked DROP COLUMN sum"),
    "catalogue": ("ALTER TABLE versions DROP COLUMN signature",),
}
"""What takes a file back to its format 1."""


class Upgraded:
    """F30: what is not understood is not touched, and what is older is brought up to date."""

    id = "F30"
    title = "files of a newer or an earlier release, an older backup"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(random.randrange(1 << 32), orders=80, requests=8)
        stop = random.randrange(2, recipe.requests)
        draw = random.choices((_newer_file, _earlier_files, _backup), (4, 4, 3))[0]
        return [{"do": "live", **asdict(recipe)}, draw(random, stop)]

    def run(self, steps: Steps, place: Path) -> Outcome:
        story, step = Story.of(place, recipe_of(steps[0])), steps[1]
        if step["do"] == "restore the state of":
            return Outcome(1, _restored(story, place, step["request"]))
        if "at" in step:
            return _interrupted(story, step)
        said = story.live(until=step["before"])
        state, kept = settings_of(place).state_dir, place / "kept"
        claim_state(state, story.app())
        shutil.copytree(state, kept)
        said += _refused(story, _raise(story, step["file"]), step["file"])
        shutil.rmtree(state)
        kept.rename(state)
        return Outcome(1, said + story.live() + story.verdict())


def _newer_file(random: Random, stop: int) -> dict[str, Any]:
    return {"do": "write by a newer release", "file": random.choice(_KINDS), "before": stop}


def _earlier_files(random: Random, stop: int) -> dict[str, Any]:
    point = random.choice(list(UPGRADE_POINTS))
    hit = random.randint(1, UPGRADE_POINTS[point])
    return {"do": "kill the first start on files of an earlier release", "at": point, "hit": hit, "before": stop}


def _backup(_: Random, stop: int) -> dict[str, Any]:
    return {"do": "restore the state of", "request": stop}


def _raise(story: Story, kind: str) -> Path:
    """Have one file written by a newer release; which it is."""
    state = settings_of(story.place).state_dir
    if kind == "app":
        file = state / APP_FILE
        file.write_text(json.dumps({**json.loads(file.read_text()), "format": _AHEAD}))
    elif kind in _DATABASES:
        file = state / _DATABASES[kind]
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"PRAGMA user_version = {_AHEAD}")
    else:
        file = state / _WRITTEN[kind]
        with story.installed() as there, _newer(kind):
            there.send(story.requests[story.n_acked])
            if kind == "state":
                there.learn()
    return file


@contextmanager
def _newer(kind: str) -> Iterator[None]:
    """While inside, this process writes saves, or chunks of the log, as a newer release would; it reads as it did."""
    format_: int = vars(checkpointing)["FORMAT"]
    seal: Callable[[int, chunks.Header, bytes], tuple[bytes, int]] = vars(lmdb)["seal"]

    def sealed(seq: int, header: chunks.Header, payload: bytes) -> tuple[bytes, int]:
        known, vars(chunks)["FORMAT"] = chunks.FORMAT, _AHEAD
        try:
            return seal(seq, header, payload)
        finally:
            vars(chunks)["FORMAT"] = known

    if kind == "state":
        vars(checkpointing)["FORMAT"] = _AHEAD
    else:
        vars(lmdb)["seal"] = sealed
    try:
        yield
    finally:
        vars(checkpointing)["FORMAT"], vars(lmdb)["seal"] = format_, seal


def _refused(story: Story, file: Path, kind: str) -> list[str]:
    """What is wrong about how the file is met."""
    before = _content(file)
    try:
        claim_state(settings_of(story.place).state_dir, story.app())
        with Installation(story.app(), story.place) as there:
            there.learn()
            there.deliver()
    except HeadwaterError as error:
        said = [] if error.next_step else [f"{kind}: refused, but not with what to do about it: {error}"]
        if _content(file) != before:
            said.append(f"{kind}: a file of a newer release was refused and changed")
        return said
    return [f"{kind}: a file of format {_AHEAD} was opened"]


def _content(file: Path) -> Any:
    """What a file says; a database may have moved it from its journal."""
    if file.suffix != ".sqlite":
        return file.read_bytes()
    with closing(sqlite3.connect(file)) as db:
        return [*db.execute("PRAGMA user_version").fetchone(), *db.iterdump()]


def _interrupted(story: Story, step: Mapping[str, Any]) -> Outcome:
    """A first start on files of an earlier release is killed, and another one ends what it began."""
    story.poison = SHOPS[0]
    said, settings = story.live(until=step["before"]), settings_of(story.place)
    wanted = told(settings)
    lower(settings.state_dir)
    killed = not survives(partial(_start, story, die_at(step["at"], step["hit"])))
    if not survives(partial(_start, story, None)):
        said.append("the next start died")
    said += [f"brought up to date, {what}" for what in differing(told(settings), wanted)]
    return Outcome(int(killed), said + story.live() + story.verdict())


def lower(state: Path) -> None:
    """Make of the rows of a state directory at rest what an earlier release would have left: no checksums, nothing signed."""
    for kind, statements in _LOWERED.items():
        with closing(sqlite3.connect(state / _DATABASES[kind], isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)
            db.execute("PRAGMA user_version = 1")
    shutil.rmtree(trust_folder(state / "registry"))


def _start(story: Story, arm: Callable[[str], None] | None) -> None:
    """Open an installation, and close it."""
    crashpoints.arm(arm)
    with story.installed():
        crashpoints.arm(None)


def _restored(story: Story, place: Path, request: int) -> list[str]:
    """An older state beside the log of today."""
    said = story.live(until=request)
    state, backup = settings_of(place).state_dir / STATE, place / "backup"
    shutil.copytree(state, backup)
    said += story.live()
    shutil.rmtree(state)
    backup.rename(state)
    return said + story.live() + story.verdict()
