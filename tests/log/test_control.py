"""Control events survive the log as they were."""

from __future__ import annotations

from headwater.core.batch import concat
from headwater.core.clock import VirtualClock
from headwater.log import ControlEvent, MemoryLog, control_batch, control_events
from headwater.testing.log_conformance import Row, batch_of


def test_a_control_event_comes_back_beside_others() -> None:
    log, clock = MemoryLog(), VirtualClock(7_000)
    body = {"job": 3, "cost_s": 0.25, "why": "ø"}
    control = control_batch("planning.effect", body, time_ms=5, id="job-3", clock=clock)
    assert control.arrival.tolist() == [7_000]
    log.append(concat([batch_of([Row("a")]), control, batch_of([Row("b")])]))
    (chunk,) = log.read(0)
    assert control_events(chunk.batch) == [ControlEvent(1, 5, "planning.effect", body)]
    assert control_events(batch_of([Row("a")])) == []


def test_the_order_of_a_bodys_keys_does_not_matter() -> None:
    log, clock = MemoryLog(), VirtualClock()
    log.append(control_batch("mark", {"a": 1, "b": 2}, time_ms=0, id="m", clock=clock))
    clock.advance(9)
    assert log.append(control_batch("mark", {"b": 2, "a": 1}, time_ms=0, id="m", clock=clock)).verdict.tolist() == [1]
