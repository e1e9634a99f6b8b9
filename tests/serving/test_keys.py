"""Keys: what is kept of them, and who may do what with which, over every route."""

from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from headwater.core.clock import VirtualClock
from headwater.core.errors import ConfigError, Fatal
from headwater.following import Notices, Streams
from headwater.log import MemoryLog
from headwater.serving.access import Access
from headwater.serving.keys import FILE_NAME, KeyFile, Keyring
from headwater.serving.limits import Limits
from headwater.serving.problems import Problem
from headwater.serving.replies import Reply
from headwater.serving.requests import Call
from headwater.serving.routes import TABLE, Route
from headwater.serving.scopes import EVERYTHING, NOTHING, OPEN, SCOPES, parse

from .conftest import DEPARTURE, READING, ROW, Site

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def test_a_key_has_256_random_bits_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path, VirtualClock(1_736_150_400_000_000))
    key, text = keys.add("till", parse("ingest", where=""))
    hw, id_, secret = text.split("_")
    assert (hw, id_, len(secret)) == ("hw", key.id, 52)  # 256 bits, 5 to a letter
    kept = (tmp_path / FILE_NAME).read_text()
    assert secret not in kept
    assert key.created == "2025-01-06T08:00:00Z"
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]  # nothing is left of the writing
    assert keys.read() == [key]
    assert len({keys.add(f"k{i}", EVERYTHING)[1] for i in range(50)}) == 50


