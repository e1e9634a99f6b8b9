"""`POST /predict/{model}` over a real socket: what is answered, what is recorded, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.core.errors import DiskFull
from headwater.core.schema import FieldSpec, Kind
from headwater.serving.limits import Limits

from .conftest import ROW, Site, texts


def test_one_row_is_answered_with_its_version_and_recorded_after(site: Site) -> None:
    said = site.post("/predict/late", ROW)
    assert said.status == 200
    assert said.headers["headwater-version"] == "late@123456"
    (prediction,) = said.json["predictions"]
    assert said.json["model"] == "late"
    assert said.json["version"] == "late@123456"
    assert prediction.keys() == {"flight_id", "score", "stored"}
    assert 123456 <= prediction["score"] < 123457
    (batch,) = site.door.rows(1)
    assert batch.sources == ("default",)
    assert batch.ids.to_list() == ["f1"]
    assert {name: column.to_list()[0] for name, column in batch.frames["departure"].columns.items()} == ROW
    assert abs(int(batch.arrival[0]) // 1000 - int(batch.time[0])) == 0


def test_scores_survive_the_way_through_json_bit_for_bit(site: Site) -> None:
    rows = [{**ROW, "flight_id": f"f{i}"} for i in range(300)]
    said = [p["score"] for p in site.post("/predict/late?record=false", rows).json["predictions"]]
    asked = site.answerer.questions[-1]
    assert said == site.answerer.answer("late", asked).score.tolist()


def test_columns_reach_the_answerer_as_the_schema_says(site: Site) -> None:
    site.post("/predict/late?record=false", {"flight_id": "Zürich ✈", "distance": 7, "cargo": False})
    question = site.answerer.questions[-1]
    columns = {name: c.to_list() for name, c in question.rows.columns.items()}
    assert columns == {
        "flight_id": ["Zürich ✈"], "carrier": [None], "origin": [None], "distance": [7.0], "seats": [None], "cargo": [0],
    }  # fmt: skip
    assert question.given == {"flight_id", "distance", "cargo"}
    assert question.rows.columns["distance"].values.dtype == np.float64  # type: ignore[union-attr]
    assert question.time is None


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"rows": rows}])
def test_both_spellings_of_many_rows(site: Site, wrap: Callable[[Any], Any]) -> None:
    rows = [{**ROW, "flight_id": f"f{i}", "seats": None if i % 2 else i} for i in range(5)]
    said = site.post("/predict/late", wrap(rows)).json
    assert [p["flight_id"] for p in said["predictions"]] == [r["flight_id"] for r in rows]
    (batch,) = site.door.rows(5)
    assert texts(batch, "departure", "seats") == [0, None, 2, None, 4]


def test_rows_alone_and_together_make_the_same_columns(site: Site) -> None:
    rows = [{**ROW, "flight_id": f"f{i}", "distance": i / 7, "carrier": "x" * (300 * (i % 2))} for i in range(4)]
    rows.append({"flight_id": "f9", "seats": 3})
    site.post("/predict/late?record=false", rows)
    together = site.answerer.questions[-1].rows
    for at, row in enumerate(rows):
        site.post("/predict/late?record=false", row)
        alone = site.answerer.questions[-1].rows
        for name, column in alone.columns.items():
            assert column.to_list() == together.columns[name].to_list()[at : at + 1], name


def test_a_row_in_the_log_is_not_recorded_again(site: Site) -> None:
    site.answerer.known = {"f1"}
    site.post("/predict/late", ROW)
    site.post("/predict/late", {**ROW, "flight_id": "f2"})
    (batch,) = site.door.rows(1)
    assert batch.ids.to_list() == ["f2"]


def test_the_key_alone_asks_for_a_stored_row(site: Site) -> None:
    site.answerer.known = {"f1"}
    said = site.post("/predict/late", {"flight_id": "f1"}).json["predictions"][0]
    assert said["stored"] is True
    assert "recorded" not in said
    assert site.answerer.questions[-1].given == {"flight_id"}
    unknown = site.post("/predict/late", {"flight_id": "f2"}).json["predictions"][0]
    assert unknown["recorded"] is False
    assert "only the key" in unknown["why"]


def test_an_incomplete_row_is_answered_and_says_why_it_is_not_recorded(site: Site) -> None:
    rows = [ROW, {"flight_id": "f2", "distance": 5}]
    first, second = site.post("/predict/late", rows).json["predictions"]
    assert "recorded" not in first
    assert second["recorded"] is False
    assert second["why"] == "required fields are missing: carrier, origin"
    (batch,) = site.door.rows(1)
    assert batch.ids.to_list() == ["f1"]
    assert batch.frames["departure"].columns["carrier"].valid is None


def test_a_given_id_counts_and_a_default_is_filled_in(site: Site) -> None:
    row = {name: value for name, value in ROW.items() if name not in {"cargo", "seats"}}
    site.post("/predict/late", {**row, "id": "call-7", "time": "2024-02-29T12:00:00.5+01:00"})
    (batch,) = site.door.rows(1)
    assert batch.ids.to_list() == ["call-7"]
    assert batch.time.tolist() == [1709204400500]
    assert texts(batch, "departure", "cargo") == [False]
    assert texts(batch, "departure", "seats") == [None]
    assert site.answerer.questions[-1].time.tolist() == [1709204400500]  # type: ignore[union-attr]


def test_an_outer_time_counts_for_every_row(site: Site) -> None:
    site.post("/predict/late?record=false", {"time": 5, "rows": [ROW, {**ROW, "time": 7}]})
    assert site.answerer.questions[-1].time.tolist() == [5, 7]  # type: ignore[union-attr]


def test_an_integer_key_names_its_row(site: Site) -> None:
    said = site.post("/predict/hot", {"sensor": 12, "value": 1.5}).json
    assert said["predictions"][0]["sensor"] == 12
    (batch,) = site.door.rows(1)
    assert batch.ids.to_list() == ["12"]


def test_event_time_may_come_from_the_loop(sites: Callable[..., Site]) -> None:
    site = sites(event_time=lambda: 42)
    site.post("/predict/late", ROW)
    assert site.door.rows(1)[0].time.tolist() == [42]
    assert site.answerer.questions[-1].time.tolist() == [42]  # type: ignore[union-attr]


def test_reasons_on_request(site: Site) -> None:
    said = site.post("/predict/late?explain=true&record=false", ROW).json["predictions"][0]
    assert said["shares"] == {"distance": 0.25, "intercept": -1.0}


def test_pending_rows_are_recorded_before_the_door_closes(sites: Callable[..., Site]) -> None:
    site = sites(limits=Limits(linger_s=0.3))
    site.post("/predict/late", ROW)
    site.stop()
    assert site.door.batches[0].ids.to_list() == ["f1"]
    assert site.door.closed


def test_a_full_disk_delays_recording_and_never_the_answer(site: Site) -> None:
    full = DiskFull("no room")
    full.delay_s = 0.01
    site.door.failures = [full, full]
    assert site.post("/predict/late", ROW).status == 200
    assert site.door.rows(1)[0].ids.to_list() == ["f1"]


def test_an_append_that_fails_for_good_is_counted(site: Site) -> None:
    site.door.failures = [ValueError("bug")]
    site.post("/predict/late", ROW)
    site.door.tried(1)
    site.post("/predict/late", {**ROW, "flight_id": "f2"})
    site.door.rows(1)
    page = site.get("/metrics").body.decode()
    assert 'headwater_record_lost_total{reason="ValueError"}' in page


def test_too_many_waiting_rows_are_answered_but_not_recorded(sites: Callable[..., Site]) -> None:
    site = sites(limits=Limits(pending_rows=1, linger_s=0.2))
    first, second = (site.post("/predict/late", {**ROW, "flight_id": f}).json["predictions"][0] for f in ("a", "b"))
    assert "recorded" not in first
    assert second["recorded"] is False
    assert second["why"] == "too many rows are waiting to be recorded"


BAD: list[tuple[Any, int, str, dict[str, str]]] = [
    ({**ROW, "carier": "AA"}, 422, "unknown-field", {"got": "carier", "next": "Did you mean carrier?"}),
    ({**ROW, "distance": "far"}, 422, "wrong-type", {"where": "$.distance", "expected": "float", "got": "str"}),
    ({**ROW, "distance": None}, 422, "wrong-type", {"where": "$.distance", "got": "null"}),
    ({**ROW, "seats": 2**63}, 422, "wrong-type", {"where": "$.seats"}),
    ({**ROW, "seats": 1.5}, 422, "wrong-type", {"where": "$.seats", "got": "float"}),
    ({**ROW, "time": "2024-01-01T00:00:00"}, 422, "wrong-type", {"where": "$.time"}),
    ({**ROW, "time": "yesterday"}, 422, "wrong-value", {"where": "$.time"}),
    ({**ROW, "time": 10**16}, 422, "wrong-type", {"where": "$.time"}),
    ({**ROW, "id": ""}, 422, "wrong-type", {"where": "$.id"}),
    ([ROW, {**ROW, "origin": 5}], 422, "wrong-type", {"where": "$[1].origin", "expected": "str", "got": "int"}),
    ({"rows": [ROW, {**ROW, "origin": 5}]}, 422, "wrong-type", {"where": "$.rows[1].origin"}),
    ([{**ROW, "time": 1}, ROW], 422, "some-times", {"where": "$[1].time"}),
    ({**ROW, "rows": [ROW]}, 422, "mixed-shape", {}),
    ({"carrier": "AA"}, 422, "no-key", {"where": "$.flight_id"}),
    ([ROW, {"carrier": "AA"}], 422, "no-key", {"where": "$[1].flight_id"}),
    ([], 422, "wrong-number-of-rows", {}),
    (b"", 400, "malformed-json", {}),
    (b"{", 400, "malformed-json", {}),
    (b'{"flight_id": "\xff"}', 400, "malformed-json", {"got": "invalid UTF-8"}),
    (b'{"flight_id": "\\ud800"}', 400, "malformed-json", {}),
    (b'{"distance": NaN}', 400, "malformed-json", {}),
    (b'{"distance": 1e999}', 422, "wrong-value", {"where": "$.distance"}),
    (b"[" * 100_000, 422, "wrong-type", {}),
    (b'{"distance":' + b"[" * 100_000, 422, "wrong-type", {"where": "$.distance"}),
    (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422, "unknown-field", {"got": "x"}),
    (b"3", 422, "wrong-type", {"expected": "object"}),
    (b"null", 422, "wrong-type", {"expected": "object"}),
]


@pytest.mark.parametrize(("body", "status", "kind", "members"), BAD, ids=lambda v: repr(v)[:40])
def test_a_bad_body_is_refused_with_what_and_where(
    site: Site, body: Any, status: int, kind: str, members: dict[str, str]
) -> None:
    said = site.post("/predict/late", body, Content_Type="application/json")
    assert said.status == status, said.body
    assert said.headers["content-type"] == "application/problem+json"
    problem = said.json
    assert problem["type"] == f"urn:headwater:problem:{kind}"
    assert problem["status"] == status
    assert {name: problem.get(name) for name in members} == members
    assert not site.answerer.questions


def test_an_unknown_model_names_the_nearest(site: Site) -> None:
    said = site.post("/predict/lat", ROW)
    assert said.status == 404
    assert said.json["next"] == "Did you mean late?"
    long = site.post("/predict/" + "x" * 5000, ROW)
    assert long.status == 404
    assert len(long.body) < 2000


@pytest.mark.parametrize("query", ["explian=true", "explain=yes", "explain", "&".join(["explain=true"] * 99)])
def test_a_bad_query_is_refused(site: Site, query: str) -> None:
    assert site.post(f"/predict/late?{query}", ROW).status == 400


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "application/x-pickle", "\xff"]
)
def test_only_json_and_arrow_are_taken(site: Site, kind: str) -> None:
    said = site.post("/predict/late", json.dumps(ROW), Content_Type=kind)
    assert said.status == 415
    assert said.json["expected"] == "application/json or application/vnd.apache.arrow.stream"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"])
def test_json_goes_by_several_names(site: Site, kind: str) -> None:
    assert site.post("/predict/late", json.dumps(ROW), Content_Type=kind).status == 200


def test_nothing_published_is_a_503_that_says_when_to_come_back(site: Site) -> None:
    site.answerer.published = False
    said = site.post("/predict/late", ROW)
    assert said.status == 503
    assert said.headers["retry-after"] == "1"
    assert b"secret" not in said.body


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_never_sent(sites: Callable[..., Site], value: float) -> None:
    site = sites()  # its own: rows of earlier tests may still be on their way to a shared one's door
    site.answerer.score = value
    said = site.post("/predict/late", ROW)
    assert said.status == 500
    assert said.json["type"].endswith("no-finite-score")
    assert 'headwater_nonfinite_scores_total{model="late"}' in site.get("/metrics").body.decode()
    assert not site.door.batches


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=7)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def ask(site: Site, table: pa.Table, query: str = "", **options: Any) -> Any:
    return site.post(f"/predict/late{query}", stream(table, **options), Content_Type="application/vnd.apache.arrow.stream")


def table(n: int = 20, **more: Any) -> pa.Table:
    columns = {
        "flight_id": [f"f{i}" for i in range(n)], "carrier": ["AA"] * n, "origin": pa.array(["JFK"] * n, pa.large_string()),
        "distance": pa.array(range(n), pa.int32()), "seats": pa.array([None if i % 3 else i for i in range(n)], pa.int16()),
        "cargo": [i % 2 == 0 for i in range(n)],
    }  # fmt: skip
    return pa.table({**columns, **more})


def test_arrow_in_arrow_out(site: Site) -> None:
    site.answerer.known = {"f0"}
    said = ask(site, table(time=list(range(20)), id=[str(100 + i) for i in range(20)]), "?explain=true")
    assert said.status == 200
    assert said.headers["headwater-version"] == "late@123456"
    got = pa.ipc.open_stream(said.body).read_all()
    assert got.schema.metadata == {b"headwater-model": b"late", b"headwater-version": b"late@123456"}
    assert got["flight_id"].to_pylist() == [f"f{i}" for i in range(20)]
    assert got["stored"].to_pylist() == [True] + [False] * 19
    assert got["score"].to_numpy().tolist() == site.answerer.answer("late", site.answerer.questions[-1]).score.tolist()
    assert got["shares"][0].as_py() == [("distance", 0.25), ("intercept", -1.0)]
    (batch,) = site.door.rows(19)
    assert batch.ids.to_list() == [str(100 + i) for i in range(1, 20)]
    assert batch.time.tolist() == list(range(1, 20))
    assert texts(batch, "departure", "seats") == [None if i % 3 else i for i in range(1, 20)]


def test_arrow_and_json_ask_the_same_question(site: Site) -> None:
    ask(site, table(), "?record=false")
    site.post("/predict/late?record=false", table().to_pylist())
    arrow, json_ = site.answerer.questions
    assert arrow.given == json_.given
    for name, column in arrow.rows.columns.items():
        assert column.to_list() == json_.rows.columns[name].to_list()
        assert type(column.values) is type(json_.rows.columns[name].values)


def test_the_key_alone_in_arrow(site: Site) -> None:
    said = ask(site, table().select(["flight_id"]))
    got = pa.ipc.open_stream(said.body).read_all()
    assert "only the key" in got["why"][0].as_py()
    assert site.answerer.questions[-1].given == {"flight_id"}


def test_bad_arrow_is_refused(site: Site) -> None:
    whole = stream(table())
    bad = {
        "malformed-arrow": (b"not arrow", whole[: len(whole) // 2], b""),
        "unknown-field": (stream(table(carier=["x"] * 20)),),
        "no-key": (stream(table().drop_columns(["flight_id"])),),
        "wrong-type": (stream(table(cargo=[1] * 20)), stream(table(time=["x"] * 20))),
        "wrong-value": (stream(table(seats=pa.array([2**63] * 20, pa.uint64()))),),
        "unsupported-arrow": (
            stream(table(), compression="zstd"),
            stream(table(carrier=pa.array(["A"] * 20).dictionary_encode())),
        ),
        "wrong-number-of-rows": (stream(table(0)),),
    }
    for kind, bodies in bad.items():
        for body in bodies:
            said = site.post("/predict/late", body, Content_Type="application/vnd.apache.arrow.stream")
            assert said.json["type"] == f"urn:headwater:problem:{kind}", said.body
            assert said.status in {400, 413, 422}


def test_damaged_arrow_never_crashes_the_server(site: Site) -> None:
    whole = bytearray(stream(table()))
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = rng.integers(0, 256)
        said = site.post("/predict/late?record=false", bytes(damaged), Content_Type="application/vnd.apache.arrow.stream")
        assert said.status in {200, 400, 413, 422}, said.body


def test_a_field_may_be_called_rows() -> None:
    from headwater.core.schema import Schema  # noqa: PLC0415
    from headwater.serving.rows import RowForm  # noqa: PLC0415

    form = RowForm(Schema("page", (FieldSpec("url", Kind.STR), FieldSpec("rows", Kind.INT)), key="url"), max_rows=10)
    assert form.decode(b'{"url": "a", "rows": 3}').rows().frame.columns["rows"].to_list() == [3]
