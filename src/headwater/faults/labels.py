"""F12: labels that come late, never, twice, corrected, or contradict each other."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random

from headwater.faults.schedule import Outcome, Steps
from headwater.faults.story import Story
from headwater.faults.world import Recipe, recipe_of, requests


class Labels:
    """F12: metrics say how many came, wait and were corrected; each correction counts once, whatever restarts in between."""

    id = "F12"
    title = "labels late, missing, corrected, contradictory"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(
            random.randrange(1 << 32), orders=200, missing=random.uniform(0.1, 0.5), corrected=random.uniform(0.05, 0.5),
            late=random.choice([0.0, 0.1]),
        )  # fmt: skip
        return [{"do": "live", **asdict(recipe)}, {"do": "restart", "before": random.randrange(1, recipe.requests)}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        recipe = recipe_of(steps[0])
        story = Story(place, requests(recipe))
        said = story.live(until=steps[1]["before"]) + story.live() + story.verdict()
        sent = [one.event for body in story.requests for one in body if one.event is not None]
        odd = sum(event["stream"] == "delivery" and "-" in event["id"] for event in sent)
        answered = {event["order"] for event in sent if event["stream"] == "delivery"}
        return Outcome(odd + recipe.orders - len(answered), said)
