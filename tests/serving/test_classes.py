"""Answers that name a class: JSON, Arrow, the Open Inference Protocol, the decision log."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.core.clock import SystemClock
from headwater.serving.classes import Classes
from headwater.serving.decisions import Decision
from headwater.serving.gateway import Gateway, Options

from .conftest import ROW, FakeAnswerer, FakeDoor, Site, probabilities

NAMES = ("sun", 'fog "thick"\n', "雪", "(other)")
ROWS = [{**ROW, "flight_id": f"f{i}"} for i in range(5)]


@pytest.fixture(autouse=True)
def named(site: Site) -> None:
    site.answerer.names = NAMES


def expected(keys: list[str]) -> list[dict[str, Any]]:
    return Classes.of(NAMES, probabilities(keys, len(NAMES))).rows()


def test_json(site: Site) -> None:
    said = site.post("/predict/late?record=false", ROWS).json["predictions"]
    assert said == [
        {"flight_id": row["flight_id"], **told, "stored": False}
        for row, told in zip(ROWS, expected([row["flight_id"] for row in ROWS]), strict=True)
    ]
    assert said[0]["score"] == said[0]["probabilities"][said[0]["label"]] == max(said[0]["probabilities"].values())


@pytest.mark.parametrize("names", [NAMES, ()])
def test_arrow(site: Site, names: tuple[str, ...]) -> None:
    site.answerer.names = names
    table = pa.Table.from_pylist(ROWS)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    said = site.post("/predict/late?record=false", sink.getvalue(), Content_Type="application/vnd.apache.arrow.stream")
    with pa.ipc.open_stream(said.body) as reader:
        got = reader.read_all()
    assert got.schema.names == ["flight_id", "label", "probabilities", "score", "stored"]
    assert got.schema.field("probabilities").type == pa.map_(pa.string(), pa.float64())
    told = expected([row["flight_id"] for row in ROWS]) if names else [{"label": None, "probabilities": {}, "score": 0.0}] * 5
    assert got.column("label").to_pylist() == [t["label"] for t in told]
    assert [dict(row) for row in got.column("probabilities").to_pylist()] == [t["probabilities"] for t in told]
    assert got.column("score").to_pylist() == [t["score"] for t in told]


@pytest.mark.parametrize("binary", [True, False])
def test_open_inference(site: Site, binary: bool) -> None:
    tritonclient = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    client = tritonclient.InferenceServerClient(f"{site.running.host}:{site.running.port}")
    outputs = client.get_model_metadata("late")["outputs"]
    assert [(o["name"], o["datatype"], o["shape"]) for o in outputs] == [
        ("label", "BYTES", [-1]), ("score", "FP64", [-1]), ("probabilities", "FP64", [-1, -1]), ("classes", "BYTES", [-1]),
    ]  # fmt: skip
    keys = np.array([row["flight_id"] for row in ROWS], np.object_)
    asked = tritonclient.InferInput("flight_id", [5], "BYTES")
    asked.set_data_from_numpy(keys, binary_data=binary)
    wanted = [tritonclient.InferRequestedOutput(o["name"], binary_data=binary) for o in outputs]
    said, told = client.infer("late", [asked], outputs=wanted), expected(keys.tolist())
    assert _texts(said.as_numpy("label")) == [t["label"] for t in told]
    assert _texts(said.as_numpy("classes")) == list(NAMES)
    np.testing.assert_array_equal(said.as_numpy("probabilities"), probabilities(keys.tolist(), len(NAMES)))
    assert said.as_numpy("score").tolist() == [t["score"] for t in told]
    some = client.infer("late", [asked], outputs=[tritonclient.InferRequestedOutput("label", binary_data=binary)])
    assert [o["name"] for o in some.get_response()["outputs"]] == ["label"]
    client.close()


def _texts(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]


def test_an_unknown_output_is_refused_with_those_that_there_are(site: Site) -> None:
    call = {"inputs": [{"name": "flight_id", "shape": [1], "datatype": "BYTES", "data": ["a"]}], "outputs": [{"name": "odds"}]}
    said = site.post("/v2/models/late/infer", call)
    assert said.status == 400
    assert "label or score or probabilities or classes" in json.dumps(said.json)


def test_the_openapi_document_has_them(site: Site) -> None:
    row = site.get("/openapi.json").json["components"]["schemas"]["answer.late"]["properties"]["predictions"]["items"]
    assert row["properties"]["label"]["type"] == ["string", "null"]
    assert row["properties"]["probabilities"]["additionalProperties"] == {"type": "number"}


def test_the_decision_log_keeps_the_label_that_was_said() -> None:
    kept: list[Decision] = []

    async def store(group: list[Decision]) -> None:
        kept.extend(group)

    async def main() -> None:
        options = Options(clock=SystemClock(), decisions=store)
        gateway = Gateway(FakeDoor(), FakeAnswerer(names=NAMES), options)
        pairs = [(b"content-type", b"application/json"), (b"host", b"localhost")]
        assert gateway.at_once("/predict/late", b"record=false", pairs, json.dumps(ROWS).encode()).status == 200
        await gateway.close()

    asyncio.run(main())
    assert [decision.labels for decision in kept] == [[told["label"] for told in expected([row["flight_id"] for row in ROWS])]]
