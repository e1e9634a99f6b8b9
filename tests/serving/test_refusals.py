"""What strangers may not do: sizes, speeds, names, origins, tokens."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from headwater.serving.limits import Limits

from .conftest import ROW, Site


def raw(site: Site, data: bytes, *, wait: bool = True) -> bytes:
    """Send bytes as they are and read until the server closes."""
    with socket.create_connection((site.running.host, site.running.port), timeout=10) as connection:
        connection.sendall(data)
        if not wait:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(65536):
            got += part
        return got


@pytest.mark.parametrize("path", ["/predict/late", "/events", "/v2/models/late/infer"])
def test_ten_megabytes_are_too_long(site: Site, path: str) -> None:
    said = site.post(path, b" " * 10_000_000, Content_Type="application/json")
    assert said.status == 413
    assert said.json["expected"] == f"at most {4 << 20} bytes"
    assert not site.door.bodies


def test_ten_megabytes_in_chunks_are_too_long(site: Site) -> None:
    said = site.call("POST", "/events", iter([b" " * 100_000] * 100), {"Content-Type": "application/json"})
    assert said.status == 413


def test_an_announced_endless_body_is_refused_unread(site: Site) -> None:
    got = raw(site, b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{")
    assert got.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in got
    got = raw(site, b"POST /events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413")


def test_a_connection_goes_on_after_a_refusal(site: Site) -> None:
    bad = b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + b" " * 5_000_000
    good = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    got = raw(site, bad + good)
    assert got.startswith(b"HTTP/1.1 413")
    assert b"HTTP/1.1 200" in got


@pytest.mark.parametrize("sent", [b"", b'{"flight_id"'])
def test_a_slow_body_is_a_408(sites: Callable[..., Site], sent: bytes) -> None:
    site = sites(limits=Limits(body_s=0.2))
    for path in (b"/predict/late", b"/v2/models/late/infer"):
        got = raw(site, b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + sent)
        assert got.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in got
    assert site.get("/healthz").status == 200


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /h"]
)
def test_a_slow_head_loses_its_connection(sites: Callable[..., Site], sent: bytes) -> None:
    site = sites(limits=Limits(head_s=0.2, idle_s=1))
    got = raw(site, sent)
    assert got.count(b"HTTP/1.1") == sent.count(b"\r\n\r\n")


def test_a_client_that_leaves_in_its_body_is_forgotten(site: Site) -> None:
    raw(site, b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", wait=False)
    assert site.get("/healthz").status == 200
    assert not site.door.bodies


def test_an_endless_head_is_a_431(site: Site) -> None:
    for head in (
        b"GET /" + b"x" * 400_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 80_000,
    ):
        with socket.create_connection((site.running.host, site.running.port), timeout=10) as connection:
            connection.settimeout(10)
            got = b""
            try:
                for at in range(0, len(head), 16384):
                    connection.sendall(head[at : at + 16384])
                got = connection.recv(65536)
            except ConnectionError:
                got = got or b"HTTP/1.1 431"  # refused so early that our sending failed first
            assert got.startswith(b"HTTP/1.1 431")


def test_many_or_long_headers_are_a_431(site: Site) -> None:
    assert site.get("/healthz", **{f"X-{i}": "y" for i in range(100)}).status == 431
    said = site.get("/healthz", X="y" * 33_000)
    assert said.status == 431


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "169.254.169.254", "", "localhost:x", "[::2]", "a" * 300],
)
def test_other_host_names_are_refused(site: Site, host: str) -> None:
    for path in ("/healthz", "/predict/late", "/v2"):
        said = site.get(path, Host=host)
        assert said.status == 421
        assert said.json["where"] == "Host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]", "[::1]:80"])
def test_loopback_names_are_taken(site: Site, host: str) -> None:
    assert site.get("/healthz", Host=host).status == 200


def test_configured_names_are_taken(sites: Callable[..., Site]) -> None:
    site = sites(limits=Limits(hosts=frozenset({"Models.example"})))
    assert site.get("/healthz", Host="models.example:8443").status == 200
    assert site.get("/healthz", Host="other.example").status == 421


def test_no_host_or_two_are_refused(site: Site) -> None:
    assert raw(site, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421")
    two = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n"
    assert raw(site, two).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_another_site_may_not_call(site: Site, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/events"), ("POST", "/predict/late"), ("GET", "/status"), ("DELETE", "/events")):
        assert site.call(method, path, b"{}", headers).status == 403
    assert not site.door.bodies


def test_our_own_page_may_call(site: Site) -> None:
    own = {"Origin": f"http://localhost:{site.running.port}", "Sec-Fetch-Site": "same-origin"}
    assert site.get("/status", **own).status == 200


def test_with_a_token_nothing_but_health_is_open(sites: Callable[..., Site]) -> None:
    site = sites(token="s3cret-token")
    for path in [*site.get("/openapi.json", Authorization="Bearer s3cret-token").json["paths"], "/unknown"]:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret-token"}):
                said = site.call(method, path, headers=given)
                assert said.status == (401 if path != "/healthz" else said.status), (method, path)
    said = site.call("POST", "/predict/late", json.dumps(ROW), {"Authorization": "Bearer s3cret-token"})
    assert said.status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx",
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_malformed_http_is_a_400_and_the_server_lives(site: Site, data: bytes) -> None:
    assert raw(site, data, wait=False).startswith((b"HTTP/1.1 400", b""))
    assert not site.door.bodies
    assert site.get("/healthz").status == 200


def test_a_websocket_is_not_spoken(site: Site) -> None:
    said = site.get("/", Connection="upgrade", Upgrade="websocket")
    assert said.status == 200


def test_compressed_bodies_are_refused(site: Site) -> None:
    assert site.post("/predict/late", b"x", Content_Encoding="gzip").status == 415


def test_planted_internal_names_never_appear(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.answerer.fail = RuntimeError("planted-internal-name /var/lib/state.mdb")
    said = site.post("/predict/late", {**ROW, "carrier": "planted-customer-data"})
    assert said.status == 500
    assert b"planted" not in said.body
    assert b"RuntimeError" not in said.body
    assert "planted-customer-data" not in caplog.text
