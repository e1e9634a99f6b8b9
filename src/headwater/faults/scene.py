"""What every schedule of real processes begins and ends with: a shop that runs, and the account that is settled at last."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Self

from headwater.faults.calling import OK, Answer, Producer
from headwater.faults.oracle import Book, audit
from headwater.faults.processes import GATEWAY, LEARNER, Processes
from headwater.faults.world import Line, Recipe, requests, shop

MODEL = "slow"
_ENDING_S = 2.0
_ASKED = [{"order": "n1"}, {"order": "never-seen", "shop": "ash", "amount": 20.0, "weight": None}]


def stream(random: Random, orders: int = 80, requests: int = 8) -> dict[str, Any]:
    """The first step of a schedule: what is sent during it."""
    return {"recipe": {"seed": random.randrange(1 << 30), "orders": orders, "requests": requests}}


class Scene:
    """A shop in a folder: its processes run, and `parts` of its stream wait to be sent. Use it as a context manager.

    Args:
        place: An empty folder.
        recipe: The stream: names of `Recipe` and their values.
        settings: Sections of the installation's settings.

    Attributes:
        parts: What has not been sent yet.
        fired: How often the fault has happened.
        violations: What was promised and did not hold.
    """

    def __init__(self, place: Path, recipe: dict[str, Any], **settings: dict[str, Any]) -> None:
        self.processes = Processes(shop(), place, **settings)
        self.parts: list[list[Line]] = requests(Recipe(**recipe))
        self.producer = Producer(self.processes.port)
        self.fired, self.violations = 0, list[str]()

    def take(self, n: int) -> list[list[Line]]:
        """The next parts of the stream; somebody sends them."""
        taken, self.parts = self.parts[:n], self.parts[n:]
        return taken

    def expect_stored(self, answers: list[Answer]) -> None:
        """Nothing is wrong with the log: events are taken."""
        said = [f"events are refused although nothing is wrong: {answer}" for answer in answers if answer.status != OK]
        self.violations += said

    def expect_answer(self) -> None:
        """Whatever is wrong, predictions are answered."""
        with self.processes.caller() as caller:
            answer = caller.ask(MODEL, _ASKED)
        if GATEWAY in self.processes.may_end and self._is_gone(answer):
            self.fired += 1
            self.tend()
        elif answer.status != OK or len(answer.content["predictions"]) != len(_ASKED):
            self.violations.append(f"a prediction is not answered: {answer}; {self.processes.printed(GATEWAY)}")

    def _is_gone(self, answer: Answer) -> bool:
        """Whether the gateway has ended, or hung and was exchanged, when it gave this answer or none."""
        if answer.status:
            return not self.processes.is_alive(GATEWAY)
        return not self.processes.is_alive(GATEWAY, _ENDING_S) or self._watch()  # it hangs up before it is gone

    def _watch(self) -> bool:
        """Exchange a gateway that hangs, as the supervisor does; whoever was connected to it connects anew."""
        is_exchanged = self.processes.watch()
        if is_exchanged:
            self.producer.close()
        return is_exchanged

    def tend(self) -> None:
        """Start again what has ended, as the supervisor does; whoever was connected to it connects anew."""
        for role in (LEARNER, GATEWAY):
            if not self.processes.is_alive(role):
                self.violations += self.processes.tend(role)
                self.producer.close()

    def settle(self) -> None:
        """The faults have ended: send the rest, and what is unsure again; let all come to rest, and audit what is on disk."""
        processes = self.processes
        if GATEWAY in processes.may_end:
            self.fired += self._watch()
        self.tend()
        for part in self.take(len(self.parts)):
            self.expect_stored(self.producer.send(part))
        self.violations += self.producer.resend()
        self.violations += processes.wait_learnt()
        self.violations += [*processes.finish(GATEWAY), *processes.finish(LEARNER)]
        book = Book()
        book.enter(self.producer.sent)
        self.violations += audit(processes.app, processes.settings, book, is_exact=False)

    def __enter__(self) -> Self:
        self.processes.start(LEARNER)
        self.processes.wait_ready(LEARNER)  # as the supervisor does: a learner may make the view anew
        self.processes.start(GATEWAY)
        self.expect_stored(self.producer.send(self.take(1)[0]))
        self.violations += self.processes.wait_learnt()
        return self

    def __exit__(self, *_: object) -> None:
        self.producer.close()
        self.processes.close()
