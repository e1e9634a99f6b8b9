"""F6: wall time jumps back, ahead, or stands still; what is measured must not notice, what is stamped must not break."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from headwater.faults.installation import Installation
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.story import Story
from headwater.faults.world import Recipe, recipe_of, requests
from headwater.runtime.idleness import Idleness
from headwater.runtime.places import STATE
from headwater.store.checkpoint import Checkpoints

_HOUR_S, _YEAR_S = 3600.0, 365.25 * 86_400
_IDLE_MS = 600_000
_FORGETS_S = 7 * 86_400  # a jump ahead by more makes the log forget the ids before it: it is how it tells old from new


class ClockJumps:
    """F6: nothing is lost or doubled, saves and idleness go by monotonic time, events from the future are refused by name."""

    id = "F6"
    title = "clock jumps"
    is_process = False

    def expand(self, random: Random) -> Steps:
        sizes = [1.0, _HOUR_S, 10 * _YEAR_S]
        jumps: list[dict[str, Any]] = [
            {"do": "jump", "before": number, "seconds": random.choice([-1, 1]) * random.choice(sizes)}
            for number in sorted(random.sample(range(1, 11), random.randint(1, 4)))
        ]
        is_far = any(jump["seconds"] > _FORGETS_S for jump in jumps)
        recipe = Recipe(random.randrange(1 << 32), resent=0.0 if is_far else 0.2)
        last = {"do": "jump", "before": recipe.requests - 1, "seconds": -random.choice([1.0, _HOUR_S])}
        return [{"do": "live", **asdict(recipe)}, *jumps, last]

    def run(self, steps: Steps, place: Path) -> Outcome:
        story, jumps = Story(place, requests(recipe_of(steps[0]))), steps[1:]
        said: list[str] = []

        def jump(there: Installation, number: int) -> None:
            idleness = Idleness(there.learner.fold, there.clock, _IDLE_MS)
            list(idleness.marks())
            for step in (step for step in jumps if step["before"] == number):
                there.clock.jump(step["seconds"])
                if marks := list(idleness.marks()):
                    said.append(f"{len(marks)} sources are called idle after a jump of {step['seconds']} s")

        story.before = jump
        said += story.live(until=len(story.requests) - 1)
        said += self._saves_in_time(story)
        return Outcome(len(jumps), said + story.live() + story.verdict())

    def _saves_in_time(self, story: Story) -> list[str]:
        """The last request comes after a jump back, and longer after the last save than a save may wait."""
        last = len(story.requests) - 1
        with story.installed() as there:
            saved_every_s = there.settings.learner.checkpoint_every_s
            story.before(there, last)
            there.clock.advance(saved_every_s + 1)
            said = story.send(there, last)
            there.learner.catch_up()
            end = there.log.bounds()[1]
        with closing(Checkpoints(there.settings.state_dir / STATE, readonly=True)) as store:
            if store.seq() != end:
                said.append(
                    f"no save within {saved_every_s + 1} s after a jump back: saved at {store.seq()}, the log ends at {end}"
                )
        return said
