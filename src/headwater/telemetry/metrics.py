"""Every metric of the gateway, in one table: what is exported is what is documented.

Each `Metrics` has a registry of its own, so that two gateways in one process (tests, notebooks) do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from headwater.core.errors import HeadwaterError

LATENCY_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
MAX_LEARNER_VALUES = 500  # a runaway status must not become a runaway metrics page


@dataclass(frozen=True, slots=True)
class Spec:
    """One exported metric; its unit is the suffix of its name."""

    name: str
    kind: type[Counter | Gauge | Histogram]
    help: str
    labels: tuple[str, ...] = ()


TABLE = (
    Spec("headwater_requests", Counter, "Requests answered, by route and status.", ("route", "status")),
    Spec(
        "headwater_request_seconds",
        Histogram,
        "From a request's last byte read to its answer's first byte written.",
        ("route",),
    ),
    Spec("headwater_events", Counter, "Rows that reached the log or the dead letters, by verdict.", ("stream", "verdict")),
    Spec("headwater_predictions", Counter, "Rows answered.", ("model", "stored")),
    Spec("headwater_nonfinite_scores", Counter, "Answers withheld because a score was not finite.", ("model",)),
    Spec(
        "headwater_degraded",
        Counter,
        "Rows answered by a model's last good state or by no change, since it failed.",
        ("model",),
    ),
    Spec("headwater_record_pending", Gauge, "Predicted rows waiting to be appended as events."),
    Spec("headwater_record_lost", Counter, "Predicted rows that could not be appended as events.", ("reason",)),
    Spec("headwater_decisions_pending", Gauge, "Decision records waiting to be stored."),
    Spec("headwater_decisions_lost", Counter, "Decision records that could not be stored.", ("reason",)),
    Spec("headwater_errors", Counter, "Requests that failed for a reason of ours."),
)

LEARNER_TABLE = {
    "headwater_ready": "1 when the learner has published a snapshot.",
    "headwater_published_seq": "The served snapshot has seen every event before this place in the log.",
    "headwater_snapshot_age_seconds": "Since the served snapshot was published.",
    "headwater_snapshot_age_events": "Events in the log that the served snapshot has not seen.",
    "headwater_event_time_seconds": "The newest event time that the learner has seen, since 1970 UTC.",
    "headwater_learner_value": "Numbers that the learner last said of itself, by their path in its status.",
}

CONSUMER_TABLE = {
    "headwater_consumer_next": "The consumer's cursor: every event of its stream before this place is done with.",
    "headwater_consumer_lag": "Places between the cursor and the end of what the consumer follows.",
    "headwater_consumer_delivered": "Events that it took.",
    "headwater_consumer_retries": "Deliveries that were tried again.",
    "headwater_consumer_parked": "Events that it would never take, put aside.",
    "headwater_consumer_missed": "Places that retention dropped before the consumer had looked at them.",
}
"""Of each consumer; the part after `headwater_consumer_` is the name in its status."""

GUARDED_TABLE = {
    "headwater_model_failing": "1 while a model that runs in a process of its own is not asked, since it failed.",
    "headwater_model_opened": "How often a model's breaker has opened.",
}
"""Of each model in the event lane."""

Consumers = Callable[[], list[dict[str, Any]]]
Guarded = Callable[[], dict[str, dict[str, Any]]]


def numbers(status: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers in a nested status, each with its dotted path."""
    for name, value in status.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from numbers(value, f"{path}.")
        elif isinstance(value, int | float) and math.isfinite(value):
            yield path, float(value)


class Metrics:
    """The gateway's counters and histograms, one attribute for each line of `TABLE`."""

    requests: Counter
    request_seconds: Histogram
    events: Counter
    predictions: Counter
    nonfinite_scores: Counter
    degraded: Counter
    record_pending: Gauge
    record_lost: Counter
    decisions_pending: Gauge
    decisions_lost: Counter
    errors: Counter

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for spec in TABLE:
            options: dict[str, Any] = {"buckets": LATENCY_BUCKETS_S} if spec.kind is Histogram else {}
            made = spec.kind(spec.name, spec.help, spec.labels, registry=self.registry, **options)
            setattr(self, spec.name.removeprefix("headwater_"), made)

    def follow(self, freshness: Callable[[], Freshness]) -> None:
        """Ask for the learner's numbers at every scrape."""
        self.registry.register(_Learner(freshness))

    def follow_consumers(self, consumers: Consumers) -> None:
        """Ask for the consumers' progress at every scrape."""
        self.registry.register(_Consumers(consumers))

    def follow_guarded(self, guarded: Guarded) -> None:
        """Ask for the breakers' states at every scrape."""
        self.registry.register(_Guarded(guarded))

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics page and its content type: Prometheus text, or OpenMetrics where `accept` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the served snapshot lags behind the log.

    Attributes:
        seq: The snapshot has seen every event before this place; None before the first snapshot.
        age_s: Seconds since it was published.
        age_events: Events that it has not seen; None where the log's end is not known.
        event_time_ms: The newest event time that it has seen, ms since 1970 UTC.
        learner: Whatever else the learner said of itself.
    """

    seq: int | None
    age_s: float | None
    age_events: int | None
    event_time_ms: int | None
    learner: Mapping[str, object]


class _Learner(Collector):
    def __init__(self, freshness: Callable[[], Freshness]) -> None:
        self._freshness = freshness

    def describe(self) -> Iterable[Metric]:
        """No call at registration: the learner may not have started."""
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._freshness()
        values = {
            "headwater_ready": float(now.seq is not None),
            "headwater_published_seq": now.seq,
            "headwater_snapshot_age_seconds": now.age_s,
            "headwater_snapshot_age_events": now.age_events,
            "headwater_event_time_seconds": None if now.event_time_ms is None else now.event_time_ms / 1000,
        }
        for name, value in values.items():
            if value is not None:
                yield GaugeMetricFamily(name, LEARNER_TABLE[name], value=value)
        family = GaugeMetricFamily("headwater_learner_value", LEARNER_TABLE["headwater_learner_value"], labels=["name"])
        for count, (path, number) in enumerate(numbers(now.learner)):
            if count >= MAX_LEARNER_VALUES:
                break
            family.add_metric([path], number)
        yield family


class _Guarded(Collector):
    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded

    def describe(self) -> Iterable[Metric]:
        """No call at registration, as above."""
        return []

    def collect(self) -> Iterator[Metric]:
        failing, opened = (GaugeMetricFamily(name, says, labels=["model"]) for name, says in GUARDED_TABLE.items())
        for model, said in self._guarded().items():
            failing.add_metric([model], float(said["breaker"] != "closed"))
            opened.add_metric([model], float(said["opened"]))
        yield failing
        yield opened


class _Consumers(Collector):
    def __init__(self, consumers: Consumers) -> None:
        self._consumers = consumers

    def describe(self) -> Iterable[Metric]:
        """No call at registration, as above."""
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            found = self._consumers()
        except HeadwaterError:  # `/status` says what is wrong with their file; the other metrics go on
            return
        for name, says in CONSUMER_TABLE.items():
            family = GaugeMetricFamily(name, says, labels=["consumer"])
            for one in found:
                family.add_metric([one["name"]], one[name.removeprefix("headwater_consumer_")])
            yield family
