"""Reads a whole log to columns. Usage: log_read FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import lmdb

from bench.side import Watch, say
from headwater.log.lmdb import LmdbLog

PASSES = 10


def stored_bytes(folder: Path) -> int:
    """The bytes of all chunks, as a cursor sees them."""
    with lmdb.open(str(folder), readonly=True, max_dbs=3) as env, env.begin(buffers=True) as txn:
        return sum(len(value) for _, value in txn.cursor(env.open_db(b"chunks", txn)))


def main(folder: Path) -> None:
    n_bytes = stored_bytes(folder)
    log = LmdbLog(folder, readonly=True)
    n = sum(chunk.batch.n for chunk in log.read(0))
    watch = Watch()
    for _ in range(PASSES):
        n = sum(chunk.batch.n for chunk in log.read(0))
    used = watch.read()
    log.close()
    say("headwater", "lmdb", "numpy", **used, n=n, n_bytes=n_bytes * PASSES, passes=PASSES)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
