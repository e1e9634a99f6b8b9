"""What is not a function of the events, written down as an event: marks, costs, commands on the `_control` stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from headwater.core.batch import Batch, Column, Frame, Text, single
from headwater.core.clock import Clock
from headwater.core.schema import CONTROL, CONTROL_SCHEMA

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


class ControlEvent(NamedTuple):
    """One row of `_control`: `row` is its position in the batch, `time_ms` its event time."""

    row: int
    time_ms: int
    kind: str
    body: dict[str, Any]


def control_batch(kind: str, body: dict[str, Any], *, time_ms: int, id: str, clock: Clock) -> Batch:  # noqa: A002 - the field's name
    """A batch of one control event, ready to append.

    Args:
        kind: What happened, as `room.event`, such as `ingest.idle`.
        body: Its facts: values that JSON can hold. Equal bodies are stored as equal bytes, whatever their keys' order.
        time_ms: Event time, ms since 1970 UTC.
        id: Identifies the event: a resent one is stored once.
        clock: Stamps the arrival.
    """
    rows = Frame(1, {"kind": Column(Text.of([kind])), "body": Column(Text.of([_encode(body).decode()]))})
    arrival = np.array([clock.now_us()], np.int64)
    return single(CONTROL_SCHEMA, rows, np.array([time_ms], np.int64), Text.of([id]), source=CONTROL, arrival=arrival)


def control_events(batch: Batch) -> list[ControlEvent]:
    """The control events of a batch, in order.

    >>> from headwater.core.clock import VirtualClock
    >>> control_events(control_batch("ingest.idle", {"source": "gate-1"}, time_ms=5, id="a", clock=VirtualClock()))
    [ControlEvent(row=0, time_ms=5, kind='ingest.idle', body={'source': 'gate-1'})]
    """
    if CONTROL not in batch.frames:
        return []
    rows, columns = batch.rows_of(CONTROL), batch.frames[CONTROL].columns
    values = zip(rows.tolist(), batch.time[rows].tolist(), columns["kind"].to_list(), columns["body"].to_list(), strict=True)
    return [ControlEvent(row, time_ms, kind, _decode(body)) for row, time_ms, kind, body in values]
