"""The metrics table as such."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from headwater.telemetry.metrics import MAX_LEARNER_VALUES, TABLE, Freshness, Metrics, numbers


def test_every_line_of_the_table_is_an_attribute_with_help() -> None:
    metrics = Metrics()
    for spec in TABLE:
        assert isinstance(getattr(metrics, spec.name.removeprefix("headwater_")), spec.kind)
        assert spec.help.endswith(".")
    assert set(Metrics.__annotations__) == {spec.name.removeprefix("headwater_") for spec in TABLE}


def test_two_gateways_do_not_add_up() -> None:
    first, second = Metrics(), Metrics()
    first.errors.inc()
    assert b"headwater_errors_total 1.0" in first.page()[0]
    assert b"headwater_errors_total 0.0" in second.page()[0]


def test_numbers_of_a_nested_status() -> None:
    status = {"seq": 3, "metrics": {"late": {"loss": 0.5, "bad": float("nan"), "name": "x"}}, "on": True}
    assert dict(numbers(status)) == {"seq": 3.0, "metrics.late.loss": 0.5, "on": 1.0}


def test_a_runaway_status_does_not_make_a_runaway_page() -> None:
    metrics = Metrics()
    metrics.follow(lambda: Freshness(None, None, None, None, {str(i): i for i in range(10_000)}))
    families = {f.name: f for f in text_string_to_metric_families(metrics.page()[0].decode())}
    assert len(families["headwater_learner_value"].samples) == MAX_LEARNER_VALUES
