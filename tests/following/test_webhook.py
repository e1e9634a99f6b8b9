"""Webhooks against a real server on a real socket; pauses are virtual, so an hour of failures takes a second."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.following.webhook import Webhook

from .conftest import Spy


@dataclass
class Receiver:
    """A server that keeps what it was sent, and answers as it is told.

    Attributes:
        answers: (status, headers) of the next answers, the first one first; 200 when none is left.
        sent: (status it was answered with, headers, body) of each request.
    """

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    sent: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)

    @property
    def taken(self) -> list[int]:
        """Seqs of the events that it said yes to, in the order of their coming."""
        bodies = [body if isinstance(body, list) else [body] for status, _, body in self.sent if status == 200]
        return [event["seq"] for body in bodies for event in body]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, headers = made.answers.pop(0) if made.answers else (200, {})
            made.sent.append((status, {k.lower(): v for k, v in self.headers.items()}, body))
            said = b"told so" if status != 204 else b""
            self.send_response(status)
            for name, value in {"content-length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/hook?a=b"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hook(receiver) -> Iterator[Any]:
    made = []

    def make(**options: Any) -> Webhook:
        made.append(Webhook(receiver.url, "shop", timeout_s=10.0, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_event_is_a_cloudevent_with_a_key_of_its_own(world, receiver, hook):
    world.orders(3, pings=1)
    world.run(world.delivery(hook(headers={"authorization": "Bearer s"})))
    assert receiver.taken == [0, 2, 4]
    _, headers, body = receiver.sent[1]
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["idempotency-key"] == "shop/order/2"
    assert headers["authorization"] == "Bearer s"
    assert (body["specversion"], body["type"], body["source"], body["id"]) == ("1.0", "order", "till", "order-1")
    assert body["data"]["order_id"] == "o1"


def test_a_batch_is_one_request_with_a_key_for_its_places(world, receiver, hook):
    world.orders(5)
    world.run(world.delivery(hook(most=3)))
    assert [[e["seq"] for e in body] for _, _, body in receiver.sent] == [[0, 1, 2], [3, 4]]
    assert [headers["idempotency-key"] for _, headers, _ in receiver.sent] == ["shop/order/0-2", "shop/order/3-4"]
    assert receiver.sent[0][1]["content-type"] == "application/cloudevents-batch+json"


def test_an_hour_of_500_loses_nothing_and_holds_up_nobody_else(world, receiver, hook):
    world.orders(4)
    receiver.answers = [(500, {})] * 10_000
    delivery, failures, slept_s = world.delivery(hook(), name="down"), 0, 0.0
    while slept_s < 3600:
        wait_s = delivery.step()
        failures += 1
        slept_s += wait_s
        world.clock.advance(wait_s + 1e-5)
        if failures == 10:  # in the middle of it
            other = Spy()
            world.run(world.delivery(other, name="other"))
            assert other.taken == [0, 1, 2, 3]
    assert failures < 3600 / 30 + 10  # at most two a minute: it is not hammered
    progress = world.cursors.of("down")
    assert (progress.next, progress.attempt, progress.parked) == (0, failures, 0)
    assert "answered 500 (told so)" in progress.error
    assert progress.retry_us > 3_600_000_000
    assert {headers["idempotency-key"] for _, headers, _ in receiver.sent} == {"shop/order/0"}
    receiver.answers.clear()
    world.run(delivery)
    assert receiver.taken == [0, 1, 2, 3]
    assert world.cursors.of("down").error == ""


def test_the_receiver_says_when_to_come_back(world, receiver, hook):
    world.orders(1)
    receiver.answers = [(429, {"retry-after": "7"}), (503, {"retry-after": "1000000"}), (503, {"retry-after": "Wed, 21 Oct"})]
    pauses = world.run(world.delivery(hook()))
    assert pauses[:2] == pytest.approx([7.0, 300.0])
    assert 0 < pauses[2] < 2
    assert receiver.taken == [0]


@pytest.mark.parametrize("status", [301, 408, 425, 429, 500, 502, 599])
def test_not_now(world, receiver, hook, status):
    world.orders(1)
    receiver.answers = [(status, {})]
    assert len(world.run(world.delivery(hook()))) == 1
    assert receiver.taken == [0]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_never(world, receiver, hook, status):
    world.orders(2)
    receiver.answers = [(status, {})]
    assert world.run(world.delivery(hook())) == []
    assert receiver.taken == [1]
    (parked,) = world.cursors.parked()
    assert parked.seq == 0
    assert str(status) in parked.error


def test_a_refused_batch_is_sent_one_by_one_and_only_the_bad_one_is_parked(world, receiver, hook):
    world.orders(3)
    receiver.answers = [(422, {}), (200, {}), (422, {}), (200, {})]
    world.run(world.delivery(hook(most=10)))
    assert receiver.taken == [0, 2]
    assert [p.seq for p in world.cursors.parked()] == [1]
    assert [headers["idempotency-key"] for _, headers, _ in receiver.sent][1:] == [f"shop/order/{n}-{n}" for n in range(3)]


def test_nobody_there_is_not_now(world):
    world.orders(1)
    hook = Webhook("http://127.0.0.1:1/", "shop", timeout_s=1.0)
    assert 0 < world.delivery(hook).step() < 1
    assert "no answer (ConnectionRefusedError" in world.cursors.of("mine").error


def test_a_receiver_that_hangs_up_between_requests_is_asked_again(world, receiver, hook):
    world.orders(3)
    receiver.answers = [(200, {"connection": "close"}), (204, {})]
    world.run(world.delivery(hook()))
    assert len(receiver.sent) == 3


def test_a_secret_in_the_address_is_not_in_what_is_said(world):
    world.orders(1)
    world.delivery(Webhook("http://me:secret@127.0.0.1:1/secret?token=secret", "shop", timeout_s=1.0)).step()
    assert "secret" not in world.cursors.of("mine").error
    assert "http://127.0.0.1:1: no answer" in world.cursors.of("mine").error


def test_an_address_that_is_none_is_refused():
    for url in ("ftp://x/y", "nonsense", "http://"):
        with pytest.raises(hw.DeclarationError, match="needs an address"):
            Webhook(url, "shop", timeout_s=1.0)


def test_only_these_files_ask_over_http():
    """Import-linter sees `http` as a whole, which servers need for its status codes."""
    root = Path(hw.__file__).parent
    clients = re.compile(r"^\s*(import|from) (http\.client|urllib\.request|socketserver|http\.server)", re.MULTILINE)
    found = {str(p.relative_to(root)) for p in root.rglob("*.py") if clients.search(p.read_text(encoding="utf-8"))}
    assert found == {
        "ingest/client.py",
        "following/webhook.py",
        "faults/calling.py",
        "runtime/watchdog.py",
    }  # the last two ask what they break, and what they watch, on this machine
