"""The events that both sides are given: made once, from a seed, and kept under `.bench/data`."""

from __future__ import annotations

import json
import random
from pathlib import Path

from bench.sides import WORK

N_SENSORS = 1_000
STEP_MS = 6  # each sensor speaks every 6 s
START_MS = 1_767_225_600_000
_BAR = 0.5
LINES = 1_000  # in a producer's request


def readings(n: int, seed: int = 1) -> Path:
    """`n` JSON lines of sensors' readings, about 170 bytes each, in order of time."""
    path = WORK / "data" / f"readings-{n}-{seed}.jsonl"
    if path.exists():
        return path
    chance = random.Random(seed)
    outcome = dict.fromkeys(range(N_SENSORS), 0)
    lines = []
    for i in range(n):
        sensor = i % N_SENSORS
        x = [round(chance.gauss(0, 1) * (j + 1) + j, 6) for j in range(7)]
        event = {"id": f"r-{i:08d}", "time": START_MS + STEP_MS * i, "sensor": f"s{sensor:04d}", "failed": outcome[sensor]}
        event |= {f"x{j + 1}": x[j] for j in range(7)}
        outcome[sensor] = int(chance.gauss(0, 1) + 0.8 * x[0] - 0.2 * (x[3] - 3) > _BAR)
        lines.append(json.dumps(event, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
