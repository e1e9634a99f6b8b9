"""A fake answerer and a fake door behind a real server on a real socket."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest

from headwater.core.batch import Batch, Text
from headwater.core.errors import Retryable
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.following import Notices, Streams
from headwater.log import MemoryLog
from headwater.log.protocol import Receipt
from headwater.serving.classes import Classes
from headwater.serving.gateway import Gateway, Options
from headwater.serving.limits import Limits
from headwater.serving.protocol import Answer, Question, Recalled
from headwater.serving.server import Running, serve

DEPARTURE = Schema(
    "departure",
    (
        FieldSpec("flight_id", Kind.STR),
        FieldSpec("carrier", Kind.STR),
        FieldSpec("origin", Kind.STR),
        FieldSpec("distance", Kind.FLOAT),
        FieldSpec("seats", Kind.INT, nullable=True),
        FieldSpec("cargo", Kind.BOOL, required=False, default=False),
    ),
    key="flight_id",
    lateness_ms=3_600_000,
)
READING = Schema("reading", (FieldSpec("sensor", Kind.INT), FieldSpec("value", Kind.FLOAT)), key="sensor")

ROW = {"flight_id": "f1", "carrier": "AA", "origin": "JFK", "distance": 1000.5, "seats": 180, "cargo": True}


@dataclass
class DoorReply:
    status: int
    body: bytes
    headers: dict[str, str]


def probabilities(keys: list[Any], k: int) -> Any:
    """Some distribution over k classes for each key; a tenth is left for something new."""
    drawn = np.array([[1.0 + crc32(f"{key} {c}".encode()) / 2.0**32 for c in range(k)] for key in keys]).reshape(len(keys), k)
    shares: Any = 0.9 * drawn / drawn.sum(axis=1, keepdims=True)
    return shares


@dataclass
class FakeAnswerer:
    """The whole part of a score is the `seq` that made it, so that a torn answer shows."""

    seq: int = 123456
    published: bool = True
    known: set[str] = field(default_factory=set)
    questions: list[Question] = field(default_factory=list)
    fail: Exception | None = None
    score: float | None = None
    names: tuple[str, ...] | None = None  # of classes, where answers name them

    def models(self) -> dict[str, Schema]:
        return {"late": DEPARTURE, "hot": READING}

    def recall(self, model: str, key: Any) -> Recalled | None:
        return None

    def answer(self, model: str, question: Question) -> Answer:
        if not self.published:
            raise Retryable("nothing is published", where="/secret/path/state")
        if self.fail:
            raise self.fail
        self.questions.append(question)
        seq = self.seq  # one look: one version
        keys = question.rows.columns[self.models()[model].key]
        score = seq + np.array([crc32(str(k).encode()) / 2.0**32 for k in keys.to_list()])
        if self.score is not None:
            score = np.full(score.size, self.score)
        values = keys.to_list()
        stored = np.fromiter((str(k) in self.known for k in values), np.bool_, len(values))
        shares = [{"distance": 0.25, "intercept": -1.0}] * len(values) if question.explain else None
        if self.names is None:
            return Answer(model, seq, score, stored, shares)
        said = Classes.of(self.names, probabilities(values, len(self.names)))
        return Answer(model, seq, said.score(), stored, None, said)

    def says_classes(self, model: str) -> bool:
        return self.names is not None

    def status(self) -> dict[str, object]:
        if not self.published:
            return {}
        return {
            "seq": self.seq,
            "published_us": 1_700_000_000_000_000,
            "time_ms": 1_700_000_000_000,
            "metrics": {"late": {"log_loss": 0.5}},
        }


class FakeDoor:
    """Takes everything; `gate` holds commits back until a test opens it."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.bodies: list[tuple[bytes, str, str | None]] = []
        self.appended = threading.Condition()
        self.failures: list[Exception] = []
        self.closed = False
        self.attempts = 0
        self._seen: dict[tuple[str, str], int] = {}

    async def submit(self, body: bytes, content_type: str, headers: Any, stream: str | None) -> DoorReply:
        if self.failures:
            raise self.failures.pop()
        self.bodies.append((body, content_type, stream))
        return DoorReply(200, msgspec.json.encode({"accepted": 1}), {"content-type": "application/json"})

    async def append(self, batch: Batch) -> Receipt:
        with self.appended:
            self.attempts += 1
            self.appended.notify_all()
        if self.failures:
            raise self.failures.pop()
        verdict, seq = np.zeros(batch.n, np.uint8), np.zeros(batch.n, np.int64)
        for i in range(batch.n):
            mark = (batch.sources[batch.source[i]], batch.ids[i])
            verdict[i] = mark in self._seen
            seq[i] = self._seen.setdefault(mark, len(self._seen))
        with self.appended:
            self.batches.append(batch)
            self.appended.notify_all()
        return Receipt(verdict, seq, len(self._seen))

    def rows(self, n: int) -> list[Batch]:
        """Wait until `n` rows were appended."""
        with self.appended:
            assert self.appended.wait_for(lambda: sum(b.n for b in self.batches) >= n, timeout=5)
            return list(self.batches)

    def tried(self, n: int) -> None:
        """Wait until `n` appends were tried."""
        with self.appended:
            assert self.appended.wait_for(lambda: self.attempts >= n, timeout=5)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A running gateway and a client for it."""

    running: Running
    door: FakeDoor
    answerer: FakeAnswerer
    gateway: Gateway
    thread: threading.Thread

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
        client = http.client.HTTPConnection(self.running.host, self.running.port, timeout=10)
        try:
            if isinstance(body, dict | list):
                body, headers = json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            client.close()

    def get(self, path: str, **headers: str) -> Response:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Response:
        return self.call("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def stop(self) -> None:
        self.running.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


def start(answerer: Any = None, door: Any = None, **options: Any) -> Site:
    answerer, door = answerer or FakeAnswerer(), door or FakeDoor()
    gateway = Gateway(door, answerer, Options(**options))
    told: list[Running] = []
    up = threading.Event()

    def ready(running: Running) -> None:
        told.append(running)
        up.set()

    thread = threading.Thread(target=serve, args=(gateway, "127.0.0.1", 0), kwargs={"ready": ready}, daemon=True)
    thread.start()
    assert up.wait(10)
    return Site(told[0], door, answerer, gateway, thread)


@pytest.fixture(scope="session")
def _shared_site() -> Iterator[Site]:
    following = Streams(MemoryLog(), {"departure": DEPARTURE, "reading": READING}, Notices(None))
    site = start(limits=Limits(body_bytes=4 << 20), log_end=lambda: 123460, following=following)
    yield site
    site.stop()


@pytest.fixture
def site(_shared_site: Site) -> Site:
    """A gateway shared by the session, its fakes as new."""
    _shared_site.answerer.__init__()  # type: ignore[misc]
    _shared_site.door.__init__()  # type: ignore[misc]
    return _shared_site


@pytest.fixture
def sites() -> Iterator[Callable[..., Site]]:
    """Makes gateways with options of one's own."""
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(start(**options))
        return made[-1]

    yield make
    for site in made:
        site.stop()


def texts(batch: Batch, stream: str, name: str) -> list[Any]:
    return batch.frames[stream].columns[name].to_list()


__all__ = ["DEPARTURE", "READING", "ROW", "FakeAnswerer", "FakeDoor", "Site", "Text", "start", "texts"]
