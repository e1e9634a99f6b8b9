"""F14: the model decides which labels come. Without exploration it is blind where it says no, and says so."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from headwater.faults.schedule import Outcome, Steps
from headwater.faults.world import Recipe, lived, recipe_of, requests, shop, tell
from headwater.runtime.local import LocalRun

_REFUSED = 0.55  # from this score on, no delivery is ever made; an empty model says 0.5


class Feedback:
    """F14: a model whose refusals are never labelled warns of it; one that lets some through by chance does not."""

    id = "F14"
    title = "a feedback loop: what is refused is never labelled"
    is_process = False

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(
            random.randrange(1 << 32), orders=250, requests=20, missing=0.0, corrected=0.0, late=0.0, resent=0.0, heavy=False
        )
        loop = {
            "do": "refuse",
            "from_score": _REFUSED,
            "explore": random.choice([0.0, 0.0, 0.3]),
            "seed": random.randrange(1 << 32),
        }
        return [{"do": "live", **asdict(recipe)}, loop]

    def run(self, steps: Steps, place: Path) -> Outcome:  # noqa: ARG002 - all in memory
        run, loop = lived(shop(), []), steps[1]
        n_refused = _in_a_loop(run, recipe_of(steps[0]), loop)
        told = run.metrics()["slow"]["labels_by_score"]
        said = []
        if not loop["explore"] and not told["warning"]:
            said.append(f"{n_refused} refusals were never labelled, and nothing warns of it: {told}")
        if loop["explore"] and told["warning"]:
            said.append(f"refusals are labelled by chance, and yet: {told}")
        return Outcome(n_refused, said)


def _in_a_loop(run: LocalRun, recipe: Recipe, loop: Any) -> int:
    """Send orders as they come, and the deliveries of those that are let through; how many never had one."""
    random = Random(loop["seed"])  # noqa: S311 - repeatable on purpose
    refused: set[str] = set()
    for body in requests(recipe):
        events = [(one, one.event) for one in body if one.event is not None]
        tell(run, [[one for one, event in events if event["stream"] == "order"]])
        for key in (event["order"] for _, event in events if event["stream"] == "order"):
            score = run.predict("slow", order=key)["predictions"][0]["score"]  # the very score that is counted
            if score >= loop["from_score"] and random.random() >= loop["explore"]:
                refused.add(key)
        tell(run, [[one for one, event in events if event["stream"] == "delivery" and event["order"] not in refused]])
    return len(refused)
