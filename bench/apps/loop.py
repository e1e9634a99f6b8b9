"""A sensor's reading tells seven numbers, and whether the reading before it was followed by a failure."""

import headwater as hw


class Reading(hw.Event, key="sensor"):
    sensor: hw.Field[str]
    failed: hw.Field[int]  # of this sensor's reading before
    x1: hw.Field[float]
    x2: hw.Field[float]
    x3: hw.Field[float]
    x4: hw.Field[float]
    x5: hw.Field[float]
    x6: hw.Field[float]
    x7: hw.Field[float]


failing = hw.Model(
    "failing",
    on=Reading,
    features=[Reading.x1, Reading.x2, Reading.x3, Reading.x4, Reading.x5, Reading.x6, Reading.x7],
    label=hw.label(Reading.failed > 0, join=Reading.sensor, on=Reading.sensor, within="1m"),
    learner=hw.Linear(loss="log", optimizer="sgd", eta0=0.05, clip_z=float("inf"), bits=4),
)
app = hw.App("loop", models=[failing])
