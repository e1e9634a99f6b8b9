"""Publishes a different model so many times a second, as a learner does. Usage: swap VIEW FIRST COUNT PER_S.

Starts at the first line on stdin. With FIRST 1 it publishes the questions too. It gives way to whoever else wants its core.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench.apps.swap import app, good
from bench.side import say
from bench.swapping import LINE, base_block, factor, questions
from headwater.core.batch import Text
from headwater.core.hashing import hash_text
from headwater.evaluation.prequential import SCORES
from headwater.store.view import ViewMeta, ViewWriter, question_key, weights_key


def main(folder: Path, first: int, count: int, per_s: float) -> None:
    os.nice(19)
    base, view = base_block(), ViewWriter(folder)
    rows = questions(SCORES + len(good.experts))
    keys = hash_text(Text.of([f"q{i}" for i in range(len(rows))])).tolist()
    asked = [(question_key(0, key), row.tobytes()) for key, row in zip(keys, rows, strict=True)] if first == 1 else []
    fingerprint = app.fingerprint()
    say(n_bytes=base.nbytes)
    sys.stdin.readline()
    began = time.monotonic()
    for i in range(count):
        block = base * factor(first + i)
        time.sleep(max(0.0, began + i / per_s - time.monotonic()))
        now_us = time.time_ns() // 1000
        meta = ViewMeta(first + i, now_us // 1000, now_us, fingerprint)
        view.publish(meta, [*asked, (weights_key(LINE), block.data)])
        asked = []
    seconds = time.monotonic() - began
    view.close()
    say("headwater", "lmdb", seconds=seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
