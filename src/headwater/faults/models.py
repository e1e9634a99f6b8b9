"""F15 and F16: models that misbehave, and model files that somebody exchanged.

Both ask the same: the answer comes, it is the last good state's, and what is wrong is named. A model that misbehaves does so in
its own process, from the block on at which the schedule says so; a file is damaged as a schedule says, and then everybody who
may open it does.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import CorruptData
from headwater.faults.schedule import Outcome, Steps
from headwater.learning.protocol import LearnerState
from headwater.registry import Catalog, Version
from headwater.registry.artifact import encode
from headwater.registry.catalog import FILE_NAME
from headwater.registry.signing import FILE_NAME as KEY
from headwater.registry.signing import trust_folder
from headwater.serving.guarded import GuardedLane
from headwater.serving.isolation import IsolatedLearner
from headwater.serving.lanes import as_block
from headwater.serving.nursery import Nursery

_MEMORY_BYTES = 256 << 20
_DEADLINE_S = 5.0  # nobody is made to wait for it but by `hangs`, which is given less
_HANGS_S = 2.0
_SLACK_S = 2.0  # of a busy machine, over the deadline


def _thread_that_dies() -> Any:
    dead = threading.Thread(target=os._exit, args=(5,))
    dead.start()
    dead.join()


WAYS: Mapping[str, Callable[[], Any]] = {
    "throws": lambda: 1 // 0,
    "hangs": lambda: time.sleep(3600),
    "leaks": lambda: [bytearray(1 << 30) for _ in range(64)],
    "nan": lambda: np.full(2, np.nan),
    "wrong shape": lambda: np.zeros((2, 2)),
    "wrong type": lambda: ["yes", "no"],
    "exits": lambda: os._exit(0),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "thread exits": _thread_that_dies,
}


class _Stub:
    """Scores its state's number; a state that names a way misbehaves in that way, as it scores or as it learns."""

    def __init__(self) -> None:
        self.way, self.value = "", 0.5

    def score_many(self, xs: Floats, cs: Ints) -> Floats:
        del cs
        return WAYS[self.way]() if self.way else np.full(xs.shape[0], self.value)

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        del cs, ys
        self.score_many(xs, np.zeros((xs.shape[0], 0), np.int64))

    def state(self) -> LearnerState:
        return LearnerState({"way": self.way}, {"value": np.array([self.value])})

    def load(self, state: LearnerState) -> None:
        self.way, self.value = str(state.header["way"]), float(state.arrays["value"][0])


def _block(way: str, value: float) -> Floats:
    return as_block(encode({"value": np.array([value])}, {"way": way}))


@dataclass(frozen=True, slots=True)
class Misbehaving:
    """F15."""

    id: str = "F15"
    title: str = "a model that throws, hangs, leaks, lies or dies"
    is_process: bool = False

    def expand(self, random: Random) -> Steps:
        """Good blocks, then one that misbehaves, asked several times, then a good one."""
        way = random.choice(list(WAYS))
        return [{"way": way, "good": round(random.uniform(0.1, 0.9), 3), "n_good": random.randint(1, 3),
                 "asked": 2 if way == "hangs" else random.randint(1, 5)}]  # fmt: skip

    def run(self, steps: Steps, place: Path) -> Outcome:
        """Ask a lane that the schedule's model stands behind; `place` stays empty."""
        del place
        (step,) = steps
        nursery = Nursery({"m": _Stub}, _MEMORY_BYTES)
        opened: list[str] = []
        deadline_s = _HANGS_S if step["way"] == "hangs" else _DEADLINE_S
        lane = GuardedLane(
            "m", "log", lambda: IsolatedLearner(nursery, "m", _DEADLINE_S), deadline_s, None,
            lambda _model, reason, _seq: opened.append(reason),
        )  # fmt: skip
        try:
            return Outcome(step["asked"], list(_asked(lane, step, deadline_s, opened)))
        finally:
            lane.close()
            nursery.close()


def _asked(lane: GuardedLane, step: Mapping[str, Any], deadline_s: float, opened: list[str]) -> list[str]:
    xs, cs, wrong = np.zeros((2, 1)), np.zeros((2, 0), np.int64), []
    values = [step["good"] + 0.01 * i for i in range(step["n_good"])]
    for seq, value in enumerate(values):
        said = lane.score(_block("", value), seq, xs, cs)
        if said.degraded or said.scores is None or said.scores.tolist() != [value, value]:
            wrong.append(f"a good state was answered for by {said}")
    for n in range(step["asked"]):
        began = time.monotonic()
        said = lane.score(_block(step["way"], 0.0), 100 + n, xs, cs)
        took_s = time.monotonic() - began
        if said.scores is None or said.scores.tolist() != [values[-1]] * 2 or not said.degraded:
            wrong.append(f"the last good state did not answer for one that {step['way']}: {said}")
        if said.seq != len(values) - 1:
            wrong.append(f"the last good state answered by another's name: {said.seq}")
        if took_s > deadline_s + _SLACK_S:
            wrong.append(f"an answer took {took_s:.2f} s with a deadline of {deadline_s} s")
    if len(opened) != (step["asked"] >= 3):  # noqa: PLR2004 - what opens a breaker
        wrong.append(f"after {step['asked']} failures the breaker had told of {len(opened)}")
    return wrong


