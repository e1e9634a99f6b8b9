"""Copies every chunk of a log out of LMDB. Usage: lmdb_cursor FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import lmdb

from bench.side import Watch, say

PASSES = 10


def main(folder: Path) -> None:
    env = lmdb.open(str(folder), readonly=True, max_dbs=3)
    chunks = env.open_db(b"chunks", create=False)

    def read() -> int:
        with env.begin() as txn:
            return sum(len(value) for _, value in txn.cursor(chunks))

    read()
    watch = Watch()
    n_bytes = sum(read() for _ in range(PASSES))
    used = watch.read()
    say("lmdb", **used, n_bytes=n_bytes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
