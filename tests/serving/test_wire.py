"""The short way of short calls: the same answers as by the ASGI app, in order, however a request is cut into packets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from headwater.serving.gateway import Gateway
from headwater.serving.wire import BoundedProtocol

from .conftest import ROW, FakeAnswerer, Site, start

BODY = json.dumps({**ROW, "flight_id": "f7"}).encode()


class Counted(FakeAnswerer):
    """Counts the answers given on the ASGI app's task, and those given without one."""

    def __init__(self) -> None:
        super().__init__()
        self.n_long = self.n_short = 0

    def answer(self, model: str, question: Any) -> Any:
        try:
            has_task = asyncio.current_task() is not None
        except RuntimeError:
            has_task = True  # a thread of the long way
        self.n_long += has_task
        self.n_short += not has_task
        return super().answer(model, question)


@pytest.fixture
def counted() -> Iterator[Site]:
    site = start(Counted())
    yield site
    site.stop()


def request(body: bytes = BODY, path: str = "/predict/late?record=false", more: str = "", length: int | None = None) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def talk(site: Site, *packets: bytes, n: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Send packets one by one; `n` responses, without their dates."""
    with socket.create_connection((site.running.host, site.running.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets[:-1]:
            connection.sendall(packet)
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(5)
        connection.sendall(packets[-1])
        stream = connection.makefile("rb")
        return [_response(stream) for _ in range(n)]


def _response(stream: Any) -> tuple[int, dict[str, str], bytes]:
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name] = value
    headers.pop("date")
    return status, headers, stream.read(int(headers["content-length"]))


def test_both_ways_say_the_same(counted: Site) -> None:
    short = talk(counted, request())
    assert (counted.answerer.n_short, counted.answerer.n_long) == (1, 0)
    chunked = request(b"", more="Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
    long = talk(counted, chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
    assert (counted.answerer.n_short, counted.answerer.n_long) == (1, 1)
    assert short == long
    assert short[0][0] == 200


@pytest.mark.parametrize("cut", [1, 40, -len(BODY), -1])
def test_a_body_in_a_packet_of_its_own_is_waited_for(counted: Site, cut: int) -> None:
    whole = request()
    assert talk(counted, whole[:cut], whole[cut:]) == talk(counted, whole)
    assert counted.answerer.n_short >= 1


def test_a_body_that_keeps_us_waiting_is_read_by_the_app(counted: Site) -> None:
    whole = request()
    pieces = [whole[:-9], whole[-9:-6], whole[-6:-3], whole[-3:-2], whole[-2:-1], whole[-1:]]
    assert talk(counted, *pieces) == talk(counted, whole)
    assert (counted.answerer.n_short, counted.answerer.n_long) == (1, 1)


def test_pipelined_calls_of_both_ways_are_answered_in_order(counted: Site) -> None:
    bodies = [json.dumps({**ROW, "flight_id": f"f{i}"}).encode() for i in range(4)]
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    packet = request(bodies[0]) + request(bodies[1]) + health + request(bodies[2]) + health + request(bodies[3])
    said = talk(counted, packet, n=6)
    keys = [json.loads(body)["predictions"][0]["flight_id"] for _, _, body in said if b"predictions" in body]
    assert keys == ["f0", "f1", "f2", "f3"]
    assert [b"predictions" in body for _, _, body in said] == [True, True, False, True, False, True]
    assert counted.answerer.n_short >= 2
    assert counted.answerer.n_short + counted.answerer.n_long == 4


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predict/lat", BODY, 404),
        ("/predict/late?recrod=true", BODY, 400),
        ("/predict/late", b"{", 400),
        ("/predict/late", b"[]", 422),
    ],
)
def test_refusals_are_the_same(counted: Site, path: str, body: bytes, status: int) -> None:
    short = talk(counted, request(body, path))
    long = talk(counted, request(body, path, "Connection: close\r\n"))
    assert short[0][0] == long[0][0] == status
    assert short[0][2] == long[0][2]
    assert long[0][1].pop("connection") == "close"
    assert short[0][1] == long[0][1]


def test_an_error_within_is_a_problem_not_a_closed_connection(counted: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gateway, "_keep", lambda *_: 1 / 0)
    said = talk(counted, request() + request(), n=2)
    assert [status for status, _, _ in said] == [500, 500]
    assert b"division" not in said[0][2]


@pytest.mark.parametrize("callback", ["on_url", "on_header", "on_headers_complete", "on_body"])
@pytest.mark.parametrize(("error", "status"), [(MemoryError(), b"503"), (ValueError("no such thing"), b"400")])
def test_no_memory_for_a_request_is_not_the_callers_fault(counted, monkeypatch, callback, error, status) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(BoundedProtocol, callback, fail)
    with socket.create_connection((counted.running.host, counted.running.port), timeout=5) as connection:
        connection.sendall(request())
        answer = connection.makefile("rb").read()  # and the connection is closed
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert (b"retry-after: 5\r\n" in answer) == (status == b"503")
    monkeypatch.undo()
    assert talk(counted, request())[0][0] == 200
