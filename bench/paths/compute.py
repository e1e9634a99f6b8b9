"""Rows of the loop itself: `loop`, `loop-windows`, `learner`."""

from __future__ import annotations

import array
import statistics
from pathlib import Path

from bench.data import readings
from bench.environments import theirs
from bench.result import Result, Spec, ratio
from bench.row import Row, Size
from bench.sides import WORK, Facts, ours, run

EVENTS, EXAMPLES, ROUNDS = 100_000, 40_000, 5
TOLERANCE = 1e-9


def difference(left: Path, right: Path) -> float:
    """The greatest difference of two files of float64; infinite where they differ in length."""
    a, b = array.array("d", left.read_bytes()), array.array("d", right.read_bytes())
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0) if len(a) == len(b) and a else float("inf")


def _per_cpu_s(rounds: list[Facts]) -> list[float]:
    return [facts["n"] / facts["cpu_s"] for facts in rounds]


def _result(row: Row, mine: list[Facts], others: list[Facts], worst: float, what: str, **facts: object) -> Result:
    ours_per_s, theirs_per_s = _per_cpu_s(mine), _per_cpu_s(others)
    return Result(
        row.specs[0],
        row.peer,
        ratio(ours_per_s, theirs_per_s),
        statistics.median(ours_per_s),
        statistics.median(theirs_per_s),
        f"{what} per CPU-second",
        int(mine[0]["n"]),
        len(mine),
        worst <= TOLERANCE,
        {**others[0]["versions"], **mine[0]["versions"]},
        {"greatest difference": worst, "peak MB": [mine[0]["peak_mb"], others[0]["peak_mb"]], **facts},
    )


def _loop(row: Row, size: Size, app: str, kind: str) -> list[Result]:
    lines = readings(size.work(EVENTS))
    left, right = WORK / "ours.scores", WORK / "theirs.scores"
    mine, others, worst = [], [], 0.0
    for _ in range(size.rounds(ROUNDS)):
        mine.append(run(ours("loop"), lines, left, f"bench/apps/{app}.py"))
        others.append(run(theirs("river", "river_loop"), lines, right, kind))
        worst = max(worst, difference(left, right))
    return [_result(row, mine, others, worst, "events", checkpoints=mine[0]["checkpoints"])]


def _plain(row: Row, size: Size) -> list[Result]:
    return _loop(row, size, "loop", "plain")


def _windows(row: Row, size: Size) -> list[Result]:
    return _loop(row, size, "windows", "windows")


def _learner(row: Row, size: Size) -> list[Result]:
    n = size.work(EXAMPLES)
    left, right = WORK / "ours.weights", WORK / "theirs.weights"
    mine, others, worst = [], [], 0.0
    for _ in range(size.rounds(ROUNDS)):
        mine.append(run(ours("learner"), n, left))
        others.append(run(theirs("river", "river_learner"), n, right))
        worst = max(worst, difference(left, right))
    return [_result(row, mine, others, worst, "examples")]


_OURS = (
    "One process. JSON lines as producers hand them over (bodies of 1,000) -> the door's decoder and checks -> log in memory "
    "with deduplication -> features -> score -> label join -> metrics of live and no-change (log loss, Brier, accuracy, AUC) "
    "-> learn -> durable checkpoints in the learner's default pace, the last one included. The disk log is left out: the peer "
    "has none."
)
_THEIRS = (
    "River 0.26.1, StandardScaler | LogisticRegression(SGD(0.05), intercept_lr=0.05), the same label join by a dict, LogLoss; "
    "model and metric pickled to a file each 1,000 events, not synced. json.loads of one line at a time."
)

LOOP = Row(
    (Spec("loop", "x", "higher", 12, 30),), "whole loop: JSON bytes to checkpoint, 7 features", "json + dict + River + pickle",
    _OURS, _THEIRS, _plain, ("river",),
)  # fmt: skip
WINDOWS = Row(
    (Spec("loop-windows", "x", "higher", 12, 30),), "whole loop with windowed and decayed features by key",
    "json + dicts + River + pickle",
    _OURS + " Features by sensor: 1-minute count, sum, mean; mean with a half-life of 3 hours; and 3 fields.",
    _THEIRS + " The same four features by hand in two dicts.", _windows, ("river",),
)  # fmt: skip
LEARNER = Row(
    (Spec("learner", "x", "higher", 100, 150),), "learner alone, 20 dense features", "River learn_one",
    "The compiled linear learner over float64 rows in blocks of 256: it scores each example, then learns it "
    "(SGD, standardised). The same examples 20 times, each time anew: one pass is too short to time.",
    "River 0.26.1 StandardScaler | LogisticRegression(SGD(0.05)) learn_one, without scoring; its dicts "
    "are made before the clock starts.",
    _learner, ("river",),
)  # fmt: skip
