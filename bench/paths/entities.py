"""The rows of many entities: `entities-bytes`, `entities-pause`."""

from __future__ import annotations

import shutil
import statistics

from bench.paths.ingest import fresh
from bench.result import Result, Spec, figure
from bench.row import Row, Size
from bench.sides import WORK, ours, run

ENTITIES, ROUNDS = 1_000_000, 4


def _entities(row: Row, size: Size) -> list[Result]:
    n = ENTITIES
    rounds = [run(ours("entities"), n, fresh("entities")) for _ in range(1 if size.is_quick else ROUNDS)]
    shutil.rmtree(WORK / "run")
    found = ([r["memory_mb"] + r["view_mb"] for r in rounds], [r["pause_ms"] for r in rounds])
    facts = {
        "MB of memory": rounds[0]["memory_mb"], "MB of the online view": rounds[0]["view_mb"],
        "ms of a save": rounds[0]["save_ms"], "saves begun": rounds[0]["saves"],
        "ms of a step of 1,000, median and slowest": [rounds[0]["step_ms"], rounds[0]["slowest_step_ms"]],
        "peak MB": rounds[0]["peak_mb"],
    }  # fmt: skip
    right = all(r["view_mb"] > 0 and r["pause_ms"] > 0 for r in rounds)
    return [
        Result(
            spec,
            "",
            figure(values),
            statistics.median(values),
            None,
            spec.unit,
            n,
            len(rounds),
            right,
            rounds[0]["versions"],
            facts,
        )
        for spec, values in zip(row.specs, found, strict=True)
    ]


ENTITIES_ROW = Row(
    (Spec("entities-bytes", "MB", "lower", 600, 300), Spec("entities-pause", "ms", "lower", 20, 5)),
    "1 million entities x 20 features online: memory, and the longest pause by a checkpoint", "",
    "20 decayed means of each of a million users: the learner's growth in memory and the online view's file together; then "
    "steps of "
    "1,000 random users, saved in the learner's pace: each 100,000 events or 4 MB of changes, where the save before is "
    "written. "
    "The pause is the longest save, or the slowest step beyond the median one "
    "while a save is written, whichever is longer.",
    "One process that folds, publishes and saves as the learner does; saves are written to disk with sync in the background.",
    _entities,
)  # fmt: skip
