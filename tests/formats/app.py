"""The app of the frozen state directories. It must not change: what it declares is what they hold."""

import headwater as hw


class Reading(hw.Event, key="n", lateness="10m"):
    n: hw.Field[int]
    x: hw.Field[float]
    z: hw.Field[float | None]
    where: hw.Field[str]


class Outcome(hw.Event, key="n", lateness="10m"):
    n: hw.Field[int]
    y: hw.Field[float]


FEATURES: list[hw.AnyFeature] = [
    Reading.x,
    Reading.z,
    hw.category(Reading.where),
    hw.mean(Outcome.y, half_life="1h"),
    hw.count(Reading, by=Reading.where, window="1h", slide="10m"),
    hw.last(Outcome.y, n=3),
]

high = hw.Model(
    "high",
    on=Reading,
    features=FEATURES,
    label=hw.label(Outcome.y > 6, join=Outcome.n, on=Reading.n, within="2h", missing=hw.NEGATIVE),
    learner=hw.Linear(loss="log", bits=6),
    versions=hw.every_labels(100),
    twins={"hourly": hw.every("1h")},
)
level = hw.Model(
    "level",
    on=Reading,
    features=FEATURES[:3],
    label=hw.label(Outcome.y, join=Outcome.n, on=Reading.n, within="2h"),
    learner=hw.Linear(loss="squared", bits=6),
    versions=hw.every_labels(150),
)
app = hw.App("frozen", models=[high, level])
