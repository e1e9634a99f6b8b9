"""Has a learner learn and publish questions, for both sides. Usage: fill_predict STATE JSON QUESTIONS.

The JSON: `coef` and `intercept` of the standardised model in terms of plain numbers, and each question's 20 numbers.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from bench.apps.predict import Ask, Outcome, app
from bench.side import say
from headwater.core.batch import Column, Frame, Text, concat, single
from headwater.log.open import open_log
from headwater.runtime.learner import Learner
from headwater.runtime.settings import Settings

D = 20


def main(state: Path, out: Path, n: int) -> None:
    settings = Settings(state_dir=state)
    log = open_log(settings.log_url)
    chance = np.random.default_rng(5)
    xs = chance.normal(size=(n, D)) * np.arange(1, D + 1) + np.arange(D)
    ys = (xs[:, 0] - 0.2 * xs[:, 4] + chance.normal(size=n) > 0).astype(np.int64)
    keys = Text.of([f"q{i}" for i in range(n)])
    time_ms = np.full(n, time.time_ns() // 1_000_000, np.int64)
    asks = Frame(n, {"ask": Column(keys), **{f"x{j + 1}": Column(np.ascontiguousarray(xs[:, j])) for j in range(D)}})
    outcomes = Frame(n, {"ask": Column(keys), "good": Column(ys)})
    asked = single(Ask.schema, asks, time_ms, Text.of([f"a{i}" for i in range(n)]), source="bench")
    known = single(Outcome.schema, outcomes, time_ms, Text.of([f"o{i}" for i in range(n)]), source="bench")
    log.append(concat([asked, known]))
    learner = Learner(app, log, settings)
    done = threading.Event()
    done.set()
    learner.run(done)
    weights = learner.fold.models["good"].learner
    w, stats = weights.weights[: D + 1], weights.stats
    scale = np.sqrt(stats[2])
    coef = w[1:] / scale
    facts = {"coef": coef.tolist(), "intercept": float(w[0] - (coef * stats[1]).sum()), "rows": xs.tolist()}
    out.write_text(json.dumps(facts))
    learner.close()
    log.close()
    say(n=n)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
