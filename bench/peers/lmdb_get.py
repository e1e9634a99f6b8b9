"""Reads entities' rows straight from LMDB. Usage: lmdb_get FOLDER ENTITIES READS."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from bench.side import say


def quantiles(times_ns: list[int]) -> dict[str, float]:
    times_ns.sort()
    return {"p50_us": times_ns[len(times_ns) // 2] / 1000, "p99_us": times_ns[len(times_ns) * 99 // 100] / 1000}


def main(folder: Path, n: int, reads: int) -> None:
    chance = random.Random(4)
    keys = [b"e" + (0).to_bytes(2, "big") + chance.randrange(n).to_bytes(8, "big") for _ in range(reads)]
    env = lmdb.open(str(folder), map_size=1 << 36, max_readers=512)
    times, total, clock = [], 0.0, time.perf_counter_ns
    for key in keys[:1_000] + keys:
        began = clock()
        with env.begin(buffers=True) as txn:
            found: Any = txn.get(key)
            row = np.frombuffer(found, np.float64)
            ended = clock()
            total += float(row[7])
        times.append(ended - began)
    say("lmdb", "numpy", **quantiles(times[1_000:]), total=total)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
