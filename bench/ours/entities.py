"""Keeps 20 features of many entities online, then goes on folding while the state is saved. Usage: entities N FOLDER."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from bench.apps.entities import Action, app
from bench.data import START_MS
from bench.side import say
from headwater.core.batch import Batch, Column, Frame, Ints, Text, single
from headwater.core.clock import SystemClock
from headwater.log.protocol import Chunk
from headwater.runtime.checkpointing import Checkpointer
from headwater.runtime.fold import Fold
from headwater.runtime.publishing import Publisher
from headwater.runtime.settings import Settings
from headwater.store.checkpoint import Checkpoints
from headwater.store.view import ViewWriter

STEP, SAVES = 1_000, 4  # as many events as one request of the other rows brings


def actions(users: Ints, seq: int) -> Batch:
    """One action of each of the given users, a millisecond apart."""
    n, chance = users.size, np.random.default_rng(seq)
    columns = {"user": Column(Text.of([f"u{u}" for u in users.tolist()])), "good": Column(np.ones(n, np.int64))}
    columns |= {f"x{j}": Column(chance.normal(size=n)) for j in range(1, 6)}
    time_ms = START_MS + np.arange(seq, seq + n, dtype=np.int64)
    return single(Action.schema, Frame(n, columns), time_ms, Text.of([f"a{i}" for i in range(seq, seq + n)]))


def memory_mb() -> float:
    """Memory of this process that is not a file's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e6


def main(n: int, folder: Path) -> None:
    fold = Fold(app)
    fold.step(Chunk(0, actions(np.zeros(STEP, np.int64), 0)))
    before = memory_mb()
    view, store = ViewWriter(folder / "view"), Checkpoints(folder / "state")
    publisher = Publisher(fold, view, SystemClock(), resume=False)
    for start in range(0, n, STEP):
        fold.step(Chunk(fold.seq, actions(np.arange(start, min(start + STEP, n), dtype=np.int64), fold.seq)))
        publisher.publish()
    memory, file = memory_mb() - before, (folder / "view" / "data.mdb").stat().st_blocks * 512 / 1e6
    saver = Checkpointer(fold, store)
    saver.save()
    saver.wait()
    pauses, steps, quiet = _go_on(fold, saver, n)
    store.close()
    view.close()
    say(
        "headwater", "lmdb", "numpy", "numba", memory_mb=memory, view_mb=file, pause_ms=1000 * max(*pauses, max(steps) - quiet),
        save_ms=1000 * statistics.median(pauses), step_ms=1000 * quiet, slowest_step_ms=1000 * max(steps),
        saves=len(pauses),
    )  # fmt: skip


def _go_on(fold: Fold, saver: Checkpointer, n: int) -> tuple[list[float], list[float], float]:
    """Fold actions of random users, saving in the learner's pace: seconds of saves, of all steps, and of a median step."""
    every, chance = Settings().learner.checkpoint_every_events, np.random.default_rng(7)
    given = [chance.integers(0, n, STEP) for _ in range(-(-SAVES * every // STEP))]
    pauses, steps = [], []
    for users in given:
        chunk = Chunk(fold.seq, actions(users, fold.seq))
        began = time.perf_counter()
        fold.step(chunk)
        steps.append(time.perf_counter() - began)
        if saver.is_due(every) and not saver.is_saving:
            began = time.perf_counter()
            saver.save()
            pauses.append(time.perf_counter() - began)
    saver.wait()
    return pauses, steps, statistics.median(steps)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
