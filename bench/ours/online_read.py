"""Reads entities' rows from the online view, and whole features too. Usage: online_read FOLDER ENTITIES READS."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import numpy as np

from bench.apps.entities import Look, app
from bench.peers.lmdb_get import quantiles
from bench.side import say
from headwater.core.batch import Column, Frame, Text
from headwater.features.reading import FeatureReader
from headwater.store.view import ViewReader, entity_key


def features_p50_us(view: ViewReader, n: int = 2_000) -> float:
    """The same from the app's side: rows of an entity's memories to its 20 features, for a question that names it."""
    reader, times, at = FeatureReader(app.plan, Look.schema.stream), [], np.ones(1, np.int64)
    for i in range(n):
        frame = Frame(1, {f.name: Column(Text.of([f"u{i}"])) for f in Look.schema.fields})
        began = time.perf_counter_ns()
        with view.open() as state:
            reader.read(frame, at, state.rows)
        times.append(time.perf_counter_ns() - began)
    return quantiles(times[100:])["p50_us"]


def main(folder: Path, n: int, reads: int) -> None:
    chance, view = random.Random(4), ViewReader(folder)
    keys = [chance.randrange(n) for _ in range(reads)]
    times, total, clock = [], 0.0, time.perf_counter_ns
    for key in keys[:1_000] + keys:
        began = clock()
        with view.open() as state:
            row = state.row(entity_key(0, key))
            ended = clock()
            assert row is not None
            total += float(row[7])
        times.append(ended - began)
    say(
        "headwater", "lmdb", "numpy", **quantiles(times[1_000:]), total=total, features_p50_us=features_p50_us(view),
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
