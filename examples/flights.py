"""Will this flight arrive 15 or more minutes late, or not at all? Asked at the scheduled time of departure.

Run it with `headwater run examples/flights.py`, judge it with `headwater replay examples/flights.py --input ...`;
`headwater demo` does both on every flight out of New York in 2013.
"""

import headwater as hw


class Departure(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    flight: hw.Field[int]
    tailnum: hw.Field[str | None]
    origin: hw.Field[str]
    dest: hw.Field[str]
    distance: hw.Field[float]
    sched_hour: hw.Field[float]  # local time at the origin, hours
    sched_arrival: hw.Field[float]  # local time at the destination, hours


class Arrival(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    flight: hw.Field[int]
    tailnum: hw.Field[str | None]
    origin: hw.Field[str]
    dest: hw.Field[str]
    dep_delay: hw.Field[float | None]
    arr_delay: hw.Field[float | None]  # minutes; None: never arrived
    air_time: hw.Field[float | None]


class Weather(hw.Event, key="origin", lateness="1h"):
    origin: hw.Field[str]
    temp: hw.Field[float | None]
    dewp: hw.Field[float | None]
    humid: hw.Field[float | None]
    wind_dir: hw.Field[float | None]
    wind_speed: hw.Field[float | None]
    wind_gust: hw.Field[float | None]
    precip: hw.Field[float | None]
    pressure: hw.Field[float | None]
    visib: hw.Field[float | None]


is_late = (Arrival.arr_delay >= 15) | Arrival.arr_delay.is_null()
delay = Arrival.arr_delay.fill(180).log1p()
hour = Departure.sched_hour.bucket(*range(1, 24))

known_at_once: list[hw.AnyFeature] = [
    Departure.distance,
    Departure.sched_hour,
    hw.category(Departure.carrier),
    hw.category(Departure.origin),
    hw.category(Departure.dest),
    hw.category(hour),
    hw.category(hw.weekday(Departure, utc_offset="-5h")),
    hw.category(Departure.origin, hour),
    hw.category(Departure.carrier, Departure.dest),
    hw.category(Departure.carrier, Departure.flight),
    hw.category(Departure.tailnum),
]

streamed: list[hw.AnyFeature] = [
    *[
        hw.mean(value, by=by, half_life=half_life, prior_weight=0.5)
        for value in (is_late, delay)
        for by in (Arrival.origin, Arrival.carrier, Arrival.dest, Arrival.tailnum, (Arrival.origin, Arrival.carrier))
        for half_life in ("1h", "4h", "1d")
    ],
    hw.count(Departure, by=Departure.origin, window="1h", slide="10m"),
    *[hw.last(value, by=Weather.origin) for value in (Weather.visib, Weather.precip, Weather.wind_speed, Weather.pressure)],
]

label = hw.label(is_late, join=Arrival.flight_id, on=Departure.flight_id, within="48h", missing=hw.UNKNOWN)
learner = hw.Linear(loss="log", eta0=0.05, forget=0.9999)
first_fifth = 67_355  # a fifth of the year's flights

late = hw.Model(
    "late",
    on=Departure,
    features=[*known_at_once, *streamed],
    label=label,
    learner=learner,
    baseline_by=Arrival.carrier,
    versions=hw.every("1d", utc_offset="-5h"),
    twins={"nightly": hw.every("1d", utc_offset="-5h"), "frozen": hw.once(after=first_fifth)},
)

# Yesterday's practice: request-time fields only, learnt on the first fifth of the year and then left alone.
practice = hw.Model(
    "practice",
    on=Departure,
    features=known_at_once,
    label=label,
    learner=learner,
    baseline_by=Arrival.carrier,
    versions=hw.once(after=first_fifth),
    twins={"frozen": hw.once(after=first_fifth)},
)


def trees() -> hw.LightGBM | None:
    """The slow expert; None where its library is not installed."""
    try:
        return hw.LightGBM(trees=60, num_leaves=15, window=20_000)
    except hw.DeclarationError:
        return None


# A slow expert and a fast one: trees that are refitted beside serving when that is worth it, and what learns in between.
# Half a core, since the demo sends a year in less than a minute; at the pace of the world 5% would be plenty.
planned = hw.Model(
    "planned",
    on=Departure,
    features=[*known_at_once, *streamed],
    label=label,
    learner=hw.Fast(slow=trees(), update=hw.Planner(budget="50% of a core"), block=128, decide_every=4_000),
    baseline_by=Arrival.carrier,
    versions=hw.every_labels(100_000),
)

app = hw.App("flights", models=[late, practice, planned])
