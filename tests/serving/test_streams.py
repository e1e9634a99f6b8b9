"""Events out over real sockets: pages, resuming, waiting without polling, and followers that misbehave."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from headwater.core.batch import Text, concat, frame, single
from headwater.following import Notices, Streams
from headwater.ingest.client import Client, Refused
from headwater.log import MemoryLog, ring
from headwater.serving.limits import Limits

from .conftest import DEPARTURE, READING

START_MS = 1_767_225_600_000


def departures(n, first=0, pad=0):
    same = {"carrier": "AA" + "x" * pad, "origin": "JFK", "seats": None, "cargo": True}
    rows = [SimpleNamespace(flight_id=f"f{first + i}", distance=float(i), **same) for i in range(n)]
    times = START_MS + np.arange(first, first + n, dtype=np.int64)
    ids = Text.of([f"d{first + i}" for i in range(n)])
    return single(DEPARTURE, frame(DEPARTURE, rows), times, ids, source="gate")


def readings(n):
    rows = [SimpleNamespace(sensor=i, value=0.5) for i in range(n)]
    return single(READING, frame(READING, rows), np.full(n, START_MS, np.int64), Text.of([f"r{i}" for i in range(n)]))


def until(true, what):
    """Poll until something holds."""
    ends = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.001)


class Served:
    """A site with a log of its own."""

    def __init__(self, sites, folder, **limits):
        self.log, self.notices, self.bells = MemoryLog(), Notices(None), folder / "bells"
        streams = Streams(self.log, {"departure": DEPARTURE, "reading": READING}, self.notices)
        self.site = sites(limits=Limits(**limits), following=streams, bells=self.bells)
        self.following = self.site.gateway._following

    def append(self, batch):
        self.log.append(batch)
        ring(self.bells)

    def lines(self, query="", stream="departure"):
        answer = self.site.get(f"/streams/{stream}{query}")
        assert answer.status == 200, answer.body
        return [json.loads(line) for line in answer.body.splitlines()], int(answer.headers["headwater-next"])

    def later(self, query, stream="departure"):
        """The same in a thread, once the server waits; its result is in a list."""
        got = []
        thread = threading.Thread(target=lambda: got.append(self.lines(query, stream)))
        thread.start()
        return thread, got

    def wait_for_waiting(self, n):
        """Until so many followers wait."""
        until(lambda: self.following._rings.n_listening == n, f"{n} wait")


@pytest.fixture
def served(sites, tmp_path):
    return Served(sites, tmp_path)


def test_all_streams_are_listed(served):
    served.append(departures(2))
    listed = served.site.get("/streams").json["streams"]
    assert {"name": "departure", "holds": "events", "first": 0, "end": 2} in listed
    assert {s["name"] for s in listed} >= {"reading", "_control", "_dead", "_versions", "_plans", "_incidents"}


def test_a_follower_resumes_where_it_was_told_to(served):
    served.append(concat([departures(5), readings(3), departures(4, first=5)]))
    first, place = served.lines("?from=start&limit=5")
    rest, end = served.lines(f"?from={place}")
    assert [e["id"] for e in first + rest] == [f"d{i}" for i in range(9)]
    assert [e["seq"] for e in first + rest] == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert served.lines(f"?from={end}") == ([], end)
    assert served.lines("?from=end")[1] == end == 12


def test_two_followers_read_independently(served):
    for i in range(3):
        served.notices.append("_versions", f"late@{i}00", i, {"line": "late", "seq": i})
    slow, place = served.lines("?limit=1", "_versions")
    quick, _ = served.lines("", "_versions")
    served.notices.append("_versions", "late@300", 3, {"line": "late", "seq": 3})
    slow += served.lines(f"?from={place}", "_versions")[0]
    quick += served.lines("?from=3", "_versions")[0]
    assert [e["id"] for e in slow] == [e["id"] for e in quick] == [f"late@{i}00" for i in range(4)]


def test_arrow_and_json_say_the_same(served):
    served.append(departures(20))
    events, place = served.lines()
    answer = served.site.get("/streams/departure", accept="application/vnd.apache.arrow.stream")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    with pa.ipc.open_stream(answer.body) as reader:
        table = reader.read_all()
    assert int(table.schema.metadata[b"headwater-next"]) == int(answer.headers["headwater-next"]) == place
    rows = table.drop_columns(["time", "arrival"]).to_pylist()
    assert rows == [{"seq": e["seq"], "id": e["id"], "source": e["source"], **e["data"]} for e in events]


def test_the_other_forms(served):
    served.append(departures(2))
    events, _ = served.lines()
    for accept in ("", "*/*", "text/html, application/x-ndjson;q=0.9"):
        assert served.site.get("/streams/departure", accept=accept).headers["content-type"] == "application/x-ndjson"
    said = served.site.get("/streams/departure", accept="application/json").json
    assert said == {"stream": "departure", "next": 2, "end": 2, "events": events}
    assert served.site.get("/streams/departure", accept="application/cloudevents-batch+json").json == events
    refused = served.site.get("/streams/departure", accept="text/html")
    assert (refused.status, refused.json["expected"][:20]) == (406, "application/x-ndjson")


def test_a_follower_that_waits_is_woken_by_the_next_event(served):
    thread, got = served.later("?from=start&wait=60")
    served.wait_for_waiting(1)
    served.append(readings(1))  # of another stream: it goes on waiting
    served.append(departures(1))
    thread.join(30)
    ((events, place),) = got
    assert [e["id"] for e in events] == ["d0"]
    assert place == 2


def test_a_notice_wakes_too(served):
    thread, got = served.later("?from=end&wait=60", "_plans")
    served.wait_for_waiting(1)
    served.notices.append("_plans", "p1", 1, {})
    ring(served.bells)
    thread.join(30)
    assert [e["id"] for e in got[0][0]] == ["p1"]


def test_one_that_waits_in_vain_is_told_where_it_is(served):
    served.append(readings(4))
    assert served.lines("?from=0&wait=0.05") == ([], 4)


def test_nobody_who_waits_holds_up_the_stop(served):
    thread, got = served.later("?from=end&wait=60")
    served.wait_for_waiting(1)
    served.site.stop()
    thread.join(30)
    assert got == [([], 0)]


def test_one_who_leaves_while_waiting_leaves_nothing(served):
    client = socket.create_connection((served.site.running.host, served.site.running.port))
    client.sendall(b"GET /streams/departure?wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    served.wait_for_waiting(1)
    client.close()
    served.wait_for_waiting(0)
    until(lambda: not any(served.bells.iterdir()), "the doorbell is taken down")


def test_only_so_many_may_wait(sites, tmp_path):
    served = Served(sites, tmp_path, waiting=1)
    thread, got = served.later("?wait=60")
    served.wait_for_waiting(1)
    refused = served.site.get("/streams/departure?wait=60")
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert served.lines()[0] == []  # without waiting it is answered
    served.append(departures(1))
    thread.join(30)
    assert len(got[0][0]) == 1


def test_what_retention_dropped_is_gone_and_says_where_to_go_on(served):
    for i in range(3):
        served.append(departures(2, first=2 * i))
    served.log.retain(max_bytes=1, keep_from=4)
    gone = served.site.get("/streams/departure?from=1")
    assert (gone.status, gone.headers["headwater-first"]) == (410, "4")
    assert gone.json["next"] == "Go on with from=4."
    assert [e["seq"] for e in served.lines("?from=start")[0]] == [4, 5]
    with Client(served.site.running.url) as client, pytest.raises(Refused, match="Go on with from=4"):
        client.follow("departure", 0)


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("?from=7", 409, "ahead-of-stream"),
        ("?from=-1", 400, "wrong-parameter"),
        ("?from=middle", 400, "wrong-parameter"),
        ("?from=99999999999999999999", 400, "wrong-parameter"),
        ("?limit=0", 400, "wrong-parameter"),
        ("?limit=1e3", 400, "wrong-parameter"),
        ("?wait=nan", 400, "wrong-parameter"),
        ("?wait=61", 400, "wrong-parameter"),
        ("?form=0", 400, "unknown-parameter"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(served, query, status, kind):
    answer = served.site.get(f"/streams/departure{query}")
    assert (answer.status, answer.json["type"]) == (status, f"urn:headwater:problem:{kind}")


def test_unknown_streams_and_methods_are_refused(served):
    answer = served.site.get("/streams/departur")
    assert (answer.status, answer.json["next"]) == (404, "Did you mean departure?")
    assert served.site.post("/streams/departure", {}).status == 405
    assert served.site.get("/streams/").status == 404
    assert served.site.get("/streams/a/b").status == 404


def test_a_follower_that_never_reads_is_given_up_and_holds_nothing(sites, tmp_path):
    served = Served(sites, tmp_path, write_s=0.3, stream_bytes=32 << 20, rows=100_000)
    served.append(departures(4000, pad=8000))  # 32 MB: more than the kernel's buffers take
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((served.site.running.host, served.site.running.port))
    client.sendall(b"GET /streams/departure?limit=100000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    until(lambda: served.following._bytes_out, "an answer is being sent")
    events, _ = served.lines("?limit=1")  # others are served meanwhile
    assert len(events) == 1
    until(lambda: not served.following._bytes_out, "it is given up, and its answer let go")
    got = b""
    while part := client.recv(1 << 20):
        got += part
    client.close()
    head, _, body = got.partition(b"\r\n\r\n")
    (whole,) = re.findall(rb"content-length: (\d+)", head)
    assert len(body) < int(whole)


def test_a_slow_follower_gets_all_of_it(sites, tmp_path):
    served = Served(sites, tmp_path, write_s=5.0, stream_bytes=8 << 20)
    served.append(departures(1000, pad=5000))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((served.site.running.host, served.site.running.port))
    client.sendall(b"GET /streams/departure HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    got = bytearray()
    while part := client.recv(4096):
        got += part
    client.close()
    body = bytes(got).partition(b"\r\n\r\n")[2]
    assert [json.loads(line)["seq"] for line in body.splitlines()] == list(range(1000))


def test_answers_that_nobody_reads_are_bounded(sites, tmp_path):
    served = Served(sites, tmp_path, stream_bytes_out=0)
    served.append(departures(1))
    served.following._bytes_out = 1
    answer = served.site.get("/streams/departure")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_a_token_guards_streams_as_everything_else(sites, tmp_path):
    streams = Streams(MemoryLog(), {}, Notices(None))
    site = sites(following=streams, token="t" * 20)
    assert site.get("/streams").status == 401
    assert site.get("/streams", authorization=f"Bearer {'t' * 20}").status == 200


def test_without_anything_to_follow_there_is_no_such_path(sites):
    assert sites().get("/streams").status == 404


def test_keep_alive_connections_serve_page_after_page(served):
    served.append(departures(10))
    client = http.client.HTTPConnection(served.site.running.host, served.site.running.port, timeout=10)
    place, seen = "0", []
    for _ in range(5):
        client.request("GET", f"/streams/departure?from={place}&limit=2")
        answer = client.getresponse()
        seen += [json.loads(line)["id"] for line in answer.read().splitlines()]
        place = answer.headers["headwater-next"]
    client.close()
    assert seen == [f"d{i}" for i in range(10)]
