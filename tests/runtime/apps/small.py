"""A small app of the shape of the flights: questions, outcomes that come later, a version every hundred labels."""

import headwater as hw


class Departure(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    origin: hw.Field[str]
    distance: hw.Field[float]
    constant: hw.Field[float]
    seats: hw.Field[int | None]


class Arrival(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    delay: hw.Field[float | None]  # minutes; None: never arrived


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
    label=hw.label(
        (Arrival.delay >= 15) | Arrival.delay.is_null(),
        join=Arrival.flight_id,
        on=Departure.flight_id,
        within="24h",
        missing=hw.UNKNOWN,
    ),
    learner=hw.Linear(loss="log"),
    baseline_by=Arrival.carrier,
    versions=hw.every_labels(100),
    twins={"frozen": hw.once(after=300)},
)

app = hw.App("small", models=[late])
