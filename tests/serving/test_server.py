"""Listening, stopping, and what is refused before anything listens."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from headwater.core.errors import ConfigError
from headwater.serving.gateway import Gateway, Options
from headwater.serving.server import CannotListen, bind, serve

from .conftest import ROW, DoorReply, FakeAnswerer, FakeDoor, start


def test_a_port_in_use_is_named_with_a_next_step() -> None:
    taken = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(CannotListen, match=rf"port {port} is in use.*--port") as caught:
        serve(Gateway(FakeDoor(), FakeAnswerer()), port=port)
    assert caught.value.exit_code == 69
    taken.close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotListen, match="cannot listen"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_a_token_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        serve(Gateway(FakeDoor(), FakeAnswerer()), host, 0)
    assert Gateway(FakeDoor(), FakeAnswerer(), Options(token="t")).is_protected


class HeldDoor(FakeDoor):
    """Commits only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = threading.Event(), threading.Event()
        self.order: list[str] = []

    async def submit(self, body: bytes, content_type: str, headers: Any, stream: str | None) -> DoorReply:
        import asyncio  # noqa: PLC0415

        self.asked.set()
        await asyncio.to_thread(self.go.wait, 10)
        self.order.append("committed")
        return await super().submit(body, content_type, headers, stream)

    async def close(self) -> None:
        self.order.append("closed")
        await super().close()


def test_stopping_finishes_the_request_in_flight_then_closes_the_door() -> None:
    door = HeldDoor()
    site = start(door=door)
    said: list[int] = []
    client = threading.Thread(target=lambda: said.append(site.post("/events", b"{}").status))
    client.start()
    assert door.asked.wait(5)
    site.running.stop()
    door.go.set()
    client.join(10)
    site.thread.join(10)
    assert said == [200]
    assert door.order == ["committed", "closed"]
    with pytest.raises(ConnectionError):
        http.client.HTTPConnection(site.running.host, site.running.port, timeout=1).connect()


PROGRAM = """
import json, sys
sys.modules["pandas"] = None  # Arrow would load it; seconds
from serving.conftest import FakeAnswerer, FakeDoor
from headwater.serving.gateway import Gateway
from headwater.serving.server import serve
from headwater.telemetry.logs import configure
configure()
door = FakeDoor()
serve(Gateway(door, FakeAnswerer()), port=0, ready=lambda r: print(json.dumps([r.host, r.port]), flush=True))
print(json.dumps({"recorded": sum(b.n for b in door.batches), "closed": door.closed}), flush=True)
"""


def test_a_signal_ends_the_process_in_order() -> None:
    places = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=path
    ) as process:
        assert process.stdout is not None
        host, port = json.loads(process.stdout.readline())
        client = http.client.HTTPConnection(host, port, timeout=10)
        client.request("POST", "/predict/late", json.dumps(ROW), {"Content-Type": "application/json"})
        assert client.getresponse().status == 200
        client.close()
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.readline()) == {"recorded": 1, "closed": True}
        assert process.wait(10) == 0
