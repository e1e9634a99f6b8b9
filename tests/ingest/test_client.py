"""The producers' client against a real socket: it resends until every event has a verdict."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headwater.core.errors import ConfigError, HeadwaterError
from headwater.ingest import Client
from headwater.ingest.client import Refused

from .conftest import Desk, departure, lines


class Server(ThreadingHTTPServer):
    """Passes posts to a door; before that, does what `faults` say, one for each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.desk = Desk()
        self.faults: list[Any] = []
        self.seen: list[tuple[str, int]] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/base"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, len(body.splitlines())))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.reply(fault, {"title": "busy", "detail": "later"}, {"retry-after": "7"})
            return
        stream = self.path.removeprefix("/base/events").removeprefix("/") or None
        answer = self.server.desk.post(body, stream, self.headers["content-type"])
        if fault == "lose the reply":
            self.close_connection = True
            return
        self.reply(answer.status, answer.content, {})

    def do_GET(self) -> None:
        self.reply(200, {"path": self.path, "auth": self.headers["authorization"]}, {})

    def reply(self, status: int, content: Any, headers: dict[str, str]) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("form", ["rows", "lines"])
def test_send_in_batches_over_one_connection(server: Server, form: str) -> None:
    events = [departure(i, distance="far" if i == 17 else 1.0) for i in range(25)]
    with Client(server.url) as client:
        totals = client.send("departure", lines(events) + b"\n\n" if form == "lines" else iter(events), batch=10)
    assert (totals.accepted, totals.duplicate, totals.quarantined, totals.n, totals.end) == (24, 0, 1, 25, 25)
    assert [p["row"] for p in totals.problems] == [17]
    assert server.seen == [("/base/events/departure", n) for n in (10, 10, 5)]
    assert server.connections == 1


def test_mixed_streams_go_to_the_common_address(server: Server) -> None:
    with Client(server.url) as client:
        assert client.send(None, [departure(1, stream="departure")]).accepted == 1
    assert server.seen == [("/base/events", 1)]


def test_busy_answers_are_waited_out(server: Server) -> None:
    waits: list[float] = []
    server.faults = [429, 503]
    with Client(server.url, sleep=waits.append) as client:
        totals = client.send("departure", [departure(1)])
    assert (totals.accepted, totals.n_retries, waits) == (1, 2, [7.0, 7.0])


def test_a_lost_reply_does_not_count_twice(server: Server) -> None:
    waits: list[float] = []
    server.faults = ["lose the reply"]
    with Client(server.url, sleep=waits.append) as client:
        totals = client.send("departure", [departure(i) for i in range(3)])
    assert (totals.accepted, totals.duplicate, waits) == (0, 3, [0.1])
    assert len(server.desk.rows("departure")) == 3


def test_patience_has_an_end(server: Server) -> None:
    server.faults = [503] * 10
    with Client(server.url, patience_s=20, sleep=lambda s: None) as client, pytest.raises(HeadwaterError, match="no success"):
        client.send("departure", [departure(1)])
    server.faults = []
    with (
        Client("http://127.0.0.1:9", patience_s=0.2, sleep=lambda s: None) as client,
        pytest.raises(HeadwaterError, match="no answer"),
    ):
        client.send("departure", [departure(1)])


def test_a_refusal_for_good_is_raised(server: Server) -> None:
    with Client(server.url) as client, pytest.raises(Refused, match="Did you mean departure") as caught:
        client.send("departures", [departure(1)])
    assert caught.value.status == 404


def test_get_with_a_token(server: Server) -> None:
    with Client(server.url, token="t") as client:
        assert client.get("/healthz") == {"path": "/base/healthz", "auth": "Bearer t"}


def test_what_is_no_address() -> None:
    with pytest.raises(ConfigError, match="http://host:port"):
        Client("localhost:8000")
