"""`headwater run` as a user starts it, and everything that producers, disks and operators do to it."""

from __future__ import annotations

import http.client
import json
import math
import resource
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headwater.cli import main
from headwater.ingest.client import Client, Refused
from headwater.runtime.runfile import running

from .conftest import STATE, arrival, departure, events, learnt, lives, log_end, until, write_lines

YEAR_2100 = 4_102_444_800_000
N_FLIGHTS = 300


@pytest.fixture(scope="module")
def site(command):
    """The command with some history learnt."""
    with command.client() as client:
        end = client.send(None, events(N_FLIGHTS)).end
    learnt(command.url, end)
    return command


def post(url, path, body, content_type="application/x-ndjson"):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("POST", path, body, {"content-type": content_type})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def line(**changed):
    return json.dumps(departure(1000, **changed)).encode()


def raw(old, new):
    return line().replace(old, new)


BAD = {
    "not_finite": raw(b'"distance": 114.0', b'"distance": NaN'),
    "malformed_json": b'{"stream": "departure", "id": "d1000"',
    "wrong_type": line(distance="far"),
    "missing_field": json.dumps({k: v for k, v in departure(1000).items() if k != "carrier"}).encode(),
    "unknown_stream": line(stream="departures"),
    "invalid_utf8": raw(b'"carrier": "AA"', b'"carrier": "\xff\xfe"'),
    "too_large": line(carrier="x" * 10_000_000),
    "too_deep": raw(b'"seats": null', b'"seats": ' + b"[" * 100_000 + b"]" * 100_000),
    "too_far_ahead": line(time=YEAR_2100),
    "int_too_large": line(seats=2**70),
    "no_id": line(id=""),
    "empty_key": line(flight_id=""),
    "conflict": json.dumps(departure(5, carrier="??")).encode(),
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_event_is_refused_with_its_reason_and_its_neighbours_are_stored(site, code):
    name = f"good-{code}"
    good = [json.dumps(departure(900, id=f"{name}-{i}", flight_id=f"{name}-{i}")).encode() for i in range(2)]
    status, said = post(site.url, "/events", b"\n".join([good[0], BAD[code], good[1]]))
    assert (status, said["accepted"], said["quarantined"]) == (200, 2, 1)
    (problem,) = said["problems"]
    assert (problem["row"], problem["code"]) == (1, code)
    assert len(problem["reason"]) > 10


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "1e999"])
def test_no_infinity_is_stored(site, value):
    _, said = post(site.url, "/events", raw(b'"distance": 114.0', f'"distance": {value}'.encode()))
    assert said["quarantined"] == 1


def test_odd_but_lawful_events_are_stored(site):
    odd = [
        departure(901, id="huge", flight_id="huge", distance=1e308),
        departure(902, id="extra", flight_id="extra", colour="red"),
        departure(903, id="unseen", flight_id="unseen", carrier="ZZ-never-seen", origin="\U0001f6eb"),
        arrival(904, None, id="stranger", flight_id="nobody"),
    ]
    with site.client() as client:
        totals = client.send(None, odd)
        assert (totals.accepted, totals.quarantined) == (4, 0)
        assert "colour" in totals.warnings["unknown_field"]
        old = client.send(None, [departure(905, id="1970", time=0), departure(905, id="seconds", time=1_767_225_600)])
        assert old.accepted == 2
        assert "milliseconds" in old.warnings["time_in_seconds"]
    learnt(site.url, old.end)


@pytest.mark.parametrize("value", ["1e308", "-1e308", "1e-320", "0"])
def test_every_answer_is_finite(site, value):
    row = raw(b'"distance": 114.0', f'"distance": {value}'.encode()).replace(b'"stream": "departure", ', b"")
    status, said = post(site.url, "/predict/late?record=false", row, "application/json")
    assert status == 200, said
    (one,) = said["predictions"]
    assert math.isfinite(one["score"])
    assert 0 <= one["score"] <= 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"far"', "[1]"])
def test_a_question_that_is_none_is_refused(site, value):
    row = raw(b'"distance": 114.0', f'"distance": {value}'.encode()).replace(b'"stream": "departure", ', b"")
    status, said = post(site.url, "/predict/late", row, "application/json")
    assert status in {400, 422}
    assert said["title"]


def test_empty_bodies_and_unknown_names_are_told(site):
    assert post(site.url, "/events", b"")[1]["accepted"] == 0
    with site.client() as client:
        with pytest.raises(Refused, match="Did you mean departure"):
            client.send("departur", [departure(1)])
        with pytest.raises(Refused, match="late"):
            client.predict("lat", {"flight_id": "f1"})


