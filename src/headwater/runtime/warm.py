"""Compiles the kernels into their cache, so that nobody waits for it later: `python -m headwater.runtime.warm`."""

from __future__ import annotations

import time

import numpy as np

from headwater.app import App
from headwater.core.batch import Frame, Text, column, single
from headwater.core.schema import Kind, Schema
from headwater.log.memory import MemoryLog
from headwater.runtime.fold import Fold

_SAMPLE = {Kind.FLOAT: 1.0, Kind.INT: 1, Kind.BOOL: True, Kind.STR: "a"}


def warm(app: App) -> float:
    """Fold a few invented events of every stream; returns seconds."""
    began = time.perf_counter()
    log = MemoryLog()
    for schema in app.streams.values():
        log.append(single(schema, _frame(schema, 3), np.arange(3, dtype=np.int64), Text.of(["1", "2", "3"])))
    fold = Fold(app)
    for chunk in log.read(0):
        fold.step(chunk)
    fold.state_hash()
    return time.perf_counter() - began


def _frame(schema: Schema, n: int) -> Frame:
    return Frame(n, {f.name: column(f, [_SAMPLE[f.kind]] * n) for f in schema.fields})


def _main() -> None:
    import headwater as hw  # noqa: PLC0415 - the public names load everything

    class Question(hw.Event, key="key"):
        key: hw.Field[str]
        x: hw.Field[float]

    class Outcome(hw.Event, key="key"):
        key: hw.Field[str]
        y: hw.Field[float]

    label = hw.label(Outcome.y > 0, join=Outcome.key, on=Question.key, within="1d")
    features: list[hw.AnyFeature] = [Question.x, hw.category(Question.key), hw.mean(Outcome.y, by=Outcome.key, half_life="1h")]
    model = hw.Model("warm", on=Question, features=features, label=label, twins={"twin": hw.every("1d")})
    print(f"Compiled the kernels in {warm(hw.App('warm', models=[model])):.0f} s.")


if __name__ == "__main__":
    _main()
