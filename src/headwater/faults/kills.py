"""F1: the process is killed at a named step of the code, and again while it recovers.

The child that lives the story kills itself with SIGKILL, at the drawn hit of the drawn crash point: no cleanup, no flush. Its
successor finds what a power button would have left of a process, and must end where an undisturbed one ends.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from headwater.app import App
from headwater.faults.sandbox import survives
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.story import Story, Told
from headwater.faults.world import Recipe, line, recipe_of, requests, shop
from headwater.store import deltas

POINTS = {
    "log.encoded": 12, "log.put": 12, "log.committed": 12, "learner.folded": 12, "learner.registered": 12,
    "learner.published": 9, "learner.saving": 4, "registry.written": 4, "registry.renamed": 4, "registry.registered": 4,
    "registry.heads_written": 4,
    "notices.put": 5, "checkpoint.blocks_put": 4, "checkpoint.put": 4, "checkpoint.committed": 4, "checkpoint.merging": 5,
    "checkpoint.merged": 4, "consumer.handed": 40, "story.telling": 40,
}  # fmt: skip
"""Every crash point, and how often a story surely passes it."""


def die_at(point: str, hit: int) -> Callable[[str], None]:
    """What to arm: SIGKILL when the point is passed for the `hit`-th time."""
    left = hit

    def act(name: str) -> None:
        nonlocal left
        left -= name == point
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


@dataclass(frozen=True, slots=True)
class Killed:
    """F1, within one process; also for an app of your own: `run_faults(50, faults=[Killed(1, lambda told: app(), sent)])`.

    Attributes:
        n_kills: 1: at a step. 2: and at a step of the recovery.
        declare: Makes the app anew, given a handler to declare under the name "told" or to leave.
        sent: The requests, each a list of events as JSON objects with `stream`, `id`, `source` and `time`; empty: those of a
            drawn recipe for the shop.
    """

    n_kills: int = 1
    declare: Callable[[Told], App] = shop
    sent: Sequence[Sequence[dict[str, Any]]] = ()
    id = "F1"
    is_process = False

    @property
    def title(self) -> str:
        return "kill -9 at a step" if self.n_kills == 1 else "kill -9 at a step, and in the recovery"

    def expand(self, random: Random) -> Steps:
        recipe = Recipe(random.randrange(1 << 32), resent=random.choice([0.0, 0.1]), changed=random.choice([0.0, 0.05]))
        kills = [self._kill(random, turn) for turn in range(self.n_kills)]
        return [{"do": "live", **asdict(recipe)}, *kills]

    def _kill(self, random: Random, turn: int) -> dict[str, object]:
        point = random.choice(list(POINTS))
        hits = POINTS[point] if turn == 0 else max(1, POINTS[point] // 4)  # a recovery has less left to do
        return {"do": "kill", "at": point, "hit": random.randint(1, hits)}

    def run(self, steps: Steps, place: Path) -> Outcome:
        _merge_early()
        bodies = [[line(event) for event in body] for body in self.sent] or requests(recipe_of(steps[0]))
        story, fired = Story(place, bodies, self.declare), 0
        for kill in steps[1:]:
            fired += not survives(partial(_live, story, die_at(kill["at"], kill["hit"])))
            story.is_sure = not fired  # of a request that was being stored, some may be known already
        return Outcome(fired, story.live() + story.verdict(is_exact=not fired))


def _live(story: Story, arm: Callable[[str], None]) -> None:
    if said := story.live(arm):
        raise AssertionError("; ".join(said))


def _merge_early() -> None:
    """Have small arrays merged as large ones are, in this process."""
    vars(deltas)["_SMALL_BYTES"] = 1
