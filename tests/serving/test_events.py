"""`POST /events` and `/events/{stream}`: bodies reach the door unchanged, and the door's word is passed on."""

from __future__ import annotations

import json

from headwater.core.errors import DiskFull

from .conftest import ROW, Site


def test_bodies_reach_the_door_with_their_stream_and_type(site: Site) -> None:
    body = json.dumps(ROW).encode()
    assert site.post("/events/departure", body, Content_Type="application/json").json == {"accepted": 1}
    assert site.post("/events", b"{}\n{}", Content_Type="application/x-ndjson").status == 200
    assert site.door.bodies == [(body, "application/json", "departure"), (b"{}\n{}", "application/x-ndjson", None)]


def test_a_chunked_body_is_whole_when_it_arrives(site: Site) -> None:
    parts = [b"x" * 70_000, b"y" * 70_000, b"z"]
    assert site.call("POST", "/events", iter(parts), {"Content-Type": "application/json"}).status == 200
    assert site.door.bodies[0][0] == b"".join(parts)


def test_a_full_disk_is_a_503_that_tells_no_path(site: Site) -> None:
    site.door.failures = [DiskFull("no room", where="/var/lib/secret")]
    said = site.post("/events", b"{}")
    assert said.status == 503
    assert said.headers["retry-after"] == "5"
    assert b"secret" not in said.body


def test_a_bug_is_a_500_with_an_opaque_id(site: Site) -> None:
    site.door.failures = [ValueError("internal name: planted-canary")]
    said = site.post("/events", b"{}")
    assert said.status == 500
    assert said.json["instance"].startswith("urn:headwater:failure:")
    assert b"canary" not in said.body
    assert b"Traceback" not in said.body
