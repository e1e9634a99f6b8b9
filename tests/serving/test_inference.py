"""The Open Inference Protocol v2, called by somebody else's client: tritonclient, unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from .conftest import ROW, FakeAnswerer, Site, texts

tritonclient = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
utils = pytest.importorskip("tritonclient.utils")


@pytest.fixture
def client(site: Site) -> Iterator[Any]:
    made = tritonclient.InferenceServerClient(f"{site.running.host}:{site.running.port}")
    yield made
    made.close()


def tensor(name: str, values: np.ndarray[Any, Any], *, binary: bool) -> Any:
    made = tritonclient.InferInput(name, list(values.shape), utils.np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def rows(n: int, *shape: int, binary: bool) -> list[Any]:
    columns = {
        "flight_id": np.array([f"f{i} ü" for i in range(n)], np.object_),
        "carrier": np.array(["AA"] * n, np.object_),
        "origin": np.array(["JFK"] * n, np.object_),
        "distance": np.arange(n) / 3,
        "seats": np.arange(n),
        "cargo": np.arange(n) % 2 == 0,
    }
    return [tensor(name, values.reshape(n, *shape), binary=binary) for name, values in columns.items()]


def wanted(answerer: FakeAnswerer) -> list[float]:
    return answerer.answer("late", answerer.questions[-1]).score.tolist()


def test_a_foreign_client_finds_its_way(client: Any, site: Site) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("late")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("late")
    assert [(i["name"], i["datatype"]) for i in metadata["inputs"]] == [
        ("flight_id", "BYTES"), ("carrier", "BYTES"), ("origin", "BYTES"), ("distance", "FP64"), ("seats", "INT64"),
        ("cargo", "BOOL"),
    ]  # fmt: skip
    assert metadata["outputs"] == [{"name": "score", "datatype": "FP64", "shape": [-1]}]
    site.answerer.published = False
    assert not client.is_server_ready()
    assert not client.is_model_ready("late")


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer(client: Any, site: Site, shape: tuple[int, ...], binary_in: bool, binary_out: bool | None) -> None:
    outputs = None if binary_out is None else [tritonclient.InferRequestedOutput("score", binary_data=binary_out)]
    said = client.infer("late", rows(5, *shape, binary=binary_in), outputs=outputs, request_id="r1")
    assert said.as_numpy("score").tolist() == wanted(site.answerer)
    assert said.as_numpy("score").dtype == np.float64
    response = said.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("late", "late@123456", "r1")
    frame = site.answerer.questions[-1].rows
    assert frame.columns["flight_id"].to_list() == [f"f{i} ü" for i in range(5)]
    assert frame.columns["cargo"].to_list() == [1, 0, 1, 0, 1]
    assert not site.door.batches


def test_mixed_inputs_and_left_out_fields(client: Any, site: Site) -> None:
    key = tensor("flight_id", np.array(["a", "b"], np.object_), binary=True)
    distance = tensor("distance", np.array([1, 2], np.float32), binary=False)
    seats = tensor("seats", np.array([3, 4], np.int32), binary=True)
    client.infer("late", [key, distance, seats])
    question = site.answerer.questions[-1]
    assert question.given == {"flight_id", "distance", "seats"}
    assert {name: c.to_list() for name, c in question.rows.columns.items()} == {
        "flight_id": ["a", "b"], "carrier": [None, None], "origin": [None, None], "distance": [1.0, 2.0], "seats": [3, 4],
        "cargo": [0, 0],
    }  # fmt: skip


def test_a_large_request_is_answered_in_a_thread(client: Any, site: Site) -> None:
    said = client.infer("late", rows(5000, binary=True))
    assert said.as_numpy("score").tolist() == wanted(site.answerer)


def test_versions(client: Any) -> None:
    assert (
        client.infer("late", rows(1, binary=True), model_version="late@123456").get_response()["model_version"] == "late@123456"
    )
    assert client.infer("late", rows(1, binary=True), model_version="late").as_numpy("score").size == 1
    for version in ("late@7", "1", "other"):
        with pytest.raises(utils.InferenceServerException, match="This version is not served"):
            client.infer("late", rows(1, binary=True), model_version=version)


def test_recording_is_opt_in(client: Any, site: Site) -> None:
    client.infer("late", rows(2, binary=True), parameters={"record": True})
    (batch,) = site.door.rows(2)
    assert texts(batch, "departure", "origin") == ["JFK", "JFK"]


def test_a_refusal_reaches_the_foreign_client_as_text(client: Any) -> None:
    with pytest.raises(utils.InferenceServerException, match="Did you mean late"):
        client.infer("lat", rows(1, binary=True))
    with pytest.raises(utils.InferenceServerException, match="Did you mean carrier") as caught:
        client.infer("late", [tensor("carier", np.array(["x"], np.object_), binary=True)])
    assert caught.value.status() == "400"


def infer(site: Site, document: Any, raw: bytes = b"", length: Any = "right") -> Any:
    head = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(head) if length == "right" else length)} if length is not None else {}
    return site.call("POST", "/v2/models/late/infer", head + raw, headers)


def spec(name: str = "flight_id", shape: Any = (1,), datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(shape), "datatype": datatype, **more}


def binary(size: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": size}}


KEY = spec(data=["a"])
WRONG: dict[str, tuple[Any, bytes, Any]] = {
    "header length": ({"inputs": [KEY]}, b"", 10_000),
    "header length no number": ({"inputs": [KEY]}, b"", "x"),
    "header length negative": ({"inputs": [KEY]}, b"", -1),
    "no inputs": ({}, b"", None),
    "no rows": ({"inputs": []}, b"", None),
    "no key": ({"inputs": [spec("carrier", data=["a"])]}, b"", None),
    "twice": ({"inputs": [KEY, KEY]}, b"", None),
    "no data": ({"inputs": [spec()]}, b"", None),
    "shape 0": ({"inputs": [spec(shape=(0,), data=[])]}, b"", None),
    "shape negative": ({"inputs": [spec(shape=(-1,), data=["a"])]}, b"", None),
    "shape huge": ({"inputs": [spec(shape=(2**62,), data=["a"])]}, b"", None),
    "shape 2d": ({"inputs": [spec(shape=(1, 2), data=["a", "b"])]}, b"", None),
    "shape none": ({"inputs": [spec(shape=(), data=["a"])]}, b"", None),
    "shape differs": ({"inputs": [KEY, spec("carrier", (2,), data=["a", "b"])]}, b"", None),
    "count": ({"inputs": [spec(shape=(2,), data=["a"])]}, b"", None),
    "datatype": ({"inputs": [KEY, spec("distance", datatype="BYTES", data=["a"])]}, b"", None),
    "value": ({"inputs": [KEY, spec("distance", datatype="FP64", data=["a"])]}, b"", None),
    "nested": ({"inputs": [spec(data=[[["a"]]])]}, b"", None),
    "string too long": ({"inputs": [spec(**binary(6))]}, b"\xff\xff\xff\x7fab", "right"),
    "string cut": ({"inputs": [spec(**binary(3))]}, b"\x01\x00\x00", "right"),
    "string not utf-8": ({"inputs": [spec(**binary(5))]}, b"\x01\x00\x00\x00\xff", "right"),
    "binary missing": ({"inputs": [spec(**binary(99))]}, b"\x01\x00\x00\x00a", "right"),
    "binary negative": ({"inputs": [spec(**binary(-5))]}, b"\x01\x00\x00\x00a", "right"),
    "binary left over": ({"inputs": [KEY]}, b"x", "right"),
    "binary size": ({"inputs": [KEY, spec("distance", datatype="FP64", **binary(4))]}, b"\0\0\0\0", "right"),
    "binary nan": ({"inputs": [KEY, spec("distance", datatype="FP64", **binary(8))]}, np.array([np.nan]).tobytes(), "right"),
    "output": ({"inputs": [KEY], "outputs": [{"name": "logit"}]}, b"", None),
    "classification": ({"inputs": [KEY], "outputs": [{"name": "score", "parameters": {"classification": 3}}]}, b"", None),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tensors_are_refused(site: Site, name: str) -> None:
    said = infer(site, *WRONG[name])
    assert said.status in {400, 422}, said.body
    assert said.json["error"]
    assert not site.answerer.questions


def test_deep_json_is_refused(site: Site) -> None:
    for body in (b"[" * 100_000, b'{"inputs":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        assert site.call("POST", "/v2/models/late/infer", body).status in {400, 422}


def test_the_score_equals_predicts(site: Site) -> None:
    said = infer(site, {"inputs": [spec("flight_id", data=[ROW["flight_id"]])]}, length=None).json
    assert said["outputs"][0]["data"] == [site.post("/predict/late?record=false", ROW).json["predictions"][0]["score"]]
