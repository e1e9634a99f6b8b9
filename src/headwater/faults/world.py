"""A small shop that exists to be disturbed: orders, deliveries that judge them, and all that producers do wrong.

A recipe of a few numbers is a whole stream of lines, always the same one: so a schedule that names it can be run again.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from headwater.app import AnyFeature, App, Model, every_labels, once
from headwater.core.event import Event, Field
from headwater.evaluation.labels import NEGATIVE, UNKNOWN, label
from headwater.faults.damage import damaged
from headwater.features.aggregates import category, count, last, mean
from headwater.ingest.door import Door
from headwater.ingest.limits import Limits
from headwater.learning.linear import Linear
from headwater.runtime.local import LocalRun

START_MS = 1_767_225_600_000  # 2026-01-01
MINUTE_MS = 60_000
LATENESS_MS = 10 * MINUTE_MS
NOW_US = (START_MS + 30 * 86_400_000) * 1000  # when the lines arrive: later than any of them says
SLOW_HOURS = 24.0
NDJSON = "application/x-ndjson"
SHOPS = ("ash", "birch", "cedar", "elm", "fir")


class Order(Event, key="order", lateness="10m"):
    """A question: will it be delivered late?"""

    order: Field[str]
    shop: Field[str]
    amount: Field[float]
    weight: Field[float | None]


class Delivery(Event, key="order", lateness="10m"):
    """Its answer."""

    order: Field[str]
    shop: Field[str]
    hours: Field[float | None]


def shop(handler: Callable[[Delivery, Any], object] | None = None) -> App:
    """The app: one model for which silence says nothing, one for which it says no.

    Args:
        handler: Called with each delivery and its envelope, where given; an event is parked after three failures.
    """
    answers = {
        name: label(Delivery.hours >= SLOW_HOURS, join=Delivery.order, on=Order.order, within="2h", missing=missing)
        for name, missing in (("slow", UNKNOWN), ("silent", NEGATIVE))
    }
    features: list[AnyFeature] = [
        Order.amount, Order.weight, category(Order.shop), count(Order, by=Order.shop, window="1h"),
        mean(Delivery.hours, by=Delivery.shop, half_life="3h"), last(Delivery.hours, by=Delivery.shop),
    ]  # fmt: skip
    twins = {"frozen": once(after=50)}
    models = [
        Model("slow", Order, features, answers["slow"], learner=Linear(bits=8), versions=every_labels(25), twins=twins),
        Model("silent", Order, features[:2], answers["silent"], learner=Linear(bits=8), versions=every_labels(40)),
    ]
    app = App("shop", models=models)
    if handler is not None:
        app.on(Delivery, name="told", attempts=3)(handler)
    return app


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a stream is like; shares are of all events.

    Attributes:
        seed: Draws it.
        orders: Questions, one a minute.
        requests: In how many bodies they are sent.
        sources: Who sends; a shop's events come from one of them.
        resent: Sent again some lines later, up to three times.
        changed: Sent again with another payload under the same id.
        corrupt: Lines in between that are no events.
        late: Sent after their watermark, or exactly at it.
        shuffle_ms: How far other events are out of order; below the lateness they are never late.
        missing: Orders that are never delivered.
        corrected: Deliveries that are told again with another outcome; half as many are repeated.
        ties: Whether events may happen at the same moment, all of them on whole minutes.
        heavy: Whether deliveries' delays have a heavy tail, beyond the time that a label may take.
    """

    seed: int
    orders: int = 110
    requests: int = 12
    sources: int = 2
    resent: float = 0.03
    changed: float = 0.0
    corrupt: float = 0.0
    late: float = 0.05
    shuffle_ms: int = 4 * MINUTE_MS
    missing: float = 0.2
    corrected: float = 0.05
    heavy: bool = True
    ties: bool = True


class Line(NamedTuple):
    """One line as it is sent.

    Attributes:
        text: The line.
        event: What it says, all members; None where it is no event.
    """

    text: bytes
    event: dict[str, Any] | None

    @property
    def name(self) -> tuple[str, str]:
        """Source and id."""
        assert self.event is not None
        return self.event["source"], self.event["id"]


def line(event: dict[str, Any]) -> Line:
    """An event as a line."""
    return Line(json.dumps(event).encode(), event)


