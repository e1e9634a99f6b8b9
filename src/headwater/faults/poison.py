"""F9: lines that are no events, lines that are too much, and events at which the user's own code fails."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random

from headwater.faults.damage import huge
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.story import Story
from headwater.faults.world import SHOPS, Line, Recipe, recipe_of, requests

_LONGEST = 10_000_000  # bytes


class Poison:
    """F9: each bad line is in quarantine with its reason, each good one beside it is learnt, and nothing waits for ever."""

    id = "F9"
    title = "corrupt lines and poison events"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(random.randrange(1 << 32), corrupt=random.uniform(0.05, 0.5), resent=random.choice([0.0, 0.1]))
        steps: Steps = [{"do": "live", **asdict(recipe)}]
        if random.random() < 0.2:  # noqa: PLR2004
            n_bytes = random.randint((1 << 20) + 1, _LONGEST)
            steps.append({"do": "send a line", "bytes": n_bytes, "in_request": random.randrange(recipe.requests)})
        return [*steps, {"do": "fail in the handler", "at_shop": random.choice(SHOPS)}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        bodies = requests(recipe_of(steps[0]))
        for step in steps[1:-1]:
            bodies[step["in_request"]].append(Line(huge(step["bytes"]), None))
        story = Story(place, bodies, poison=steps[-1]["at_shop"])
        said = story.live() + story.verdict()
        return Outcome(sum(one.event is None for body in bodies for one in body), said)
