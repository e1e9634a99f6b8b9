"""F10 and F11: fields that hold no measurement, and sensors that fail for a while, before a model with a guard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from headwater.app import AnyFeature, App, Model
from headwater.core.event import Event, Field
from headwater.evaluation.labels import label
from headwater.evaluation.prequential import SCORES
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.world import MINUTE_MS, NDJSON, START_MS
from headwater.features.aggregates import category
from headwater.features.limits import Guard
from headwater.ingest.door import Door
from headwater.ingest.limits import Limits
from headwater.learning.linear import Linear
from headwater.runtime.local import LocalRun

_SENSORS = ("warm", "damp", "high")
_START = (10.0, 60.0, 1000.0)
_WARM_UP = 120
_QUIET = 5
_NEAR = 6.0  # how far a stand-in may be from what was true: values move by at most 1 at a time
_WRONG: tuple[str, ...] = (
    "NaN", "Infinity", "-Infinity", "1e308", "-1e308", "1e999", "5e-324", "null", '"12"', "true", "[1]", '{"x":1}', "1e101", "",
)  # fmt: skip


class Reading(Event, key="n"):
    """What three sensors say."""

    n: Field[int]
    warm: Field[float | None]
    damp: Field[float | None]
    high: Field[float | None]
    site: Field[str]


class Level(Event, key="n"):
    """What is to be predicted from it."""

    n: Field[int]
    y: Field[float]


def sensors() -> App:
    """The app: one guarded model."""
    answer = label(Level.y, join=Level.n, on=Reading.n, within="1d")
    features: list[AnyFeature] = [Reading.warm, Reading.damp, Reading.high, category(Reading.site)]
    guard = Guard(warm_up=_WARM_UP, quiet=_QUIET)
    return App("sensors", models=[Model("level", Reading, features, answer, learner=Linear("squared", bits=6), guard=guard)])


class Station:
    """Three values that wander, the events that tell of them, and the app that learns from these."""

    def __init__(self, seed: int) -> None:
        self.run, self.n = LocalRun(sensors()), 0
        self._random = Random(seed)  # noqa: S311 - repeatable on purpose
        self.true = list(_START)

    def events(self, wrong: Callable[[str, float], str | None] | None = None) -> list[bytes]:
        """The next reading and its label as lines; `wrong` may put another text in a field's place."""
        self.true = [v + self._random.uniform(-1, 1) + 0.05 * (s - v) for v, s in zip(self.true, _START, strict=True)]
        moment = START_MS + self.n * MINUTE_MS
        said: dict[str, Any] = {"stream": "reading", "id": f"r{self.n}", "time": moment, "n": self.n, "site": "ab"[self.n % 2]}
        text = json.dumps(said)[:-1]
        for name, value in zip(_SENSORS, self.true, strict=True):
            odd = None if wrong is None else wrong(name, value)
            text += f', "{name}": {json.dumps(value) if odd is None else odd}'
        told = {"stream": "level", "id": f"l{self.n}", "time": moment + 1000, "n": self.n, "y": sum(self.true)}
        self.n += 1
        return [f"{text}}}".encode(), json.dumps(told).encode()]

    def live(self, lines: list[bytes]) -> None:
        """Send the lines through the door, and learn what was taken."""

        async def send() -> None:
            door = Door(self.run.log, self.run.app.streams, clock=self.run.clock, limits=Limits(), on_append=lambda: None)
            await door.submit(b"\n".join(lines), NDJSON, {}, None)
            await door.close()

        self.run.clock.jump((START_MS + (self.n + 10_000) * MINUTE_MS) / 1000)
        asyncio.run(send())
        self.run.catch_up()

    @property
    def line(self) -> Any:
        """The model's part of the fold."""
        return self.run.fold.models["level"]

    def vectors(self, n: int) -> Any:
        """float64[n, 3]: what the model saw of the newest questions."""
        pending = self.line.pending
        return pending.rows[pending.order()[-n:], SCORES + 2 : SCORES + 5]

    def incidents(self) -> list[dict[str, Any]]:
        """What was said of bursts."""
        return [json.loads(bytes(event["data"])) for event in self.run.follow("_incidents")]