@pytest.fixture
def hw(site, capsys):
    """A command against the running site; its exit code, output and errors."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main.run([*map(str, arguments), "--state", str(site.state)])
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return call


def test_files_of_nothing_and_of_one_event_are_sent(hw, site, tmp_path):
    header = "flight_id,carrier,origin,distance,constant,seats,time\n"
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text(header)
    (tmp_path / "one.csv").write_text(header + "007,AA,JFK,5,1,,2026-01-01T15:20:00Z\n")
    write_lines(tmp_path / "one.jsonl", [departure(906, id="one", flight_id="one")])
    for name, n in (("empty.jsonl", 0), ("empty.csv", 0), ("header.csv", 0), ("one.csv", 1), ("one.jsonl", 1)):
        stream = ("--stream", "departure") if name.endswith("csv") else ()
        code, out, _ = hw("send", tmp_path / name, *stream, "--json")
        assert (code, json.loads(out)["accepted"]) == (0, n), out
    learnt(site.url, log_end(site.state))
    code, out, _ = hw("predict", "late", "flight_id=007", "--explain")
    assert code == 0
    assert "from the vector stored" in out
    assert "category(departure.carrier)" in out


def test_send_tells_what_was_refused_and_is_strict_if_asked(hw, tmp_path):
    bad = write_lines(
        tmp_path / "bad.jsonl", [departure(907, id="fine", flight_id="fine"), {"stream": "departure", "id": "bare"}]
    )
    code, out, _ = hw("send", bad)
    assert code == 0
    assert "1 stored, 0 known already, 1 refused" in out
    assert "missing_field" in out
    assert hw("send", bad, "--strict")[0] == 1


def test_status_says_it_in_plain_words_and_everything_adds_up(hw, site):
    learnt(site.url, log_end(site.state))
    until(lambda: json.loads(hw("status", "--json")[1])["sources"]["default"]["waiting"] == 0, "the status is up to date")
    code, out, _ = hw("status")
    assert code == 0
    assert "late has learnt every event" in out
    assert "than no change" in out
    said = json.loads(hw("status", "--json")[1])
    for counts in said["sources"].values():
        assert counts["in"] == sum(counts[k] for k in ("applied", "duplicate", "late", "quarantined", "waiting"))
    assert said["run"]["processes"]["gateway"]["restarts"] == 0


def test_late_events_are_listed(hw, site):
    with site.client() as client:
        client.send(None, [departure(908, id="epoch", flight_id="epoch", time=0)])

    def newest():
        found = json.loads(hw("late", "list", "--limit", 1, "--json")[1])
        return found and found[0]["id"] == "epoch" and found[0]

    found = until(newest, "it is saved")
    assert found["time_ms"] == 0
    assert found["behind_ms"] > 50 * 365 * 86_400_000
    assert "1970-01-01" in hw("late", "list")[1]


def test_a_truncated_model_file_is_found_and_made_again(hw, site, tmp_path):
    registered = json.loads(hw("versions", "--json")[1])[0]
    path = site.state / "registry" / "versions" / f"{registered['sha256']}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    code, _, err = hw("show", registered["name"])
    assert code == 1
    assert "altered or cut short" in err
    app = str(running(site.state).spec)
    code, out, _ = hw("rebuild", registered["name"], app)
    assert code == 0, out
    assert "put back" in out
    assert path.read_bytes() == whole
    other = tmp_path / "other.py"
    other.write_text(Path(app).read_text().replace('hw.Linear(loss="log")', 'hw.Linear(loss="log", eta0=0.02)'))
    code, _, err = hw("rebuild", registered["name"], other)
    assert code == 1
    assert "another recipe" in err
    assert "eta0" in err


def test_a_full_disk_refuses_politely_and_loses_nothing(site):
    gateway = site.pid("gateway")
    size = (site.state / "log" / "data.mdb").stat().st_size
    before = resource.prlimit(gateway, resource.RLIMIT_FSIZE)
    rows = [departure(2000 + i, carrier=f"{'x' * 5000}{i}") for i in range(200)]
    with site.client(patience_s=3) as client:
        resource.prlimit(gateway, resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            with pytest.raises(Exception, match="disk is full"):
                client.send(None, rows)
            answer = client.predict("late", {"flight_id": "f7"}, record=False)
            assert math.isfinite(answer["predictions"][0]["score"])
        finally:
            resource.prlimit(gateway, resource.RLIMIT_FSIZE, before)
    with site.client() as client:
        assert client.send(None, rows).accepted == 200
    assert site.pid("gateway") == gateway


def test_what_cannot_start_says_why(site, tmp_path, capsys):
    def fails(*arguments):
        with pytest.raises(SystemExit, match="1"):
            main.run(["run", *map(str, arguments)])
        return capsys.readouterr().err

    spec = running(site.state).spec
    assert "in use by a running Headwater" in fails(spec, "--state", site.state)
    other = tmp_path / "other.py"
    other.write_text(Path(spec).read_text().replace('hw.App("small"', 'hw.App("other"'))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "app.json").write_text(json.dumps({"format": 1, "app": "small"}))
    assert "belongs to another app" in fails(other, "--state", tmp_path / "state")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in fails(spec, "--state", tmp_path / "free", "--port", port)
    (tmp_path / "free" / STATE).mkdir(parents=True)
    (tmp_path / "free" / STATE / "data.mdb").write_bytes(b"not what was written there")
    assert "this file is damaged or was cut" in fails(spec, "--state", tmp_path / "free", "--port", 0)


def test_a_supervisor_that_is_killed_takes_its_children_along_and_the_next_one_goes_on(site):
    """The last test of this module: it ends the run."""
    supervisor = site.process.pid
    children = [site.pid("learner"), site.pid("gateway")]
    end = log_end(site.state)
    site.process.kill()
    site.process.wait()
    until(lambda: not any(map(lives, children)), "the children end")
    assert running(site.state) is None
    site.start()
    assert site.process.pid != supervisor
    learnt(site.url, end)
    url = site.url
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(30) == 0
    assert f"saved at seq {end}" in site.out
    assert running(site.state) is None
    with Client(url, patience_s=0.1) as client, pytest.raises(Exception, match="no success"):
        client.get("/status")
