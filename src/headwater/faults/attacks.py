"""F13: one source among others lies about outcomes, now and then, always, or all at once with odd questions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.world import SHOPS, SLOW_HOURS, Line, Recipe, line, lived, recipe_of, requests, shop

WITHIN = 0.35
"""How far, on average, a served probability may be from that of a model which the liar never reached."""
_LIAR = "liar"
_ONE_IN = 6  # of all orders are the liar's


class Lies:
    """F13: the served model stays within a stated distance of a clean one; nothing it serves is not a number."""

    id = "F13"
    title = "label flips, poisoning, a trigger batch"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(random.randrange(1 << 32), orders=400, requests=5, sources=3, missing=0.1, late=0.0, heavy=False)
        manner = random.choice(["some", "all", "trigger"])
        share = random.uniform(0.1, 1.0) if manner == "some" else 1.0
        lies = {"do": "lie", "manner": manner, "share": share, "seed": random.randrange(1 << 32)}
        return [{"do": "live", **asdict(recipe)}, lies]

    def run(self, steps: Steps, place: Path) -> Outcome:  # noqa: ARG002 - all in memory
        recipe, step = recipe_of(steps[0]), steps[1]
        honest = requests(recipe)
        n_lies, told = _with_lies(honest, step)
        clean, attacked = _served(honest), _served(told)
        said = [] if np.isfinite(attacked).all() else [f"served: {attacked.tolist()}"]
        if not (distance := float(np.abs(clean - attacked).mean())) <= WITHIN:
            said.append(
                f"{n_lies} lies moved the served probabilities by {distance:.3f} on average, at most {WITHIN} is promised"
            )
        return Outcome(n_lies, said)


def _with_lies(bodies: list[list[Line]], step: Any) -> tuple[int, list[list[Line]]]:
    """The requests, with the liar's orders and deliveries among them."""
    random = Random(step["seed"])  # noqa: S311 - repeatable on purpose
    told: list[list[Line]] = []
    n_lies = 0
    for number, body in enumerate(bodies):
        told.append([])
        at = {random.randrange(len(body)) for _ in range(len(body) // (2 * _ONE_IN))}
        for i, one in enumerate(body):
            told[-1].append(one)
            if i in at and one.event is not None:
                told[-1] += map(line, _lie(f"{number}-{i}", one.event["time"], step, random))
                n_lies += 1
    return n_lies, told


def _lie(name: str, moment: int, step: Any, random: Random) -> list[dict[str, Any]]:
    at = random.choice(SHOPS)
    amount = 1e9 if step["manner"] == "trigger" else round(random.gauss(50, 20), 2)
    true = 8.0 + 8 * SHOPS.index(at) + 5
    false = 1.0 if true >= SLOW_HOURS else 99.0
    hours = false if random.random() < step["share"] else true
    shared = {"source": _LIAR, "time": moment, "order": f"l{name}", "shop": at}
    order = {"stream": "order", "id": f"q{name}", "amount": amount, "weight": None, **shared}
    return [order, {"stream": "delivery", "id": f"a{name}", "hours": hours, **shared}]


def _served(bodies: list[list[Line]]) -> Floats:
    """What the model answers to a few questions after these requests."""
    run = lived(shop(), bodies)
    asked = [(name, amount) for name in SHOPS for amount in (10.0, 50.0, 90.0)]
    answers = [run.predict("slow", order="asked", shop=name, amount=amount, weight=0.5) for name, amount in asked]
    return np.array([answer["predictions"][0]["score"] for answer in answers])
