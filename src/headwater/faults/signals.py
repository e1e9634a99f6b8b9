"""F1 and F27 on real processes: SIGKILL and SIGSTOP of those that ingest, learn and answer, at moments drawn beforehand."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from random import Random

from headwater.faults.calling import OK
from headwater.faults.processes import GATEWAY, LEARNER
from headwater.faults.scene import Scene, stream
from headwater.faults.schedule import Outcome, Steps

_ROLES = (GATEWAY, LEARNER)
_US = 1e-6


class KilledProcess:
    """SIGKILL under load, also twice, also while the successor recovers."""

    id, title, is_process = "F1", "processes killed under load", True

    def expand(self, random: Random) -> Steps:
        """A stream, then kills: whom, how long after events were sent, and, perhaps, how long after its start its successor."""
        steps: Steps = [stream(random)]
        for _ in range(random.randint(1, 3)):
            again = int(random.expovariate(1 / 20_000)) if random.random() < 0.4 else None  # noqa: PLR2004
            role, after = random.choice(_ROLES), int(random.expovariate(1 / 4_000))
            steps.append({"kill": role, "after_us": after, "again_after_us": again})
        return steps

    def run(self, steps: Steps, place: Path) -> Outcome:
        with Scene(place, steps[0]["recipe"]) as scene:
            for step in steps[1:]:
                self._kill(scene, step["kill"], step["after_us"], step["again_after_us"])
            scene.settle()
        return Outcome(scene.fired, scene.violations)

    def _kill(self, scene: Scene, role: str, after_us: int, again_after_us: int | None) -> None:
        processes = scene.processes
        scene.producer.begin(scene.take(1)[0])
        time.sleep(after_us * _US)
        processes.kill(role)
        processes.start(role)
        scene.fired += 1
        if again_after_us is not None:
            time.sleep(again_after_us * _US)
            processes.kill(role)
            processes.start(role)
            scene.fired += 1
        scene.producer.finish()
        scene.producer.close()  # an answer may have come just before the kill


class Paused:
    """SIGSTOP and SIGCONT: nobody takes over what a stopped process holds, and it catches up."""

    id, title, is_process = "F27", "processes stopped for a while", True

    def expand(self, random: Random) -> Steps:
        steps: Steps = [stream(random)]
        for _ in range(random.randint(1, 3)):
            after, length = int(random.expovariate(1 / 3_000)), random.randint(1, 120)
            steps.append({"stop": random.choice(_ROLES), "after_us": after, "for_ms": length})
        return steps

    def run(self, steps: Steps, place: Path) -> Outcome:
        with Scene(place, steps[0]["recipe"]) as scene:
            for step in steps[1:]:
                self._stop(scene, step["stop"], step["after_us"], step["for_ms"])
            scene.settle()
        return Outcome(scene.fired, scene.violations)

    def _stop(self, scene: Scene, role: str, after_us: int, for_ms: int) -> None:
        scene.producer.begin(scene.take(1)[0])
        time.sleep(after_us * _US)
        scene.processes.send(role, signal.SIGSTOP)
        scene.fired += 1
        if role == LEARNER:
            answers = scene.producer.finish()
            scene.violations += [f"the learner is stopped, and events are refused: {a}" for a in answers if a.status != OK]
            scene.expect_answer()
        time.sleep(for_ms / 1000)
        scene.processes.send(role, signal.SIGCONT)
        answers = scene.producer.finish()
        scene.violations += [
            f"the {role} was stopped for {for_ms} ms, and a request failed: {a}" for a in answers if a.status != OK
        ]
