"""What a caller writes never becomes a path or an address, wherever it is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from headwater.faults.within import Caller, installation
from headwater.runtime.declared import load_app
from headwater.runtime.settings import Settings

from .conftest import SPEC, events

_UP = ("../", "..\\", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "..;/", "....//", "..%c0%af", "..%ef%bc%8f",
       "．．/", "..∕", "./../", "/..//", "\\..\\", "..%00/", "..\t/")  # fmt: skip
_TARGETS = ("etc/passwd", "etc\\passwd", "windows\\win.ini", "keys.json", "state/data.mdb", "log/lock.mdb", "proc/self/environ")
_HEADS = ("", "/", "file://", "~/")
TRAVERSALS = [
    *(head + up * n + target for up, n, target, head in product(_UP, (2, 8), _TARGETS, ("", "/"))),
    *(head + target for head, target in product(_HEADS, _TARGETS)),
    "/etc/passwd\x00.json", "C:\\boot.ini", "\\\\host\\share", "/dev/stdin", "/proc/self/fd/0", "late@1/../../keys.json",
]  # fmt: skip
ADDRESSES = [
    *(f"{scheme}://{host}" for scheme, host in product(
        ("http", "https", "ftp", "gopher", "dict", "ldap", "jar:http", "s3", "lmdb", "kafka"),
        ("169.254.169.254/latest/meta-data", "127.0.0.1:1", "localhost:22", "[::1]:80", "0x7f000001", "2130706433",
         "metadata.internal", "evil.example@127.0.0.1", "127.0.0.1.nip.io", "evil.example/redirect?to=file:///etc/passwd"),
    )),
    "file:///etc/passwd", "//evil.example/x", "unix:///run/x.sock",
]  # fmt: skip


class Audit:
    """Counts what Python opens and whom it connects to. A hook can never be taken away: it is switched."""

    def __init__(self) -> None:
        self.is_on, self.opened, self.connected = False, [], []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event in {"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "sqlite3.connect"}:
            self.opened.append(str(arguments[0]))
        elif event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system", "os.exec"}:
            self.connected.append((event, *arguments))


@pytest.fixture(scope="module")
def audit() -> Audit:
    return Audit()


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    body = "\n".join(map(json.dumps, events(20))).encode()
    ndjson = {b"content-type": b"application/x-ndjson"}
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"))
    with installation(load_app(SPEC), settings, lambda call: call("POST", "/events", body, headers=ndjson)) as made:
        made.folder = settings.state_dir
        yield made


SEGMENTS = ("/events/", "/predict/", "/streams/", "/v2/models/", "/v2/models/late/versions/")
QUERIES = {"from": "/streams/departure", "wait": "/streams/departure", "explain": "/predict/late", None: "/predict/late"}
HEADERS = ((b"host",), (b"origin",), (b"authorization",), (b"content-type",), (b"inference-header-content-length", b"accept"),
           (b"content-encoding", b"x-forwarded-host", b"referer", b"prefer"))  # fmt: skip


def everywhere(call: Caller, text: str) -> set[int]:
    """One text in every parameter of every route but events: segments, queries, headers, members of bodies. The statuses."""
    said = [call("POST" if "events" in path or "predict" in path else "GET", path + text, b"{}") for path in SEGMENTS]
    for name, path in QUERIES.items():
        said.append(call("GET" if "streams" in path else "POST", path, b"{}", query=f"{name or text}={text}"))
    said += [call("POST", "/predict/late", b"{}", headers=dict.fromkeys(names, text.encode())) for names in HEADERS]
    said.append(call("GET", "/streams/departure", headers={b"accept": text.encode()}))
    row = {"flight_id": text, "carrier": text, "origin": text, "id": text}
    said.append(call.json("POST", "/predict/late", row, query="record=false"))
    said.append(call.json("POST", "/predict/late", {**row, text: text}))
    tensor = {"name": text, "shape": [1], "datatype": text, "data": [text], "parameters": {text: text}}
    said.append(call.json("POST", "/v2/models/late/infer", {"id": text, "inputs": [tensor], "outputs": [{"name": text}]}))
    return {answer.status for answer in said}


def as_events(call: Caller, texts: list[str]) -> set[int]:
    """The texts in every member of events of every form, many in each request: each is stored or quarantined."""
    row = [{"flight_id": t, "carrier": t, "origin": t, "distance": t, t: t} for t in texts]
    plain = [{"id": t, "source": t, "stream": t, "time": t, **r} for t, r in zip(texts, row, strict=True)]
    cloud = [{"specversion": "1.0", "id": t, "source": t, "type": t, "time": t, "dataschema": t, "data": r}
             for t, r in zip(texts, row, strict=True)]  # fmt: skip
    batch = {b"content-type": b"application/cloudevents-batch+json"}
    good = [{"id": t, "source": t, "flight_id": t, "carrier": t, "origin": t, "distance": 1.0, "constant": 1.0, "seats": None}
            for t in texts]  # fmt: skip
    binary = {b"ce-specversion": b"1.0", **dict.fromkeys((b"ce-id", b"ce-type", b"ce-source"), texts[0].encode())}
    said = [call.json("POST", "/events", plain), call.json("POST", "/events", cloud, headers=batch),
            call.json("POST", "/events/departure", good), call.json("POST", "/events", row[0], headers=binary)]  # fmt: skip
    return {answer.status for answer in said}


@pytest.mark.parametrize("texts", [TRAVERSALS, ADDRESSES], ids=["paths", "addresses"])
def test_no_text_of_a_callers_becomes_a_path_or_an_address(call: Caller, audit: Audit, texts: list[str]) -> None:
    everywhere(call, "harmless")  # what is imported or opened at a first use is so now
    as_events(call, texts[:70])
    audit.opened, audit.connected, audit.is_on = [], [], True
    try:
        statuses = as_events(call, texts).union(*(everywhere(call, text) for text in texts))
    finally:
        audit.is_on = False
    assert 500 not in statuses
    root = str(call.folder)
    outside = [path for path in audit.opened if not path.startswith(root) and "kernels-" not in path]  # numba's cache
    assert outside == []
    assert audit.connected == []


def test_there_are_enough_texts_and_the_audit_sees(audit: Audit, tmp_path: Path) -> None:
    assert len(set(TRAVERSALS)) > 500
    audit.opened, audit.is_on = [], True
    (tmp_path / "x").write_text("seen")
    audit.is_on = False
    assert audit.opened == [str(tmp_path / "x")]
