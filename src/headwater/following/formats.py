"""A page as text or Arrow. Every event of it can be sent to a door again.

Each event is a CloudEvent 1.0 in JSON, with its place as the extension `seq`; in Arrow, columns have the names of plain
events, with `seq` and `arrival` beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from headwater.core.batch import Batch, Column, Ints, Text
from headwater.following.envelope import Envelope
from headwater.following.page import Page

LINES, DOCUMENT = "application/x-ndjson", "application/json"
CLOUD, CLOUD_BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
ARROW = "application/vnd.apache.arrow.stream"

_UTC_MS, _UTC_US = pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")
_encoder = msgspec.json.Encoder()


def values(column: Column) -> list[Any]:
    """A column's values as Python's, None where null."""
    found = column.to_list()
    if isinstance(column.values, Text) or column.values.dtype != np.uint8:
        return found
    return [None if value is None else bool(value) for value in found]


def envelopes(page: Page) -> list[Envelope]:
    """Each row's envelope, in order."""
    rows = page.rows
    sources = [rows.sources[code] for code in rows.source.tolist()]
    columns = zip(page.seq.tolist(), rows.ids.to_list(), sources, rows.time.tolist(), strict=True)
    return [Envelope(page.stream, seq, id_, source, time) for seq, id_, source, time in columns]


def data(page: Page) -> Iterator[Any]:
    """Each row's fields as an object; a notice's, which is text already, as it stands."""
    if not page.n:
        return
    columns = page.rows.frames[page.stream].columns
    if page.is_notices:
        yield from (msgspec.Raw(text.encode()) for text in values(columns["data"]))
        return
    names = list(columns)
    for row in zip(*map(values, columns.values()), strict=True):
        yield dict(zip(names, row, strict=True))


def events(page: Page) -> Iterator[dict[str, Any]]:
    """Each row as a CloudEvent."""
    times = np.datetime_as_string(page.rows.time.astype("datetime64[ms]"), timezone="UTC").tolist()
    for said, time, fields in zip(envelopes(page), times, data(page), strict=True):
        yield {
            "specversion": "1.0", "id": said.id, "source": said.source, "type": page.stream, "time": time, "seq": said.seq,
            "data": fields,
        }  # fmt: skip


def lines(page: Page) -> bytes:
    """One event on each line."""
    return _encoder.encode_lines(list(events(page)))


def document(page: Page) -> bytes:
    """One object: the events and where to go on."""
    return _encoder.encode({"stream": page.stream, "next": page.next, "end": page.end, "events": list(events(page))})


def cloud_batch(page: Page) -> bytes:
    """A CloudEvents batch: what `POST /events` takes as it is."""
    return _encoder.encode(list(events(page)))


def cloud_event(page: Page) -> bytes:
    """The only row of a page as a structured CloudEvent."""
    (event,) = events(page)
    return _encoder.encode(event)


def arrow(page: Page) -> bytes:
    """An Arrow IPC stream; the schema's metadata say where to go on. Without rows it has no columns of fields."""
    said = {"headwater-stream": page.stream, "headwater-next": str(page.next), "headwater-end": str(page.end)}
    made = table(page.seq, page.rows, page.stream).replace_schema_metadata(said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def table(seq: Ints, rows: Batch, stream: str) -> pa.Table:
    """Rows that are all of one stream: seq, id, source, time (event time), arrival, then the stream's fields."""
    names = Text.of(list(rows.sources)).to_arrow()
    columns = {
        "seq": pa.array(seq),
        "id": rows.ids.to_arrow(),
        "source": names.take(pa.array(rows.source.astype(np.int32))),
        "time": pa.array(rows.time).cast(_UTC_MS),
        "arrival": pa.array(rows.arrival).cast(_UTC_US),
    }
    columns |= {name: array_of(held) for name, held in rows.frames[stream].columns.items()}
    return pa.table(columns)


def array_of(column: Column) -> pa.Array:
    if isinstance(column.values, Text):
        text = column.values
        if column.valid is None:
            return text.to_arrow()
        bits = pa.py_buffer(np.packbits(column.valid, bitorder="little"))
        return pa.StringArray.from_buffers(len(text), pa.py_buffer(text.offsets), pa.py_buffer(text.data), bits)
    held = column.values.astype(np.bool_) if column.values.dtype == np.uint8 else column.values
    return pa.array(held, mask=None if column.valid is None else ~column.valid)