def _forged(registry: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(registry / FILE_NAME)) as db, db:
        db.execute("DROP TRIGGER IF EXISTS versions_are_immutable")
        db.execute(statement, values)


class _Target(NamedTuple):
    """A registry, the files of its versions, oldest first, and a place and a bit to damage."""

    registry: Path
    files: list[Path]
    at: int
    bit: int


def _tampered(target: _Target) -> None:
    newest = target.files[-1]
    data = bytearray(newest.read_bytes())
    data[target.at % len(data)] ^= 1 << target.bit
    newest.write_bytes(data)


def _swapped(target: _Target) -> None:
    target.files[-1].write_bytes(target.files[target.at % (len(target.files) - 1)].read_bytes())


def _unsigned(target: _Target) -> None:
    _forged(target.registry, "UPDATE versions SET signature = '' WHERE seq = (SELECT MAX(seq) FROM versions)")


def _older_in_its_place(target: _Target) -> None:
    columns = "sha256, signature, created_ms"
    _forged(target.registry, f"UPDATE versions SET ({columns}) = (SELECT {columns} FROM versions ORDER BY seq LIMIT 1) "  # noqa: S608
                      "WHERE seq = (SELECT MAX(seq) FROM versions)")  # fmt: skip


def _newest_gone(target: _Target) -> None:
    _forged(target.registry, "DELETE FROM versions WHERE seq = (SELECT MAX(seq) FROM versions)")


def _others_key(target: _Target) -> None:
    (trust_folder(target.registry) / KEY).write_bytes(Random(target.at).randbytes(32))  # noqa: S311 - repeatable on purpose


def _leads_out(target: _Target) -> None:
    outside = target.registry.parent / "outside"
    target.files[-1].rename(outside)
    target.files[-1].symlink_to(outside)


def _leads_out_by_name(target: _Target) -> None:
    _forged(target.registry, "UPDATE versions SET sha256 = ? WHERE seq = (SELECT MAX(seq) FROM versions)", "../../outside")


def _bomb(target: _Target) -> None:
    with target.files[-1].open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte of nothing: it takes no room


def _cut(target: _Target) -> None:
    with target.files[-1].open("r+b") as file:
        file.truncate(target.at % target.files[-1].stat().st_size)


DAMAGE: Mapping[str, Callable[[_Target], None]] = {
    "tampered": _tampered, "swapped": _swapped, "unsigned": _unsigned, "older in its place": _older_in_its_place,
    "newest gone": _newest_gone, "another key": _others_key, "leads out": _leads_out, "leads out by name": _leads_out_by_name,
    "bomb": _bomb, "cut short": _cut,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tampered:
    """F16."""

    id: str = "F16"
    title: str = "a model's file or its entry exchanged, forged, older, leading out, or a bomb"
    is_process: bool = False

    def expand(self, random: Random) -> Steps:
        """How many versions, what is done to the newest, and where in it."""
        return [{"how": random.choice(list(DAMAGE)), "versions": random.randint(2, 5), "at": random.randrange(1 << 16),
                 "bit": random.randrange(8)}]  # fmt: skip

    def run(self, steps: Steps, place: Path) -> Outcome:
        """Damage a registry, then open its newest version by every way there is."""
        (step,) = steps
        registry = place / "state" / "registry"
        with Catalog(registry) as catalog:
            made = [_register(catalog, 100 * (1 + i)) for i in range(step["versions"])]
            files = [catalog.artifacts.path(version.sha256) for version in made]
        DAMAGE[step["how"]](_Target(registry, files, step["at"], step["bit"]))
        found = [_opened(registry, step["how"], read_only=read_only) for read_only in (True, False)]
        return Outcome(1, [said for said in found if said])


def _register(catalog: Catalog, seq: int) -> Version:
    sha256 = catalog.artifacts.put({"weights": np.arange(8.0) + seq}, {"line": "m", "seq": seq})
    version = Version("m", seq, sha256, seq, "once")
    catalog.register(version)
    return version


def _opened(registry: Path, how: str, *, read_only: bool) -> str:
    """What is wrong: the newest version could be opened; "" where it was refused by name."""
    with suppress(CorruptData), Catalog(registry, read_only=read_only) as catalog:
        version = catalog.get("m")
        catalog.artifacts.get(version.sha256)
        return f"a version was opened that is {how}: {version.name}"
    return ""
