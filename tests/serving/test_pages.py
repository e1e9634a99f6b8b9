"""Health, readiness, metrics, status, OpenAPI, index."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from headwater.core.errors import CorruptData
from headwater.serving.routes import TABLE
from headwater.telemetry.metrics import LEARNER_TABLE
from headwater.telemetry.metrics import TABLE as METRICS

from .conftest import ROW, Site, start


def test_health_does_not_depend_on_the_learner(site: Site) -> None:
    site.answerer.published = False
    assert site.get("/healthz").json == {"status": "ok"}


def test_ready_once_published(site: Site) -> None:
    site.answerer.published = False
    said = site.get("/readyz")
    assert said.status == 503
    assert said.json == {"ready": False, "reason": "the learner has published nothing yet"}
    site.answerer.published = True
    said = site.get("/readyz")
    assert said.status == 200
    assert said.json["seq"] == 123456
    assert said.json["age_s"] > 0
    assert said.json["age_events"] == 4


def samples(site: Site) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(site.get("/metrics").body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_every_metric_is_in_the_table_and_every_line_of_it_is_exported(site: Site) -> None:
    site.post("/predict/late", ROW)
    families = {f.name for f in text_string_to_metric_families(site.get("/metrics").body.decode())}
    documented = {spec.name for spec in METRICS} | LEARNER_TABLE.keys()
    assert {name.removesuffix("_created") for name in families} == documented


def test_metrics_count_what_happened(site: Site) -> None:
    before = samples(site)
    site.answerer.known = {"f1"}
    site.post("/predict/late", [ROW, {**ROW, "flight_id": "f2"}])
    site.door.rows(1)
    site.post("/predict/nope", ROW)
    site.post("/events/departure", ROW)
    site.post("/events", ROW)
    after = samples(site)

    def more(name: str, **labels: str) -> float:
        at = tuple(sorted(labels.items()))
        return after[name][at] - before.get(name, {}).get(at, 0)

    assert more("headwater_predictions_total", model="late", stored="true") == 1
    assert more("headwater_predictions_total", model="late", stored="false") == 1
    assert more("headwater_requests_total", route="predict", status="200") == 1
    assert more("headwater_requests_total", route="predict", status="404") == 1
    assert more("headwater_request_seconds_count", route="predict") == 2
    assert more("headwater_events_total", stream="departure", verdict="accepted") == 2  # one of them predicted
    assert more("headwater_events_total", stream="*", verdict="accepted") == 1
    assert after["headwater_published_seq"][()] == 123456
    assert after["headwater_ready"][()] == 1
    assert after["headwater_learner_value"][(("name", "metrics.late.log_loss"),)] == 0.5


def test_metrics_of_an_unpublished_learner(site: Site) -> None:
    site.answerer.published = False
    now = samples(site)
    assert now["headwater_ready"][()] == 0
    assert "headwater_published_seq" not in now


def test_no_value_of_a_client_becomes_a_label(site: Site) -> None:
    site.post("/predict/planted-canary", {**ROW, "planted-canary": 1})
    site.post("/predict/late", {**ROW, "carrier": "planted-canary"})
    site.get("/planted-canary")
    assert b"canary" not in site.get("/metrics").body


def test_open_metrics_on_request(site: Site) -> None:
    said = site.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert said.headers["content-type"].startswith("application/openmetrics-text")
    assert said.body.endswith(b"# EOF\n")


def test_status_tells_the_learners_words_and_our_own(site: Site) -> None:
    said = site.get("/status").json
    assert said["learner"] == site.answerer.status()
    assert said["gateway"]["models"] == {"late": "departure", "hot": "reading"}


def test_openapi_is_valid_and_names_every_route(site: Site) -> None:
    document = site.get("/openapi.json").json
    OpenAPIV31SpecValidator(document).validate()
    paths = document["paths"].keys()
    expanded = {"/events/{stream}", "/predict/{model}"}
    assert paths - {"/events/departure", "/events/reading", "/predict/late", "/predict/hot"} == (
        {route.pattern for route in TABLE} - expanded
    )
    assert site.get("/").json["routes"].keys() == {route.pattern for route in TABLE}
    row = document["components"]["schemas"]["row.late"]
    assert row["properties"].keys() == {*ROW, "id", "time"}
    assert row["required"] == ["flight_id"]
    assert row["properties"]["seats"]["type"] == ["integer", "null"]


def test_the_documented_methods_are_the_methods(site: Site) -> None:
    """Every route with every method: documented ones are taken, the others get 405 with Allow."""
    document = site.get("/openapi.json").json
    for path, item in document["paths"].items():
        concrete = path.replace("{model}", "late").replace("{version}", "late").replace("{name}", "reading")
        known = {m.upper() for m in item if m != "parameters"}
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            said = site.call(method, concrete)
            if method in known:
                assert said.status in {200, 400, 503}, (method, path, said.status)
            else:
                assert said.status == 405, (method, path)
                assert set(said.headers["allow"].split(", ")) - {"HEAD"} == known
                assert said.headers["content-type"] == "application/problem+json"


def test_head_is_get_without_a_body(site: Site) -> None:
    said = site.call("HEAD", "/healthz")
    assert (said.status, said.body) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/heathz", "/events/", "/predict/", "/predict", "/predict/late/x", "/v3", "/../etc/passwd", "/%2e%2e/x"]
)
def test_unknown_paths_are_problems(site: Site, path: str) -> None:
    said = site.post(path, b"{}")
    assert said.status in {404, 200} if path == "/events/" else said.status == 404
    if said.status == 404:
        assert said.headers["content-type"] == "application/problem+json"


def test_the_nearest_path_is_named(site: Site) -> None:
    said: Any = site.get("/heathz").json
    assert "Did you mean /healthz" in said["next"]


def test_a_damaged_file_of_consumers_hides_nothing_else() -> None:
    def damaged() -> list[dict[str, Any]]:
        raise CorruptData("a row was altered", where="consumers notify", next_step="Restore the file.")

    site = start(consumers=damaged)
    try:
        said = site.get("/status")
        assert said.status == 200
        assert said.json["consumers"] == []
        assert "a row was altered" in said.json["problem"]
        assert said.json["gateway"]["ready"]
        page = site.get("/metrics")
        assert page.status == 200
        assert b"headwater_requests" in page.body
        assert b"headwater_consumer_" not in page.body
    finally:
        site.stop()
