"""Makes a small state directory and keeps it: `python tests/formats/freeze.py state-NAME`, once for each released format.

What is kept is a compressed copy of log, state, registry and notices, and the answers of its model to a few questions, so that
a later Headwater can be held against what this one said. Its signing key is kept too: it was made for this and signs nothing
else. `python tests/formats/freeze.py beside-NAME` keeps what lies beside a state: keys and a ledger.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Text, concat, frame, single
from headwater.core.clock import VirtualClock
from headwater.log.open import open_log
from headwater.planning.ledger import FILE_NAME as LEDGER
from headwater.planning.ledger import Job, Ledger
from headwater.runtime.checkpointing import restore
from headwater.runtime.declared import load_app
from headwater.runtime.learner import Learner
from headwater.runtime.places import PLANNING, STATE
from headwater.runtime.publishing import Publisher
from headwater.runtime.served import served
from headwater.runtime.settings import Settings
from headwater.runtime.supervisor import claim_state
from headwater.serving.answerer import ViewAnswerer
from headwater.serving.keys import KeyFile
from headwater.serving.protocol import Question
from headwater.store.checkpoint import Checkpoints
from headwater.store.memory_view import MemoryView

HERE = Path(__file__).parent
APP, FROZEN = HERE / "app.py", HERE / "frozen"
START_MS, MINUTE_MS = 1_767_225_600_000, 60_000
CUT, END = 240, 320  # readings that are frozen, and those that follow
LEFT_OUT = ("view", "bells", "lock", "lock.mdb", "run.json", "stopped")


def settings_of(place: Path) -> Settings:
    return Settings.model_validate({"state_dir": place, "learner": {"idle_after": None}})


def append(app: App, log: Any, first: int, last: int) -> None:
    """Readings and their outcomes; no two runs differ."""
    streams = app.streams
    reading, outcome = (sys.modules["headwater_app_app"].__dict__[name] for name in ("Reading", "Outcome"))
    for i in range(first, last):
        at = np.array([START_MS + i * MINUTE_MS], np.int64)
        x = float((i * 7919) % 101) / 10
        asked = frame(streams["reading"], [reading(n=i, x=x, z=None if i % 9 == 0 else x * x % 7, where="abc"[i % 3])])
        told = frame(streams["outcome"], [outcome(n=i, y=x + "abc".index("abc"[i % 3]))])
        batches = [
            single(streams[s], rows, at + late, Text.of([f"{s}-{i}"]), source="test", arrival=at * 1000)
            for s, rows, late in (("reading", asked, 0), ("outcome", told, 1000))
        ]
        log.append(concat(batches))


def fold_on(app: App, place: Path, first: int, last: int) -> Any:
    """Append what follows, learn it, save; the fold."""
    settings = settings_of(place)
    clock, stop = VirtualClock((START_MS + END * MINUTE_MS) * 1000), threading.Event()
    stop.set()
    with closing(open_log(settings.log_url, clock=clock)) as log:
        append(app, log, first, last)
        with closing(Learner(app, log, settings, clock)) as learner:
            learner.run(stop)
            return learner.fold


def answers(app: App, place: Path) -> list[float]:
    """What each model of the saved state says to a few questions that it has not seen."""
    with closing(Checkpoints(place / STATE, readonly=True)) as store:
        fold = restore(app, store)
    view = MemoryView()
    Publisher(fold, view, VirtualClock(), resume=False).publish({})
    answerer = ViewAnswerer(app.plan, served(app), view, app.fingerprint())
    reading = sys.modules["headwater_app_app"].__dict__["Reading"]
    asked = [reading(n=-1 - i, x=1.5 * i, z=float(i), where="abcd"[i % 4]) for i in range(8)]
    rows = frame(app.streams["reading"], asked)
    names = frozenset(f.name for f in app.streams["reading"].fields)
    question = Question(rows, names, np.full(8, START_MS + CUT * MINUTE_MS, np.int64))
    return [score for name in app.models for score in answerer.answer(name, question).score.tolist()]


def freeze(name: str) -> Path:
    """Make it, and keep it under this name."""
    app = load_app(APP)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "state"
        place.mkdir()
        claim_state(place, app)
        fold = fold_on(app, place, 0, CUT)
        said = {"seq": fold.seq, "answers": answers(app, place)}
        (place / "expected.json").write_text(json.dumps(said))
        made = FROZEN / f"{name}.tar.xz"
        with tarfile.open(made, "w:xz") as archive:
            archive.add(place, arcname=".", filter=lambda info: None if Path(info.name).name in LEFT_OUT else info)
    return made


JOBS = [
    Job(START_MS + i, "fit" if i % 2 else "gain", 100 * i, 0.5, 0.25 * i, "served", f"Refit: {i}.", "m", "full", 1.5 * i)
    for i in range(7)
]


def freeze_beside(name: str) -> Path:
    """Make keys and a ledger, and keep them with the keys' texts."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "state"
        (place / PLANNING).mkdir(parents=True)
        keys = KeyFile(place, VirtualClock(START_MS * 1000))
        texts = {name: keys.add(name, frozenset({name}))[1] for name in ("ingest", "predict")}
        keys.revoke("predict")
        (place / "expected.json").write_text(json.dumps(texts))
        with closing(Ledger(place / PLANNING / LEDGER)) as ledger:
            for job in JOBS:
                ledger.append(job)
        made = FROZEN / f"{name}.tar.xz"
        with tarfile.open(made, "w:xz") as archive:
            archive.add(place, arcname=".")
    return made


if __name__ == "__main__":
    made = (freeze_beside if sys.argv[1].startswith("beside-") else freeze)(sys.argv[1])
    print(made, made.stat().st_size, "bytes")
