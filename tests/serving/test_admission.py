"""Lanes: who is let in, by what was measured, without a clock."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable

import pytest

from headwater.serving import admission
from headwater.serving.admission import Bounds, Lane, Rounds
from headwater.serving.limits import Limits
from headwater.serving.problems import Problem

from .conftest import ROW, Site

FEW = Bounds(wait_s=0.1, few=2, requests=10, held_bytes=10_000)


def work(lane: Lane, monkeypatch: pytest.MonkeyPatch, *, n: int, seconds: float, size: int) -> None:
    """`n` requests begin together and end one after another, each after so many seconds."""
    now = [0.0]
    monkeypatch.setattr(admission, "perf_counter", lambda: now[0])
    inside = [lane.inside() for _ in range(n)]
    for one in inside:
        held = one.__enter__()
        held.grow(size)
        held.begin(0.0)
    for one in inside:
        now[0] += seconds
        one.__exit__(None, None, None)


def test_the_pace_is_measured_and_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(Bounds(wait_s=0.1, few=2, requests=100, held_bytes=1 << 20))
    work(lane, monkeypatch, n=5, seconds=0.03, size=512)  # each weighs 1,024 bytes and takes 30 ms
    assert (lane.n, lane.held_bytes) == (0, 0)
    assert 0.03 / 1024 * 0.9 < lane.pace_s < 0.03 / 1024 * 1.1
    admitted = []
    for _ in range(20):
        try:
            lane.look(0.2)
        except Problem as problem:
            said = (problem.status, problem.headers["retry-after"])
            break
        one = lane.inside()
        admitted.append(one)
        held = one.__enter__()
        held.grow(512)
        held.begin(0.2)
    assert said == (429, "1")
    assert len(admitted) == 4  # 4 x 30 ms are more than 100 ms; with 3 a fourth was let in


def test_a_few_are_always_let_in_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(FEW)
    work(lane, monkeypatch, n=2, seconds=10.0, size=100)
    with lane.inside() as one, lane.inside() as two:
        one.begin(20.0)
        lane.look(20.0)  # which would raise
        two.begin(20.0)
        with pytest.raises(Problem) as refused:
            lane.look(20.0)
    assert refused.value.status == 429


def test_a_request_alone_is_a_first_guess_at_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(FEW)
    work(lane, monkeypatch, n=1, seconds=1.0, size=512)
    work(lane, monkeypatch, n=1, seconds=9.0, size=512)
    assert lane.pace_s == 1.0 / 1024


def test_bodies_in_memory_are_bounded_but_one_alone_may_be_larger() -> None:
    lane = Lane(FEW)
    with lane.inside() as first:
        first.grow(50_000)
        with lane.inside() as second, pytest.raises(Problem) as refused:
            second.grow(1)
        assert refused.value.status == 429
    assert lane.held_bytes == 0
    with lane.inside() as third:
        third.grow(9_999)


def test_where_nothing_gets_done_it_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(FEW)
    monkeypatch.setattr(admission, "perf_counter", lambda: 0.0)
    with lane.inside() as one, lane.inside() as two:
        one.begin(0.0)
        two.begin(0.0)
        lane.look(1.0)
        with pytest.raises(Problem) as refused:
            lane.look(6.0)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "5")


def test_work_gives_way_to_the_loop_and_goes_on_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece of work takes 15 ms; a beat is every 20 ms."""
    now, said = [100.0], []
    monkeypatch.setattr(admission, "perf_counter", lambda: now[0])

    async def one(rounds: Rounds, i: int) -> None:
        await rounds.turn()
        now[0] += 0.015
        said.append(i)

    async def others(rounds: Rounds) -> None:
        while len(said) < 6:
            await asyncio.sleep(0)
            said.append("others")
            rounds._beat()  # timers run once a round

    async def story() -> None:
        rounds = Rounds()
        await asyncio.gather(*(one(rounds, i) for i in range(6)), others(rounds))

    asyncio.run(story())
    assert [x for x in said if x != "others"] == list(range(6))
    assert "others" in said[:3]  # after two of them, 30 ms, everybody else was heard


def test_the_beat_starts_with_requests_and_ends_without_them() -> None:
    async def story() -> list[bool]:
        rounds, seen = Rounds(), []
        for act in (lambda: None, lambda: rounds.is_late(admission.perf_counter()), rounds._beat, rounds._beat):
            act()
            seen.append(rounds._due == float("inf"))
        return seen

    assert asyncio.run(story()) == [True, False, False, True]


def test_the_operators_routes_answer_while_the_lanes_refuse(sites: Callable[..., Site]) -> None:
    nobody = Bounds(wait_s=-1e9, few=0)
    site = sites(limits=Limits(events=nobody, predictions=nobody))
    for path in ("/events", "/events/departure", "/predict/late", "/v2/models/late/infer"):
        said = site.post(path, ROW)
        assert (said.status, said.headers["retry-after"]) == (429, "1"), path
        assert said.json["type"] == "urn:headwater:problem:overloaded"
    for path in ("/healthz", "/readyz", "/status", "/metrics", "/openapi.json", "/v2/health/live"):
        assert site.get(path).status == 200, path
    assert not site.door.bodies


def test_too_many_connections_are_a_503_for_data_and_none_for_the_operator(sites: Callable[..., Site]) -> None:
    site = sites(limits=Limits(connections=2))
    held = [http.client.HTTPConnection(site.running.host, site.running.port, timeout=10) for _ in range(2)]
    for connection in held:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
    said = site.post("/predict/late", ROW)
    assert (said.status, said.headers["retry-after"], said.json["title"]) == (503, "1", "There are too many connections")
    assert site.get("/status").status == 200
    for connection in held:
        connection.close()


def test_a_refused_body_does_not_end_its_connection(sites: Callable[..., Site]) -> None:
    """The refusal comes before the body was read; what is left of it is thrown away."""
    site = sites(limits=Limits(events=Bounds(wait_s=-1e9, few=0)))
    connection = http.client.HTTPConnection(site.running.host, site.running.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/events", b" " * 300_000, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (429, True)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
