"""F3, F4 and F28 on real processes: a disk that fills up or fails, and too few descriptors or too little memory."""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from headwater.faults.calling import OK, Answer, Caller
from headwater.faults.processes import GATEWAY, GRACE_S, LEARNER
from headwater.faults.scene import Scene, stream
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.tracing import failing
from headwater.faults.world import NDJSON, Line
from headwater.runtime.places import STATE, VIEW

_PAGE = 4096
_MB = 1 << 20


def _shed_or_stored(scene: Scene, answers: list[Answer]) -> int:
    """What a disk in need may answer: stored, or not now and when; how many were not."""
    scene.violations += [f"events are refused in a wrong way: {a}" for a in answers if a.status != OK and not a.is_shed]
    return sum(a.is_shed for a in answers)


class Full:
    """A file may grow no further: as on a full disk, from the Nth page on."""

    id, title, is_process = "F4", "disk full at the Nth page", True

    def expand(self, random: Random) -> Steps:
        victim = random.choice([GATEWAY, GATEWAY, LEARNER])
        return [stream(random), {"full": victim, "pages": int(random.expovariate(1 / 4)), "bytes": random.randrange(_PAGE)}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        with Scene(place, steps[0]["recipe"]) as scene:
            self._fill(scene, steps[1]["full"], steps[1]["pages"] * _PAGE + steps[1]["bytes"])
            scene.settle()
        return Outcome(scene.fired, scene.violations)

    def _fill(self, scene: Scene, victim: str, room: int) -> None:
        processes = scene.processes
        folder = processes.settings.state_dir
        files = [folder / "log"] if victim == GATEWAY else [folder / STATE, folder / VIEW]
        size = min((file / "data.mdb").stat().st_size for file in files)
        processes.limit(victim, resource.RLIMIT_FSIZE, size + room)
        for part in scene.take(4):
            answers = scene.producer.send(part)
            if victim == GATEWAY:
                scene.fired += _shed_or_stored(scene, answers)
            else:
                scene.expect_stored(answers)
            scene.expect_answer()
        if victim == LEARNER:
            with processes.caller() as caller:
                time.sleep(0.1)  # a save or two are due
                behind = caller.call("GET", "/readyz").content.get("age_events", 0)
            scene.fired += bool(behind) + processes.printed(LEARNER).count("room on the disk")
        processes.limit(victim, resource.RLIMIT_FSIZE, -1)
        scene.violations += [] if victim == LEARNER else scene.producer.resend()


class SyncFails:
    """fdatasync, fsync or a write returns EIO: nothing is acknowledged that is not on disk, and the last good state stands."""

    id, title, is_process = "F3", "sync or write returns EIO", True
    _CALLS = (("fdatasync", "fsync"), ("fdatasync", "fsync"), ("pwrite64",), ("pwrite64", "pwritev"))

    def expand(self, random: Random) -> Steps:
        victim, calls = random.choice([GATEWAY, GATEWAY, LEARNER]), list(random.choice(self._CALLS))
        step = {"fails": calls, "of": victim, "first": random.randint(1, 4), "kill": random.random() < 0.5}  # noqa: PLR2004
        return [stream(random), step]

    def run(self, steps: Steps, place: Path) -> Outcome:
        with Scene(place, steps[0]["recipe"]) as scene:
            self._fail(scene, **steps[1])
            scene.settle()
        return Outcome(scene.fired, scene.violations)

    def _fail(self, scene: Scene, fails: list[str], of: str, first: int, *, kill: bool) -> None:
        processes = scene.processes
        if of == LEARNER:
            processes.may_end.add(LEARNER)  # LMDB refuses all use after a failed write of its first pages
        with failing(processes.pid(of), fails, "EIO", first) as failed:
            for part in scene.take(3):
                before = failed()
                answers = scene.producer.send(part)
                if of == GATEWAY:
                    refused = _shed_or_stored(scene, answers)
                    if before and first == 1 and refused < len(answers):  # else a thread may have calls left that succeed
                        scene.violations.append(
                            f"{len(answers) - refused} requests are acknowledged while no {fails[0]} succeeds"
                        )
                    scene.expect_answer()
                else:
                    scene.expect_stored(answers)
            if of == LEARNER:
                time.sleep(0.15)  # a save or two are due
            scene.fired += failed()
            if killed := kill and processes.is_alive(of):
                processes.kill(of)
                scene.producer.close()
        if killed:
            processes.start(of)  # as the supervisor does; one that gave up is started again by `settle`


class Starved:
    """Too few descriptors, or too little memory: what does not fit is shed, and the limit is named."""

    id, title, is_process = "F28", "descriptors or memory run out", True

    def expand(self, random: Random) -> Steps:
        if random.random() < 0.5:  # noqa: PLR2004
            return [stream(random), {"descriptors": random.randint(24, 72), "connections": random.randint(24, 64)}]
        return [
            stream(random),
            {"megabytes": random.randint(1, 24), "bodies": random.randint(2, 6), "size": random.randint(8, 48)},
        ]

    def run(self, steps: Steps, place: Path) -> Outcome:
        with Scene(place, steps[0]["recipe"]) as scene:
            step = steps[1]
            if "descriptors" in step:
                self._crowd(scene, step["descriptors"], step["connections"])
            else:
                self._fatten(scene, step["megabytes"], step["bodies"], step["size"])
            scene.settle()
        return Outcome(scene.fired, scene.violations)

    def _crowd(self, scene: Scene, limit: int, n: int) -> None:
        processes = scene.processes
        scene.violations += processes.stop(GATEWAY)
        scene.producer.close()
        processes.born_with = {resource.RLIMIT_NOFILE: limit}
        processes.start(GATEWAY)
        with ExitStack() as held:
            callers = [held.enter_context(Caller(processes.port, 1.0)) for _ in range(n)]
            for caller in callers:
                caller.begin("GET", "/healthz")
            ends = time.monotonic() + GRACE_S
            while processes.is_alive(GATEWAY) and not callers[0].is_answered(0.01) and time.monotonic() < ends:
                pass
            if processes.is_alive(GATEWAY):
                scene.fired += sum(caller.finish().status != OK for caller in callers)
        is_alive = processes.is_alive(GATEWAY)
        ended = processes.stop(GATEWAY)
        scene.fired += not is_alive
        scene.violations += ended if is_alive else []
        if scene.fired and "ulimit -n" not in "".join(ended) and not processes.has_said(GATEWAY, "ulimit -n"):
            scene.violations.append(f"descriptors have run out, and nothing says so: {processes.printed(GATEWAY)}")
        processes.born_with = {}
        processes.start(GATEWAY)

    def _fatten(self, scene: Scene, spare: int, n: int, size: int) -> None:
        processes = scene.processes
        processes.may_end.add(GATEWAY)  # where even the C library finds no memory, it ends the process
        used = int(Path(f"/proc/{processes.pid(GATEWAY)}/statm").read_text().split()[0]) * resource.getpagesize()
        processes.limit(GATEWAY, resource.RLIMIT_AS, used + spare * _MB)
        line = Line(b'{"stream":"order","id":"' + b"x" * (size * _MB) + b'"}', None)
        with ExitStack() as held:
            callers = [held.enter_context(Caller(processes.port, 5.0)) for _ in range(n)]
            for caller in callers:
                caller.begin("POST", "/events", line.text, NDJSON)
            answers = [caller.finish() for caller in callers]
        if len(refused := [answer for answer in answers if answer.status != OK]) < n:
            scene.producer.sent.append(line)  # it is in quarantine
        wrong = [answer for answer in refused if answer.status not in {0, 413} and not answer.is_shed]
        scene.fired += len(refused)
        scene.violations += [f"a body that finds no memory is refused in a wrong way: {answer}" for answer in wrong]
        if processes.is_alive(GATEWAY):
            scene.expect_answer()
        if processes.is_alive(GATEWAY):
            processes.limit(GATEWAY, resource.RLIMIT_AS, -1)