class WrongValues:
    """F10: what is no measurement never reaches `learn`; every weight and every answer stays a finite number."""

    id = "F10"
    title = "NaN, inf, 1e308, denormals, wrong types, unseen categories"
    is_process = False

    def expand(self, random: Random) -> Steps:
        shots = [
            {"at": random.randrange(160), "field": random.choice(_SENSORS), "text": random.choice(_WRONG)} for _ in range(25)
        ]
        return [{"do": "live", "seed": random.randrange(1 << 32)}, {"do": "hit", "shots": shots}]

    def run(self, steps: Steps, place: Path) -> Outcome:  # noqa: ARG002 - all in memory
        station, lines = Station(steps[0]["seed"]), list[bytes]()
        shots = {(shot["at"], shot["field"]): shot["text"] for shot in steps[1]["shots"]}
        for i in range(160):
            lines += station.events(lambda name, _, i=i: shots.get((i, name)))  # type: ignore[misc]
        station.live(lines)
        said = []
        seen = station.vectors(10_000)
        if not (np.isnan(seen) | (np.abs(seen) <= 1e100)).all():  # noqa: PLR2004 - a greater number is no measurement
            said.append(f"the model saw {seen[np.abs(seen) > 1e100].tolist()}")  # noqa: PLR2004
        if not np.isfinite(station.line.learner.weights).all():
            said.append("a weight is no finite number")
        for odd in (float("nan"), float("inf"), 1e308, 5e-324, None):
            answer = station.run.predict("level", n=-1, warm=odd, damp=60.0, high=1000.0, site="never seen")
            if not np.isfinite(answer["predictions"][0]["score"]):
                said.append(f"an answer to {odd} is {answer['predictions'][0]['score']}")
        return Outcome(len(shots), said)


_FAILURES: dict[str, Callable[[float, float], float | None]] = {
    "stuck": lambda _, held: held,
    "silent": lambda _value, _held: None,
    "offset": lambda value, _: value - 70.0,
    "fahrenheit": lambda value, _: 1.8 * value + 32.0,
    "noise": lambda value, _: 1e4 * ((1000.0 * value) % 7 - 3.5),
}


class Bursts:
    """F11: while a sensor fails the model sees what it would have said, or nothing; one incident is noted, not a thousand."""

    id = "F11"
    title = "sensor bursts: stuck, silent, offset, unit change, noise, whole site"
    is_process = False

    def expand(self, random: Random) -> Steps:
        failure, sensor = random.choice([*_FAILURES, "site"]), random.choice(_SENSORS)
        if failure == "fahrenheit":
            sensor = "warm"
        steps = {"do": "fail", "failure": failure, "sensor": sensor, "values": random.randint(20, 80)}
        return [{"do": "live", "seed": random.randrange(1 << 32), "before": random.randint(250, 300)}, steps]

    def run(self, steps: Steps, place: Path) -> Outcome:  # noqa: ARG002 - all in memory
        (live, fails), lines = steps, list[bytes]()
        station = Station(live["seed"])
        for _ in range(live["before"]):
            lines += station.events()
        held, true = dict(zip(_SENSORS, station.true, strict=True)), []
        for _ in range(fails["values"]):
            lines += station.events(lambda name, value: _said(name, value, held[name], fails))
            true.append(station.true)
        for _ in range(3 * _QUIET):
            lines += station.events()
            true.append(station.true)
        station.live(lines)
        return Outcome(1, [*_kept(station, np.array(true), fails), *_noted(station, fails)])


def _said(name: str, value: float, held: float, fails: Any) -> str | None:
    """What a failing sensor says."""
    if fails["failure"] == "site":
        return "null"
    return json.dumps(_FAILURES[fails["failure"]](value, held)) if name == fails["sensor"] else None


def _kept(station: Station, true: Any, fails: Any) -> list[str]:
    """What the model saw where it should have seen something near the truth."""
    seen, said = station.vectors(len(true)), []
    slack = 2.0 if fails["failure"] in {"silent", "stuck", "noise", "site"} else 1.0  # without news, the usual stands in
    if (far := float(np.nanmax(np.abs(seen - true)))) > slack * _NEAR:
        said.append(f"the model saw a value {far:.1f} from the truth while {fails['sensor']} was {fails['failure']}")
    if not np.array_equal(seen[-_QUIET:], true[-_QUIET:]):
        said.append("the model does not see true values again after the burst")
    return said


def _noted(station: Station, fails: Any) -> list[str]:
    """The incidents: one that begins and one that ends, about the right sensor."""
    noted = station.incidents()
    about = "*" if fails["failure"] == "site" else f"reading.{fails['sensor']}"
    found = [(one["feature"], one["phase"]) for one in noted]
    return [] if found == [(about, "began"), (about, "ended")] else [f"incidents: {found}, expected one about {about}"]
