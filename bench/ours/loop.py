"""Headwater's whole loop in one process: JSON bytes -> door's decoder -> log -> fold -> checkpoint.

Usage: loop LINES SCORES APP
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.data import LINES
from bench.side import Watch, say
from headwater.app import App
from headwater.evaluation.prequential import J_SCORES
from headwater.ingest.decode import Decoder, pieces
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.memory import MemoryLog
from headwater.runtime.checkpointing import Checkpointer, judged_rows
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.settings import Settings
from headwater.store.checkpoint import Checkpoints

STREAM, MODEL = "reading", "failing"


def bodies(path: Path) -> list[bytes]:
    """A file of lines as producers' requests."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [b"".join(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]


def loop(app: App, given: list[bytes], folder: Path) -> tuple[Fold, Checkpoints, int]:
    """What a gateway and a learner do with requests, in the learner's own pace of checkpoints."""
    pace = Settings().learner
    decoder, log = Decoder(Shapes(app.streams), Limits()), MemoryLog()
    fold, store = Fold(app), Checkpoints(folder)
    saver, saved_s, n_saved = Checkpointer(fold, store), time.monotonic(), 0
    for body in given:
        arrival_us = time.time_ns() // 1000
        for piece in pieces(body, is_lines=True):
            window = decoder.window(piece, STREAM, arrival_us)
            assert window is not None
            assert not window.letters
            log.append(window.batch)
        for chunk in log.read(fold.seq):
            saver.gather(fold.step(chunk))
        if fold.seq - saver.seq >= pace.checkpoint_every_events or time.monotonic() - saved_s >= pace.checkpoint_every_s:
            saver.save()
            saved_s, n_saved = time.monotonic(), n_saved + 1
    saver.save()
    saver.wait()
    return fold, store, n_saved + 1


def main(path: str, out: str, app_file: str) -> None:
    app, given = load_app(Path(app_file)), bodies(Path(path))
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as folder:
        loop(app, given[:2], Path(warm))[1].close()
        watch = Watch()
        fold, store, n_saved = loop(app, given, Path(folder))
        used = watch.read()
        scores = judged_rows(store, MODEL, len(app.models[MODEL].experts))[:, J_SCORES]
        store.close()
    Path(out).write_bytes(np.ascontiguousarray(scores).tobytes())
    loss = fold.metrics()[MODEL]["overall"]["live"]["log_loss"]
    say("headwater", "numba", "numpy", "msgspec", **used, n=fold.seq, loss=loss, checkpoints=n_saved)


if __name__ == "__main__":
    main(*sys.argv[1:])
