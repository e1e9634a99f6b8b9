"""F7, F8, F19: what comes twice, otherwise, out of order, too late, or after its sender has gone away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np

from headwater.core.batch import Floats
from headwater.faults.installation import Installation
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.story import Story
from headwater.faults.world import LATENESS_MS, SHOPS, Line, Order, Recipe, lived, recipe_of, requests, shop
from headwater.runtime.local import LocalRun

_TOLERANCE = 1e-9  # sums in another order


class Resent:
    """F7: the same events again, singly and by whole requests, before and after a restart; others under a known id."""

    id = "F7"
    title = "duplicates, and other events under a known id"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(random.randrange(1 << 32), resent=random.uniform(0.1, 0.4), changed=random.uniform(0.05, 0.2))
        return [
            {"do": "live", **asdict(recipe)},
            {"do": "send each request", "times": random.randint(1, 3)},
            {"do": "restart", "before": random.randrange(1, recipe.requests)},
        ]

    def run(self, steps: Steps, place: Path) -> Outcome:
        story = Story(place, requests(recipe_of(steps[0])), n_sends=steps[1]["times"])
        said = story.live(until=steps[2]["before"]) + story.live() + story.verdict()
        lines = [one for body in story.requests for one in body]
        n_first = len({one.name for one in lines if one.event is not None})
        return Outcome(story.n_sends * len(lines) - n_first, said)


class OutOfOrder:
    """F8: events in any order within the lateness, and others beyond it."""

    id = "F8"
    title = "out of order, and late"
    is_process = False

    def expand(self, random: Random) -> Steps:
        seed, sources = random.randrange(1 << 32), random.randint(1, 3)
        recipe = Recipe(seed, sources=sources, shuffle_ms=random.randrange(LATENESS_MS), late=random.uniform(0.02, 0.3))
        return [{"do": "live", **asdict(recipe)}, {"do": "shuffle within the lateness", "ms": random.randrange(1, LATENESS_MS)}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        story = Story.of(place, recipe_of(steps[0]))
        said = story.live() + story.verdict()
        return Outcome(_n_back(story.requests), said + _same_memories(recipe_of(steps[0]), steps[1]["ms"]))


def _n_back(bodies: list[list[Line]]) -> int:
    """How many lines say an earlier time than one before them."""
    times = np.array([one.event["time"] for body in bodies for one in body if one.event is not None])
    return int((times < np.maximum.accumulate(times)).sum())


def _same_memories(recipe: Recipe, shuffle_ms: int) -> list[str]:
    """Within the lateness the order of arrival changes no feature of the next question; weights do depend on it."""
    plain = {**asdict(recipe), "late": 0.0, "resent": 0.0, "ties": False}
    runs = [lived(shop(), requests(Recipe(**{**plain, "shuffle_ms": ms}))) for ms in (0, shuffle_ms)]
    said = [f"{n} events within the lateness were late" for run in runs if (n := int(run.fold.watermarks.late.sum()))]
    ordered, other = map(_asked, runs)
    if not np.allclose(ordered, other, _TOLERANCE, _TOLERANCE, equal_nan=True):
        said.append(f"features depend on the order of events within the lateness: {ordered.tolist()}, {other.tolist()}")
    return said


def _asked(run: LocalRun) -> Floats:
    """The features of one more question to each shop."""
    run.fold.tells_features = True
    after = [Order(order=f"after-{name}", shop=name, amount=1.0, weight=None) for name in SHOPS]
    run.send(*after, time=run.fold.watermarks.high_mark() + 1)
    return np.concatenate([rows.numbers.ravel() for rows in run.effects[-1].features])


class ReplyLost:
    """F19: the client goes away before the answer, once, twice, at any moment; then sends the same again."""

    id = "F19"
    title = "applied, and the reply lost"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(random.randrange(1 << 32), resent=0.0, changed=random.choice([0.0, 0.05]))
        lost = [
            {"do": "hang up", "request": number, "after_turns": random.randrange(6)}
            for number in range(recipe.requests)
            for _ in range(random.randint(0, 2))
        ]
        return [{"do": "live", **asdict(recipe)}, *lost, {"do": "hang up", "request": 0, "after_turns": 2}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        story = Story.of(place, recipe_of(steps[0]))
        lost = steps[1:]
        story.is_sure = False

        def hang_up(there: Installation, number: int) -> None:
            for step in (step for step in lost if step["request"] == number):
                there.hang_up(story.requests[number], step["after_turns"])

        story.before = hang_up
        return Outcome(len(lost), story.live() + story.verdict(is_exact=False))