def test_a_key_opens_what_it_was_made_for_and_nothing_else_does(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    _, text = keys.add("till", parse("ingest", where=""))
    _, all_ = keys.add("root", parse("admin", where=""))
    ring = Keyring(keys.read(), keys.now())
    assert (ring.scopes(text), ring.scopes(all_)) == ({"ingest"}, EVERYTHING)
    hw, id_, secret = text.split("_")
    for wrong in ("", "hw", id_, secret, f"{hw}_{id_}_", f"{hw}_{id_}_{secret[:-1]}", f"{hw}_{id_}_{secret}a", f"{text}_",
                  f"{hw}_{id_}_{all_.split('_')[2]}", text.upper(), text + "\n"):  # fmt: skip
        assert ring.scopes(wrong) is None, wrong


def test_names_are_plain_and_one_key_at_a_time_has_one(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    for name in ("", "../x", "A", "a b", "-x", "x" * 64, "naïve"):
        with pytest.raises(ConfigError, match="name is not usable"):
            keys.add(name, EVERYTHING)
    keys.add("till", EVERYTHING)
    with pytest.raises(ConfigError, match="till-2"):
        keys.add("till", EVERYTHING)
    keys.revoke("till")
    with pytest.raises(Fatal, match="no key of this name"):
        keys.revoke("till")
    keys.add("till", EVERYTHING)
    assert [key.revoked is None for key in keys.read()] == [False, True]


def test_a_key_ends_by_itself_when_it_was_said_to(tmp_path: Path) -> None:
    clock = VirtualClock(1_736_150_400_000_000)
    keys = KeyFile(tmp_path, clock)
    key, short = keys.add("auditor", parse("operate", where=""), lasts_ms=3_600_000)
    _, long = keys.add("till", parse("ingest", where=""))
    assert key.expires == "2025-01-06T09:00:00Z"
    access = Access(keys, None, NOTHING, look_s=0.0)
    headers = [f"Bearer {text}".encode() for text in (short, long)]
    clock.advance(3599.0)
    assert [access.scopes(header) for header in headers] == [{"operate"}, {"ingest"}]
    clock.advance(1.0)
    with pytest.raises(Problem):
        access.scopes(headers[0])
    assert access.scopes(headers[1]) == {"ingest"}
    with pytest.raises(Fatal, match="no key of this name"):
        keys.revoke("auditor")
    assert keys.add("auditor", EVERYTHING)[0].expires is None
    for lasts_ms in (0, 999):
        with pytest.raises(ConfigError, match=f"would never hold; expected at least 1s; got {lasts_ms} ms"):
            keys.add("short", EVERYTHING, lasts_ms=lasts_ms)


def test_a_file_of_the_format_before_is_read(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    _, text = keys.add("till", EVERYTHING)
    stored = json.loads((tmp_path / FILE_NAME).read_text())
    del stored["keys"][0]["expires"]
    (tmp_path / FILE_NAME).write_text(json.dumps({**stored, "format": 1}))
    assert Keyring(keys.read(), keys.now()).scopes(text) == EVERYTHING
    keys.add("web", EVERYTHING)
    assert json.loads((tmp_path / FILE_NAME).read_text())["format"] == 2


def test_a_damaged_or_open_file_of_keys_opens_nothing(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    _, text = keys.add("till", EVERYTHING)
    access = Access(keys, None, NOTHING, look_s=0.0)
    assert access.scopes(f"Bearer {text}".encode()) == EVERYTHING
    (tmp_path / FILE_NAME).chmod(0o622)
    with pytest.raises(ConfigError, match="other users of this machine may write"):
        keys.read()
    (tmp_path / FILE_NAME).chmod(0o600)
    for damaged in ("", "{", '{"format": 3, "keys": []}', '{"format": 1, "keys": [{"id": 1}]}', "[]"):
        (tmp_path / FILE_NAME).write_text(damaged)
        with pytest.raises(ConfigError):
            keys.read()
        with pytest.raises(Problem):
            access.scopes(f"Bearer {text}".encode())


def test_unknown_scopes_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean ingest"):
        parse("ingst", where="--scope")
    with pytest.raises(ConfigError, match="no scope is named"):
        parse(" , ", where="--scope")


class Desk:
    """A gateway with one key for each scope, one revoked, and a folder to change them in."""

    made: ClassVar[list[Desk]] = []

    def __init__(self, sites: Callable[..., Site], folder: Path, **options: object) -> None:
        self.keys = KeyFile(folder)
        self.bearer = {scope: f"Bearer {self.keys.add(scope, frozenset({scope}))[1]}" for scope in SCOPES}
        self.bearer["revoked"] = f"Bearer {self.keys.add('old', EVERYTHING)[1]}"
        self.keys.revoke("old")
        streams = Streams(MemoryLog(), {"departure": DEPARTURE, "reading": READING}, Notices(None))
        self.site = sites(keys=self.keys, following=streams, **options)
        self._client = http.client.HTTPConnection(self.site.running.host, self.site.running.port, timeout=10)

        Desk.made.append(self)

    def status(self, method: str, path: str, **headers: str) -> int:
        self._client.request(method, path, json.dumps(ROW) if method == "POST" else None, headers)
        answer = self._client.getresponse()
        answer.read()
        return answer.status


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while Desk.made:
        Desk.made.pop()._client.close()


def _paths(route: Route) -> str:
    named = {"{model}": "late", "{version}": "late", "{stream}": "departure", "{name}": "departure"}
    path = route.pattern
    for name, value in named.items():
        path = path.replace(name, value)
    return path


def test_every_route_method_and_key(sites: Callable[..., Site], tmp_path: Path) -> None:
    """Each route x 7 methods x {no key, each scope, revoked, wrong, cross-site, wrong host}, from the table of routes."""
    desk = Desk(sites, tmp_path, anonymous=NOTHING)
    by_path: dict[str, dict[str, Route]] = {}
    for route in TABLE:
        by_path.setdefault(_paths(route), {})[route.method] = route
    bad = {"no key": {}, "wrong": {"authorization": "Bearer hw_aaaaaaaa_" + "a" * 52}, "basic": {"authorization": "Basic eDp5"},
           "revoked": {"authorization": desk.bearer["revoked"]}}  # fmt: skip
    n = 0
    for path, has in by_path.items():
        for method in METHODS:
            route = has.get("GET" if method == "HEAD" else method)
            for what, headers in bad.items():
                said = desk.status(method, path, **headers)
                is_open = route is not None and route.scopes is OPEN
                assert said == (200 if is_open else 401), (method, path, what, said)
            for scope in SCOPES:
                said = desk.status(method, path, authorization=desk.bearer[scope])
                if route is None:
                    assert said == 405, (method, path, scope, said)
                elif route.scopes is OPEN or scope in route.scopes or scope == "admin":
                    assert said in {200, 400, 422, 503}, (method, path, scope, said)
                else:
                    assert said == 403, (method, path, scope, said)
            root = {"authorization": desk.bearer["admin"]}
            assert desk.status(method, path, **root, origin="https://evil.example") == 403
            assert desk.status(method, path, **root, host="evil.example") == 421
            n += len(bad) + len(SCOPES) + 2
    assert n == 7 * len(by_path) * 10
    for method in METHODS:
        assert desk.status(method, "/unknown") == 401
        assert desk.status(method, "/unknown", authorization=desk.bearer["predict"]) == 404


def test_a_route_that_was_added_without_a_scope_is_open_to_nobody(sites: Callable[..., Site], tmp_path: Path) -> None:
    async def dummy(_: Call) -> Reply:
        return Reply(200, b"{}")

    for anonymous, expected in ((NOTHING, 401), (EVERYTHING, 401)):
        desk = Desk(sites, tmp_path / str(len(anonymous)), anonymous=anonymous)
        desk.site.gateway.routes.add(Route("/dummy", "GET", "a test"), dummy)
        assert desk.status("GET", "/dummy") == expected
        assert desk.status("GET", "/dummy", authorization=desk.bearer["admin"]) == 403
        assert "/dummy" in desk.site.get("/", authorization=desk.bearer["admin"]).json["routes"]


def test_a_running_gateway_takes_changes_of_keys(sites: Callable[..., Site], tmp_path: Path) -> None:
    desk = Desk(sites, tmp_path, anonymous=NOTHING)
    desk.site.gateway._access._look_s = desk.site.gateway._access._look_at = 0.0
    assert desk.status("POST", "/predict/late", authorization=desk.bearer["predict"]) == 200
    desk.keys.revoke("predict")
    assert desk.status("POST", "/predict/late", authorization=desk.bearer["predict"]) == 401
    _, text = desk.keys.add("new", parse("predict", where=""))
    assert desk.status("POST", "/predict/late", authorization=f"Bearer {text}") == 200
    assert desk.status("POST", "/events", authorization=f"Bearer {text}") == 403


def test_who_shows_no_key_may_do_what_is_left_open(sites: Callable[..., Site], tmp_path: Path) -> None:
    desk = Desk(sites, tmp_path, anonymous=parse("predict", where=""))
    assert desk.status("POST", "/predict/late") == 200
    assert desk.status("POST", "/events") == 401
    assert desk.status("GET", "/status") == 401
    assert desk.status("POST", "/predict/late", authorization="Bearer wrong") == 401


def test_where_nobody_made_keys_the_header_is_not_looked_at(sites: Callable[..., Site], tmp_path: Path) -> None:
    site = sites(keys=KeyFile(tmp_path))
    assert site.get("/status", authorization="Basic eDp5").status == 200
    assert site.gateway.is_protected is False


def test_refused_events_are_for_admins(sites: Callable[..., Site], tmp_path: Path) -> None:
    desk = Desk(sites, tmp_path, anonymous=NOTHING)
    for path in ("/streams/_dead", "/streams/%5fdead", "/streams/_dead?from=0"):
        assert desk.status("GET", path, authorization=desk.bearer["operate"]) == 403
        assert desk.status("GET", path, authorization=desk.bearer["admin"]) == 200
    assert desk.status("GET", "/streams/departure", authorization=desk.bearer["operate"]) == 200


def test_verified_headers_are_remembered_and_wrong_ones_are_not(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    _, text = keys.add("till", EVERYTHING)
    access = Access(keys, "t" * 20, NOTHING)
    for i in range(1000):
        with pytest.raises(Problem):
            access.scopes(b"Bearer wrong-%d" % i)
    assert access.scopes(f"Bearer {text}".encode()) == access.scopes(b"Bearer " + b"t" * 20) == EVERYTHING
    assert len(access._known) == 2


def test_a_key_in_a_head_that_is_too_long_is_not_looked_at(sites: Callable[..., Site], tmp_path: Path) -> None:
    desk = Desk(sites, tmp_path, anonymous=NOTHING, limits=Limits(headers=8))
    more = {f"x-{i}": "y" for i in range(10)}
    assert desk.status("GET", "/status", authorization=desk.bearer["admin"], **more) == 431
