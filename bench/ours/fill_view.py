"""Publishes entities as a learner would. Usage: fill_view FOLDER ENTITIES."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench.side import say
from headwater.store.view import ViewMeta, ViewWriter, entity_key

D = 20


def main(folder: Path, n: int) -> None:
    rows = np.random.default_rng(3).normal(size=(n, D))
    view = ViewWriter(folder)
    puts = [(entity_key(0, key), rows[key].tobytes()) for key in range(n)]
    view.publish(ViewMeta(seq=n, time_ms=1, published_us=1, app="x" * 64), puts)
    view.close()
    say(n=n)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
