"""The loop that teams write: json -> dict -> River -> metric -> pickle each 1,000 events.

Usage: river_loop LINES SCORES KIND, where KIND is plain or windows.
"""

from __future__ import annotations

import array
import json
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from river import linear_model, metrics, optim, preprocessing

from bench.side import Watch, say

Features = Callable[[dict[str, Any]], dict[str, float]]
_NAMES = [f"x{j}" for j in range(1, 8)]
_HALF_LIFE_MS = 3 * 3_600_000


def plain(event: dict[str, Any]) -> dict[str, float]:
    return {name: event[name] for name in _NAMES}


def windowed() -> Features:
    """Features by sensor from what came before the event, then the event itself is added."""
    minutes: dict[str, list[float]] = {}  # minute, count, sum
    decayed: dict[str, list[float]] = {}  # time, weight, weighted sum

    def features(event: dict[str, Any]) -> dict[str, float]:
        sensor, t, x = event["sensor"], event["time"], event["x1"]
        minute = t // 60_000
        window = minutes.get(sensor)
        if window is None or window[0] != minute:
            window = minutes[sensor] = [minute, 0.0, 0.0]
        memory = decayed.get(sensor)
        if memory is None:
            memory = decayed[sensor] = [t, 0.0, 0.0]
        fade = 2.0 ** (-(t - memory[0]) / _HALF_LIFE_MS)
        memory[0], memory[1], memory[2] = t, memory[1] * fade, memory[2] * fade
        out = {
            "x1": x, "x2": event["x2"], "x3": event["x3"], "count": window[1], "sum": window[2],
            "mean": window[2] / (window[1] + 1.0), "decayed": memory[2] / (memory[1] + 1.0),
        }  # fmt: skip
        window[1] += 1.0
        window[2] += x
        memory[1] += 1.0
        memory[2] += x
        return out

    return features


def loop(lines: list[bytes], features: Features, checkpoint: Path) -> tuple[array.array[float], float]:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.05), intercept_lr=0.05)
    metric: Any = metrics.LogLoss()  # type: ignore[no-untyped-call]
    waiting: dict[str, tuple[dict[str, float], float]] = {}
    scores = array.array("d")
    for n, line in enumerate(lines, 1):
        event = json.loads(line)
        sensor = event["sensor"]
        before = waiting.get(sensor)
        if before is not None:
            x, p = before
            y = event["failed"] > 0
            metric.update(y, p)
            model.learn_one(x, y)
            scores.append(p)
        x = features(event)
        waiting[sensor] = (x, model.predict_proba_one(x)[True])
        if n % 1_000 == 0:
            with checkpoint.open("wb") as file:
                pickle.dump((model, metric), file, pickle.HIGHEST_PROTOCOL)
    return scores, metric.get()


def main(path: str, out: str, kind: str) -> None:
    lines = Path(path).read_bytes().splitlines()

    def features() -> Features:
        return plain if kind == "plain" else windowed()

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pickle"
        loop(lines[:2_000], features(), checkpoint)
        watch = Watch()
        scores, loss = loop(lines, features(), checkpoint)
        used = watch.read()
    Path(out).write_bytes(scores.tobytes())
    say("river", **used, n=len(lines), loss=loss)


if __name__ == "__main__":
    main(*sys.argv[1:])
