"""An open-loop client: requests go out at their appointed times, whatever became of those before them.

A closed loop slows down with the server and so never offers more than it can do. Latency counts from the appointed time.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LENGTH = re.compile(rb"content-length: (\d+)")
_RETRY = re.compile(rb"retry-after: (\d+)")


@dataclass
class Offered:
    """What came of it: statuses, latencies of the admitted in seconds, how many refusals said when to come back."""

    statuses: Counter[int] = field(default_factory=Counter)
    admitted_s: list[float] = field(default_factory=list)
    n_retry_after: int = 0
    seconds: float = 0.0

    def quantile_ms(self, share: float) -> float:
        ranked = sorted(self.admitted_s)
        return 1000 * ranked[int(share * (len(ranked) - 1))] if ranked else float("nan")


class Pool:
    """Connections to one server; as many as there are requests under way, but bounded: beyond it a request waits here."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._idle, self._room = port, [], asyncio.Semaphore(most)

    async def ask(self, request: bytes, offered: Offered, due: float) -> None:
        async with self._room:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            status = int(head[9:12])
            offered.statuses[status] += 1
            offered.n_retry_after += _RETRY.search(head) is not None
            if status == 200:
                offered.admitted_s.append(time.perf_counter() - due)
            if b"connection: close" in head:
                writer.close()
            else:
                self._idle.append((reader, writer))

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


_BESIDE = """
import json, socket, sys, threading, time
port, requests, took, statuses = int(sys.argv[1]), open(sys.argv[2], "rb").read().split(b"\\0"), [], {}
lock, ends = threading.Lock(), threading.Event()

def ask():
    with socket.create_connection(("127.0.0.1", port)) as connection:
        stream = connection.makefile("rb")
        while not ends.is_set():
            with lock:
                request = requests.pop()
            began = time.perf_counter()
            connection.sendall(request)
            status, length = int(stream.readline()[9:12]), 0
            while line := stream.readline().strip():
                length = int(line[16:]) if line.startswith(b"content-length: ") else length
            stream.read(length)
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    took.append(time.perf_counter() - began)
            ends.wait(0.01)

threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
print("asks", flush=True)
sys.stdin.read()
ends.set()
for thread in threads:
    thread.join()
print(json.dumps({"took": sorted(took), "statuses": statuses}))
"""


class Beside:
    """Eight patient callers in a process of their own, beside a crowd: how long those wait that are let in.

    The crowd's own latencies say more of its client, which has as many requests under way as it can hold.
    """

    def __init__(self, port: int, requests: list[bytes], folder: Path) -> None:
        file = folder / "requests"
        file.write_bytes(b"\0".join(requests))
        command = [sys.executable, "-c", _BESIDE, str(port), str(file)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "asks\n"

    def ended(self) -> dict[str, Any]:
        """Seconds of those let in, ascending, and how often each status came."""
        out, _ = self._process.communicate("")
        return json.loads(out)


def request(path: str, body: bytes, content_type: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def closed(port: int, requests: list[bytes], clients: int) -> Offered:
    """All requests by so many clients, each of which waits for its answer."""
    offered, pool, following = Offered(), Pool(port, clients), iter(requests)
    began = time.perf_counter()

    async def client() -> None:
        for one in following:
            await pool.ask(one, offered, time.perf_counter())

    await asyncio.gather(*(client() for _ in range(clients)))
    offered.seconds = time.perf_counter() - began
    pool.close()
    return offered


async def opened(port: int, requests: list[bytes], per_s: float, connections: int = 400) -> Offered:
    """All requests at so many a second."""
    offered, pool = Offered(), Pool(port, connections)
    began = time.perf_counter()
    tasks = []
    for i, one in enumerate(requests):
        due = began + i / per_s
        if (early_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        tasks.append(asyncio.create_task(pool.ask(one, offered, due)))
    await asyncio.gather(*tasks)
    offered.seconds = time.perf_counter() - began
    pool.close()
    return offered
