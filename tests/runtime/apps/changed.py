"""The small app a week later: a field, a feature and a model more; the first model as it was."""

import headwater as hw


class Departure(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    origin: hw.Field[str]
    distance: hw.Field[float]
    constant: hw.Field[float]
    seats: hw.Field[float | None]  # was a whole number
    gate: hw.Field[str | None]


class Arrival(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    delay: hw.Field[float | None]  # minutes; None: never arrived


is_late = hw.label(
    (Arrival.delay >= 15) | Arrival.delay.is_null(),
    join=Arrival.flight_id,
    on=Departure.flight_id,
    within="24h",
    missing=hw.UNKNOWN,
)
late = hw.Model(
    "late",
    on=Departure,
    features=[
        Departure.distance,
        Departure.constant,
        hw.category(Departure.carrier),
        hw.category(Departure.origin),
        hw.count(Departure, by=Departure.origin, window="1h"),
        hw.mean(Arrival.delay, by=Arrival.carrier, half_life="3h"),
        hw.last(Arrival.delay, by=Arrival.carrier),
    ],
    label=is_late,
    learner=hw.Linear(loss="log"),
    baseline_by=Arrival.carrier,
    versions=hw.every_labels(100),
    twins={"frozen": hw.once(after=300)},
)
better = hw.Model(
    "better",
    on=Departure,
    features=[
        *late.features,
        Departure.seats,
        hw.category(Departure.gate),
        hw.mean(Arrival.delay, by=Arrival.carrier, half_life="12h"),
        hw.count(Departure, by=Departure.carrier, window="2h", slide="1h"),
    ],
    label=is_late,
    learner=hw.Linear(loss="log"),
    baseline_by=Arrival.carrier,
)

app = hw.App("small", models=[late, better])