def requests(recipe: Recipe) -> list[list[Line]]:
    """The bodies that a recipe stands for, in the order in which they are sent."""
    random = Random(recipe.seed)  # noqa: S311 - repeatable on purpose
    timed = sorted(_sent(recipe, random), key=lambda pair: pair[0])
    lines = _with_faults([line(event) for _, event in timed], recipe, random)
    n = -(-len(lines) // recipe.requests)
    return [lines[at : at + n] for at in range(0, len(lines), n)]


def _sent(recipe: Recipe, random: Random) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each event with the time at which it is sent."""
    events = _happened(recipe, Random(f"{recipe.seed}/events"))  # noqa: S311 - the same ones in any order
    for at, event in enumerate(events):
        if random.random() < recipe.late:
            # At an event's own minute plus the lateness it lies on the watermark: that is the last moment in time.
            delay = LATENESS_MS + MINUTE_MS * random.choice([0, 0, 1, 30, 90])
        else:
            delay = random.randint(0, recipe.shuffle_ms) if recipe.shuffle_ms else 0
        yield event["time"] + delay, event if recipe.ties else {**event, "time": event["time"] + at}


def _happened(recipe: Recipe, random: Random) -> Iterator[dict[str, Any]]:
    numbers: Counter[str] = Counter()  # each source counts for itself: only with the source is an id one event's
    for i in range(recipe.orders):
        name, moment = random.choice(SHOPS), START_MS + i * MINUTE_MS
        amount, weight = round(random.gauss(50, 20), 2), round(random.random(), 3)
        source = source_of(name, recipe.sources)
        numbers[source] += 1
        order = {"stream": "order", "id": f"o{numbers[source]}", "source": source, "time": moment}
        yield {**order, "order": f"n{i}", "shop": name, "amount": amount, "weight": weight if i % 7 else None}
        if random.random() >= recipe.missing:
            yield from _deliveries(i, f"d{numbers[source]}", name, amount, recipe, random)


def _deliveries(i: int, id_: str, name: str, amount: float, recipe: Recipe, random: Random) -> Iterator[dict[str, Any]]:
    delay = int(random.lognormvariate(3.0, 1.2)) if recipe.heavy else random.randint(1, 60)
    hours = round(8.0 + 8 * SHOPS.index(name) + amount / 10 + random.gauss(0, 4), 1)
    event = {"stream": "delivery", "source": source_of(name, recipe.sources), "order": f"n{i}", "shop": name}
    moment = START_MS + (i + delay) * MINUTE_MS
    yield {**event, "id": id_, "time": moment, "hours": hours if random.random() > 0.02 else None}  # noqa: PLR2004
    if random.random() < recipe.corrected:
        other = SLOW_HOURS + 1 if hours < SLOW_HOURS else SLOW_HOURS - 1
        yield {**event, "id": f"{id_}-corrected", "time": moment + 5 * MINUTE_MS, "hours": other}
    if random.random() < recipe.corrected / 2:
        yield {**event, "id": f"{id_}-repeated", "time": moment + MINUTE_MS, "hours": hours}


def source_of(name: str, sources: int) -> str:
    """Who sends a shop's events."""
    return f"gate-{SHOPS.index(name) % sources}"


def _with_faults(lines: list[Line], recipe: Recipe, random: Random) -> list[Line]:
    """The lines with what is sent again, changed and damaged in between."""
    placed = [(float(at), one) for at, one in enumerate(lines)]
    for at, one in enumerate(lines):
        if random.random() < recipe.resent:
            placed += [(at + random.uniform(0.1, 60), one) for _ in range(random.randint(1, 3))]
        if random.random() < recipe.changed and one.event is not None:
            placed.append((at + random.uniform(0.1, 60), line({**one.event, "shop": "another"})))
        if random.random() < recipe.corrupt:
            placed.append((at + 0.5, Line(damaged(one.event or {}, random), None)))
    return [one for _, one in sorted(placed, key=lambda pair: pair[0])]


def body_of(lines: list[Line]) -> bytes:
    """Lines as one request."""
    return b"\n".join(one.text for one in lines)


def lived(app: App, bodies: list[list[Line]]) -> LocalRun:
    """The app in memory, once it has had these requests through the door and learnt them."""
    run = LocalRun(app)
    run.clock.jump(NOW_US / 1e6)
    tell(run, bodies)
    return run


def tell(run: LocalRun, bodies: list[list[Line]]) -> None:
    """Send requests to an app in memory, and have it learn them."""

    async def send() -> None:
        door = Door(run.log, run.app.streams, clock=run.clock, limits=Limits(), on_append=lambda: None)
        for lines in bodies:
            await door.submit(body_of(lines), NDJSON, {}, None)
        await door.close()

    asyncio.run(send())
    run.catch_up()


def warm() -> None:
    """Load and compile what schedules need, in this process, leaving no thread and no file open."""
    run = lived(shop(), requests(Recipe(0, orders=60, resent=0.1, changed=0.1, corrupt=0.1)))
    run.state_hash()
    for model in run.app.models:
        run.predict(model, order="n1")
        run.predict(model, order="new", shop="ash", amount=1.0)


def recipe_of(step: Mapping[str, Any]) -> Recipe:
    """The recipe that a step of a schedule names."""
    return Recipe(**{name: value for name, value in step.items() if name != "do"})
