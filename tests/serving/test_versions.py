"""One version per answer, however often the snapshot changes under the requests."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

import numpy as np

from headwater.serving.protocol import Answer, Question

from .conftest import FakeAnswerer, Site, start

N_REQUESTS, N_CLIENTS = 2000, 8


class Restless(FakeAnswerer):
    """A learner that publishes all the time, from another thread."""

    def answer(self, model: str, question: Question) -> Answer:
        seq = self.seq
        return Answer(model, seq, np.full(question.rows.n, float(seq)), np.ones(question.rows.n, np.bool_))


def client(site: Site, found: list[tuple[str, str, list[float]]]) -> None:
    connection = http.client.HTTPConnection(site.running.host, site.running.port, timeout=10)
    for i in range(N_REQUESTS // N_CLIENTS):
        rows = [{"sensor": j} for j in range(1 + i % 3)]
        connection.request("POST", "/predict/hot", json.dumps(rows), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said: Any = json.loads(answer.read())
        found.append((answer.headers["headwater-version"], said["version"], [p["score"] for p in said["predictions"]]))
    connection.close()


def test_every_answer_names_the_version_that_computed_it() -> None:
    answerer, done = Restless(), threading.Event()

    def publish() -> None:
        while not done.is_set():
            answerer.seq += 1
            done.wait(0.0001)

    site = start(answerer)
    found: list[tuple[str, str, list[float]]] = []
    publisher = threading.Thread(target=publish)
    publisher.start()
    clients = [threading.Thread(target=client, args=(site, found)) for _ in range(N_CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    done.set()
    publisher.join()
    site.stop()
    assert len(found) == N_REQUESTS
    assert len({header for header, _, _ in found}) > 10
    for header, body, scores in found:
        assert header == body
        assert {f"hot@{int(score)}" for score in scores} == {body}
