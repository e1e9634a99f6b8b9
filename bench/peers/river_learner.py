"""River's learn_one alone. Usage: river_learner N WEIGHTS."""

from __future__ import annotations

import array
import random
import sys
from pathlib import Path
from typing import Any

from bench.side import Watch, say

D, _BAR = 20, 0.5


def examples(n: int, chance: random.Random) -> list[tuple[list[float], bool]]:
    """Twenty numbers and a yes or no that depends on three of them."""
    out = []
    for _ in range(n):
        x = [chance.gauss(j, 1 + j) for j in range(D)]
        out.append((x, x[0] + 0.2 * x[3] - 0.1 * x[7] + chance.gauss(0, 1) > _BAR))
    return out


def main(n: int, out: Path) -> None:
    from river import linear_model, optim, preprocessing  # noqa: PLC0415 - `examples` is Headwater's side's too

    given = [(dict(enumerate(x)), y) for x, y in examples(n, random.Random(2))]

    def made() -> tuple[Any, Any]:
        last = linear_model.LogisticRegression(optimizer=optim.SGD(0.05), intercept_lr=0.05)
        return last, preprocessing.StandardScaler() | last

    _, warm = made()
    for x, y in given[:500]:
        warm.learn_one(x, y)
    last, model = made()
    watch = Watch()
    for x, y in given:
        model.learn_one(x, y)
    used = watch.read()
    out.write_bytes(array.array("d", [last.intercept, *(last.weights[j] for j in range(D))]).tobytes())
    say("river", **used, n=n)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
