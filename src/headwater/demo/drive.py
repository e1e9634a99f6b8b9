"""Sends the tape over HTTP and asks questions meanwhile: the demo's two clients.

The *sender* keeps few events unprocessed. The *asker* asks for flights that were just sent, over a connection of its own;
its answers say how far the model has learnt (`line@seq`), which gives freshness as a client sees it: from just before a
batch is sent to the first answer by a model that has learnt all of it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from headwater.demo.stream import Tape
from headwater.ingest.client import Client, Totals

MODEL = "late"
BATCH_EVENTS = 500
WINDOW_EVENTS = 2_000
_ASK_EVERY_S = 0.004


@dataclass(slots=True)
class Sample:
    """One answer, kept to be checked against the fold: flight, place in the log, score."""

    flight_id: str
    seq: int
    score: float


@dataclass(slots=True)
class Drive:
    """What both clients know so far.

    Attributes:
        totals: The door's verdicts.
        sent: Lines sent.
        seq: How far the served model has learnt.
        freshness_s: One figure a batch.
        samples: Answers from stored vectors.
        n_asked, n_failed: Questions, and those without a good answer.
        began_s, ended_s: First send, last event learnt and answered; monotonic.
    """

    totals: Totals = field(default_factory=Totals)
    sent: int = 0
    seq: int = 0
    time_ms: int = 0
    freshness_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    n_asked: int = 0
    n_failed: int = 0
    began_s: float = 0.0
    ended_s: float = 0.0
    error: Exception | None = None
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    stop: threading.Event = field(default_factory=threading.Event)
    moved: threading.Condition = field(default_factory=threading.Condition)


def send(drive: Drive, tape: Tape, url: str, *, events_per_s: float | None = None) -> None:
    """Send the whole tape; returns when the last event is on disk and learnt."""
    drive.began_s = time.monotonic()
    with Client(url) as client:
        for done, body in tape.batches(BATCH_EVENTS):
            if events_per_s:
                _pace(drive, done, events_per_s)
            if drive.stop.is_set():
                return
            sent_s = time.monotonic()
            totals = client.send(None, body, batch=BATCH_EVENTS)
            _add(drive.totals, totals)
            drive.waiting.append((totals.end, sent_s))
            drive.sent, drive.time_ms = done, int(tape.time[done - 1])
            _wait(drive, lambda: drive.totals.end - drive.seq <= WINDOW_EVENTS)
    _wait(drive, lambda: drive.seq >= drive.totals.end)
    drive.ended_s = time.monotonic()


def _pace(drive: Drive, done: int, events_per_s: float) -> None:
    ahead = done / events_per_s - (time.monotonic() - drive.began_s)
    if ahead > 0:
        drive.stop.wait(ahead)


def _wait(drive: Drive, until: Callable[[], bool]) -> None:
    with drive.moved:
        while not (until() or drive.stop.is_set()):
            drive.moved.wait(0.2)


def _add(totals: Totals, more: Totals) -> None:
    totals.accepted += more.accepted
    totals.duplicate += more.duplicate
    totals.quarantined += more.quarantined
    totals.n_retries += more.n_retries
    totals.end = max(totals.end, more.end)


def ask(drive: Drive, tape: Tape, url: str, *, n_samples: int, seed: int = 13) -> None:
    """Ask about a flight every few milliseconds until told to stop."""
    chance, at = random.Random(seed), 0  # noqa: S311 - which flights to ask about
    share = n_samples / max(1, len(tape.flights))
    with Client(url, patience_s=5.0) as client:
        while not drive.stop.is_set():
            # A flight that was sent and, at the last answer, learnt: its vector is stored.
            while at + 1 < len(tape.flights) and tape.flights[at + 1][0] < min(drive.sent, drive.seq):
                at += 1
            first = max(0, at - 500)
            flight = tape.flights[chance.randint(first, at)][1]
            drive.n_asked += 1
            try:
                answer = client.predict(MODEL, {"flight_id": flight})
                score = answer["predictions"][0]["score"]
            except Exception as error:  # noqa: BLE001 - every failed question counts, whatever failed
                drive.n_failed += 1
                drive.error = error
                continue
            seq = int(answer["version"].partition("@")[2])
            _learnt(drive, seq)
            wanted = len(drive.samples) < share * (at + 1)
            if answer["predictions"][0]["stored"] and wanted:
                drive.samples.append(Sample(flight, seq, score))
            drive.stop.wait(_ASK_EVERY_S)


def _learnt(drive: Drive, seq: int) -> None:
    """Every batch up to `seq` has been learnt by the model that just answered."""
    now = time.monotonic()
    while drive.waiting and drive.waiting[0][0] <= seq:
        drive.freshness_s.append(now - drive.waiting.popleft()[1])
    if seq > drive.seq:
        with drive.moved:
            drive.seq = seq
            drive.moved.notify_all()
