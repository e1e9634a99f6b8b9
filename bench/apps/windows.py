"""The same readings with features by sensor: count, sum and mean of the running minute, a mean that halves every 3 hours."""

import headwater as hw


class Reading(hw.Event, key="sensor"):
    sensor: hw.Field[str]
    failed: hw.Field[int]
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
    features=[
        Reading.x1,
        Reading.x2,
        Reading.x3,
        hw.count(Reading, by=Reading.sensor, window="1m"),
        hw.sum(Reading.x1, by=Reading.sensor, window="1m"),
        hw.mean(Reading.x1, by=Reading.sensor, window="1m", prior_weight=1.0),
        hw.mean(Reading.x1, by=Reading.sensor, half_life="3h", prior_weight=1.0),
    ],
    label=hw.label(Reading.failed > 0, join=Reading.sensor, on=Reading.sensor, within="1m"),
    learner=hw.Linear(loss="log", optimizer="sgd", eta0=0.05, clip_z=float("inf"), bits=4),
)
app = hw.App("windows", models=[failing])
