"""Mistakes that a type checker must see. A line marked `# wrong: code` has that error; no other line has one.

Nothing here runs: the mistakes stand in functions that nobody calls.
"""
# ruff: noqa: B015, B018, F841

import headwater as hw


class Departure(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    distance: hw.Field[float]
    tailnum: hw.Field[str | None]
    cargo: hw.Field[bool]


class Arrival(hw.Event, key="flight_id"):
    flight_id: hw.Field[str]
    delay: hw.Field[float | None]


label = hw.label(Arrival.delay > 15, join=Arrival.flight_id, on=Departure.flight_id, within="2h")
model = hw.Model("late", on=Departure, features=[Departure.distance], label=label)


def events() -> None:
    Departure.distnce  # wrong: attr-defined
    Departure(flight_id="1", distance=1.0, tailnum=None)  # wrong: call-arg
    Departure(flight_id="1", distance="far", tailnum=None, cargo=True)  # wrong: arg-type
    Departure(flight_id="1", distance=1.0, tailnum=None, cargo=True, carrier="AA")  # wrong: call-arg
    event = Departure(flight_id="1", distance=1.0, tailnum=None, cargo=True)
    event.distance + "x"  # wrong: operator
    event.tailnum.upper()  # wrong: union-attr
    event.distance = "far"  # wrong: assignment
    number: str = event.distance  # wrong: assignment


def expressions() -> None:
    Departure.distance >= 15 | Arrival.delay.is_null()  # wrong: operator
    Departure.cargo & 1  # wrong: operator
    1 + Departure.distance  # wrong: operator
    Departure.distance.bucket("a")  # wrong: arg-type
    Departure.distance.fill(None)  # wrong: arg-type
    Departure.distance.log()  # wrong: attr-defined


def features() -> None:
    hw.mean("distance")  # wrong: arg-type
    hw.count(Departure.distance)  # wrong: arg-type
    hw.mean(Departure.distance, window=3600)  # wrong: arg-type
    hw.mean(Departure.distance, by="carrier")  # wrong: arg-type
    hw.mean(Departure.distance, where=Departure.distance)  # wrong: arg-type
    hw.mean(Departure.distance, halflife="1h")  # wrong: call-arg
    hw.ewma(Departure.distance)  # wrong: call-arg
    hw.category("carrier")  # wrong: arg-type


def models() -> None:
    hw.label(Arrival.delay > 15, join="flight_id", on=Departure.flight_id, within="2h")  # wrong: arg-type
    hw.label(Arrival.delay > 15, join=Arrival.flight_id, on=Departure.flight_id)  # wrong: call-arg
    on = Departure.flight_id
    hw.label(Arrival.delay > 15, join=Arrival.flight_id, on=on, within="2h", missing="unknown")  # wrong: arg-type
    hw.Linear(loss="hinge")  # wrong: arg-type
    hw.Linear(eta="0.1")  # wrong: call-arg
    hw.Model("late", on=Departure.distance, features=[Departure.distance], label=label)  # wrong: arg-type
    hw.Model("late", on=Departure, features=["distance"], label=label)  # wrong: list-item
    hw.Model("late", on=Departure, features=[Departure.distance], label=label, learner="linear")  # wrong: arg-type
    hw.Model("late", on=Departure, features=[Departure.distance], label=label, versions="1d")  # wrong: arg-type
    hw.App("flights", models=model)  # wrong: arg-type
    hw.once(100)  # wrong: call-arg
    hw.every(hours=1)  # wrong: call-arg


def consumers(app: hw.App) -> None:
    @app.on(Departure)
    def right(event: Departure, envelope: hw.Envelope) -> None:
        print(event.flight_id.upper(), envelope.key)

    @app.on(Departure, batch=True)
    def many(events: list[Departure]) -> None:
        right(events[0], hw.Envelope("departure", 0, "a", "b", 0))

    @app.on("_versions")
    def version(notice: hw.Notice) -> None:
        print(notice.data["name"])

    @app.on(Departure)  # wrong: arg-type
    def other(event: Arrival) -> None: ...

    @app.on(Departure)  # wrong: arg-type
    def single(events: list[Departure]) -> None: ...

    @app.on(Departure, batch=True)  # wrong: arg-type
    def batch(event: Departure) -> None: ...

    app.webhook(Departure)  # wrong: call-arg
    app.webhook(Departure.flight_id, url="http://a/b")  # wrong: arg-type
