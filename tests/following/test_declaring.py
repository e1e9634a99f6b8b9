"""`app.on` and `app.webhook`: what can be declared, and what a handler is called with."""

from __future__ import annotations

import pytest

import headwater as hw

from .conftest import START_MS, Order, Ping, order


class Outcome(hw.Event, key="order_id"):
    order_id: hw.Field[str]
    is_late: hw.Field[bool]


def made() -> hw.App:
    label = hw.label(Outcome.is_late, join=Outcome.order_id, on=Order.order_id, within="1d")
    return hw.App("shop", models=[hw.Model("late", on=Order, features=[Order.distance_km], label=label)])


def run(world, app, name):
    consumer = app.consumers[name]
    delivery = world.delivery(consumer.target, name=name, stream=consumer.stream, start=consumer.manner.start)
    world.run(delivery)


def test_a_handler_is_called_with_each_event(world):
    app, seen = made(), []

    @app.on(Order)
    def keep(event: Order) -> None:
        seen.append(event)

    world.orders(6)
    run(world, app, "keep")
    assert seen == [order(i) for i in range(6)]
    assert keep(order(1)) is None  # what is decorated stays a function


def test_with_a_second_parameter_it_is_told_which_event_it_is(world):
    app, seen = made(), []

    @app.on(Order, name="other_name")
    def keep(event: Order, envelope: hw.Envelope) -> None:
        seen.append((event.order_id, envelope))

    world.orders(2, pings=1)
    run(world, app, "other_name")
    assert seen[1] == ("o1", hw.Envelope("order", 2, "order-1", "till", START_MS + 1000))
    assert seen[1][1].key == "order/2"


def test_a_batch_handler_is_called_with_lists(world):
    app, seen = made(), []

    @app.on(Order, batch=True)
    def many(events: list[Order], envelopes: list[hw.Envelope]) -> None:
        seen.append([(event.order_id, envelope.seq) for event, envelope in zip(events, envelopes, strict=True)])

    world.orders(501)
    run(world, app, "many")
    assert [len(part) for part in seen] == [500, 1]
    assert [pair for part in seen for pair in part] == [(f"o{i}", i) for i in range(501)]


def test_notices_are_handed_over_as_such(world):
    app, seen = made(), []

    @app.on("_versions")
    def fresh(notice: hw.Notice) -> None:
        seen.append(notice)

    @app.on("_dead", batch=True)
    def refused(notices: list[hw.Notice]) -> None:
        raise AssertionError(notices)

    world.notices.append("_versions", "late@9", 4, {"line": "late"})
    run(world, app, "fresh")
    run(world, app, "refused")
    assert seen == [hw.Notice("_versions", "late@9", 4, {"line": "late"})]


def test_consumers_are_no_part_of_the_fold():
    plain, consuming = made(), made()
    consuming.on(Order)(print_it)
    consuming.webhook(Outcome, url="http://127.0.0.1:9/x")
    assert list(consuming.consumers) == ["print_it", "webhook_outcome"]
    assert consuming.fingerprint() == plain.fingerprint()
    assert plain.consumers == {}


def print_it(event: Order) -> None:
    raise AssertionError(event)


async def later(event: Order) -> None:
    raise AssertionError(event)


def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda app: app.on(Ping)(print_it), "no such stream.*streams="),
        (lambda app: app.on("_version")(print_it), "no such stream.*Did you mean _versions"),
        (lambda app: app.on("order")(print_it), "no such stream"),
        (lambda app: app.on(7)(print_it), "no such stream"),
        (lambda app: [app.on(Order)(print_it), app.on(Outcome)(print_it)], "same name.*name="),
        (lambda app: app.on(Order, name="a b")(print_it), "needs a name"),
        (lambda app: app.on(Order)(lambda event: event), "needs a name"),
        (lambda app: app.on(Order, start="middle")(print_it), "begins at one end"),
        (lambda app: app.on(Order, attempts=0)(print_it), "attempts must be positive"),
        (lambda app: app.on(Order)(later), "plain function"),
        (lambda app: app.on(Order)(nothing), "takes an event"),
        (lambda app: app.webhook(Order, url="nonsense"), "needs an address"),
        (lambda app: app.webhook(Order, url="http://a/b", batch=0), "too many events or none"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(declare, says):
    with pytest.raises(hw.DeclarationError, match=says):
        declare(made())
