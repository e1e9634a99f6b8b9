"""F17, F25 and F26 on real processes: followers that never read, more events than can be stored, and swaps under load."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

from headwater.faults.calling import OK, Answer, Caller, Producer
from headwater.faults.processes import GATEWAY, LEARNER
from headwater.faults.scene import MODEL, Scene, stream
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.world import SHOPS, START_MS
from headwater.log.open import open_log
from headwater.runtime.local import LocalRun

_MB = 1 << 20
_GROWTH_BYTES = 128 * _MB
_CONTROL = ("/healthz", "/readyz", "/status", "/metrics")
_CONTROL_S = 5.0  # for an answer that takes a millisecond, on a machine whose cores are all busy


def _grown(scene: Scene, before: int, why: str) -> None:
    grown = scene.processes.resident_bytes(GATEWAY) - before
    if grown > _GROWTH_BYTES:
        scene.violations.append(f"{why} cost {grown / _MB:.0f} MB")


class Deaf:
    """Followers that ask for a stream and never read the answer: they cost a bounded number of bytes, and nobody else waits."""

    id, title, is_process = "F17", "followers that never read", True

    def expand(self, random: Random) -> Steps:
        return [stream(random), {"followers": random.randint(4, 24), "asked": random.randint(1, 8)}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        with Scene(place, steps[0]["recipe"]) as scene, ExitStack() as held:
            before = scene.processes.resident_bytes(GATEWAY)
            request = b"GET /streams/order?from=0&limit=10000 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * steps[1]["asked"]
            for _ in range(steps[1]["followers"]):
                follower = held.enter_context(closing(socket.socket()))
                follower.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                follower.connect(("127.0.0.1", scene.processes.port))
                follower.sendall(request)
                scene.fired += 1
            for part in scene.take(3):
                scene.expect_stored(scene.producer.send(part))
                scene.expect_answer()
            _grown(scene, before, f"{scene.fired} followers that never read")
            held.close()
            scene.settle()
        return Outcome(scene.fired, scene.violations)


class Flooded:
    """More events than may wait, sent whether or not anybody is answered: the rest is told when to come again."""

    id, title, is_process = "F25", "overload at 2, 5 and 10 times", True

    def expand(self, random: Random) -> Steps:
        step = {
            "times": random.choice([2, 5, 10]),
            "stopped": random.choice([GATEWAY, LEARNER]),
            "callers": random.randint(8, 40),
        }
        return [stream(random, orders=400, requests=40), step]

    def run(self, steps: Steps, place: Path) -> Outcome:
        step = steps[1]
        bound = steps[0]["recipe"]["orders"] // step["times"]
        limits = {"max_lag_events": bound, "max_waiting_events": bound}
        with Scene(place, steps[0]["recipe"], server=limits) as scene:
            crowd = Producer(scene.processes.port, n_connections=step["callers"])
            self._flood(scene, crowd, step["stopped"])
            self._come_again(scene, crowd, max(1, bound // 2))
            scene.producer.sent += crowd.sent
            crowd.close()
            scene.settle()
        return Outcome(scene.fired, scene.violations)

    def _flood(self, scene: Scene, crowd: Producer, stopped: str) -> None:
        processes = scene.processes
        before = processes.resident_bytes(GATEWAY)
        processes.send(stopped, signal.SIGSTOP)  # what comes meanwhile piles up before the one, or behind the other
        crowd.begin([line for part in scene.take(len(scene.parts)) for line in part])
        if stopped == GATEWAY:
            processes.send(GATEWAY, signal.SIGCONT)
        self._look(scene)
        answers = crowd.finish()
        if stopped == LEARNER:
            self._look(scene)
            scene.expect_answer()
            processes.send(LEARNER, signal.SIGCONT)
        scene.fired += sum(answer.is_shed for answer in answers)
        wrong = [answer for answer in answers if answer.status != OK and not answer.is_shed]
        scene.violations += [f"events are refused in a wrong way: {answer}" for answer in wrong]
        _grown(scene, before, f"a flood of {len(answers)} requests")

    def _look(self, scene: Scene) -> None:
        """Those who look after it are answered, whatever waits."""
        with Caller(scene.processes.port, _CONTROL_S) as caller:
            for path in _CONTROL:
                if (answer := caller.call("GET", path)).status != OK:
                    scene.violations.append(f"{path} is not answered under overload: {answer}")

    def _come_again(self, scene: Scene, crowd: Producer, n: int) -> None:
        """What a client does that is told to come again: a little at a time."""
        while crowd.unsure and not scene.violations:
            scene.violations += scene.processes.wait_learnt()
            scene.violations += crowd.resend(n)


class Swapped:
    """The model changes with every batch while it is asked: each answer is of one version, and equal to that version's."""

    id, title, is_process = "F26", "swaps under load", True

    def expand(self, random: Random) -> Steps:
        asked = sorted(random.sample(range(120), 6))
        return [stream(random, orders=120, requests=10), {"questions": random.randint(3, 12), "asked": asked}]

    def run(self, steps: Steps, place: Path) -> Outcome:
        rows = [{"order": f"n{i}", "shop": SHOPS[i % 5], "amount": 9.5 * (i % 7), "weight": None} for i in steps[1]["asked"]]
        timed = [{**row, "time": START_MS + 600_000} for row in rows]
        with Scene(place, steps[0]["recipe"]) as scene:
            answers = list(self._ask(scene, timed, steps[1]["questions"]))
            scene.settle()
            scene.violations += _differing(scene, rows, answers)
        return Outcome(len({answer.content["version"] for answer in answers}), scene.violations)

    def _ask(self, scene: Scene, rows: list[dict[str, Any]], n: int) -> Iterator[Answer]:
        with scene.processes.caller() as caller:
            for part in scene.take(len(scene.parts) - 1):
                scene.producer.begin(part)
                for _ in range(n):
                    answer = caller.ask(MODEL, rows)
                    if answer.status == OK:
                        yield answer
                    else:
                        scene.violations.append(f"a question is not answered during a swap: {answer}")
                scene.expect_stored(scene.producer.finish())


def _differing(scene: Scene, rows: list[dict[str, Any]], answers: list[Answer]) -> list[str]:
    """Answers that are not what the fold says at the place in the log that they name."""
    said, run = [], LocalRun(scene.processes.app)
    by_seq: dict[int, list[Answer]] = {}
    for answer in answers:
        by_seq.setdefault(int(answer.content["version"].partition("@")[2]), []).append(answer)
    with closing(open_log(scene.processes.settings.log_url, readonly=True)) as log:
        for seq in sorted(by_seq):
            for chunk in log.read(run.seq):
                if run.seq < seq:
                    run.log.append(chunk.batch.slice(0, min(chunk.batch.n, seq - chunk.seq)))
                    run.catch_up()
            time = START_MS + 600_000
            mine = [run.predict(MODEL, time=time, **row)["predictions"][0]["score"] for row in rows]
            for answer in by_seq[seq]:
                theirs = [one["score"] for one in answer.content["predictions"]]
                if theirs != mine:
                    said.append(f"{answer.content['version']} answered {theirs}, its fold says {mine}")
    return said[:5]
