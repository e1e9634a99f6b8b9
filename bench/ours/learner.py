"""Headwater's linear learner alone. Usage: learner N WEIGHTS."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from bench.peers.river_learner import D, examples
from bench.side import Watch, say
from headwater.learning.kernels import learn_rows
from headwater.learning.linear import Linear, LinearState

BLOCK, REPEAT = 256, 20
SPEC = Linear(loss="log", optimizer="sgd", eta0=0.05, clip_z=float("inf"), bits=4)


def learnt(xs: np.ndarray, ys: np.ndarray) -> LinearState:
    state = LinearState(SPEC, D, 0)
    none, out = np.zeros((BLOCK, 0), np.int64), np.empty(BLOCK)
    for at in range(0, len(ys), BLOCK):
        x, y = xs[at : at + BLOCK], ys[at : at + BLOCK]
        learn_rows(state.weights, state.squares, state.stats, state.counts, x, none[: len(y)], y, state.params, out[: len(y)])
    return state


def main(n: int, out: Path) -> None:
    given = examples(n, random.Random(2))
    xs, ys = np.array([x for x, _ in given]), np.array([float(y) for _, y in given])
    learnt(xs[:BLOCK], ys[:BLOCK])
    watch = Watch()
    for _ in range(REPEAT):  # the same examples, anew: one pass is too short to time
        state = learnt(xs, ys)
    used = watch.read()
    out.write_bytes(np.ascontiguousarray(state.weights[: D + 1]).tobytes())
    say("headwater", "numba", "numpy", **used, n=n * REPEAT)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
