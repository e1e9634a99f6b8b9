"""The demo's events as JSON lines in time order, with a fixed handful of bad ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from headwater.core.batch import Ints
from headwater.demo.data import Flights

_encode, _encode_lines = msgspec.json.Encoder().encode, msgspec.json.Encoder().encode_lines
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """All lines to send.

    Attributes:
        lines: JSON lines, each with its `stream`.
        time: Event times, int64[n], ms; of a bad line, that of the line before it.
        flights: For each departure, (position in `lines`, flight_id), in order.
        injected: How many of each kind of bad line there are.
    """

    lines: list[bytes]
    time: Ints
    flights: list[tuple[int, str]]
    injected: dict[str, int]

    def batches(self, size: int) -> Iterator[tuple[int, bytes]]:
        """(lines up to and including this batch, body)."""
        for start in range(0, len(self.lines), size):
            part = self.lines[start : start + size]
            yield start + len(part), b"\n".join(part)


def _lines(stream: str, table: pa.Table) -> list[bytes]:
    names = ["stream", *table.schema.names]
    columns = [[stream] * len(table), *(table[name].to_pylist() for name in table.schema.names)]
    return bytes(_encode_lines([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])).splitlines()


def make_tape(flights: Flights, *, limit_days: int | None = None) -> Tape:
    """Merge the streams by time (outcomes before questions) and put the bad lines in."""
    lines: list[bytes] = []
    times, ranks = [], []
    for rank, (name, table) in enumerate(flights.tables().items()):
        time = table["time"].to_numpy()
        if limit_days is not None:
            keep = int(np.searchsorted(time, time[0] + limit_days * _DAY_MS))
            table, time = table.slice(0, keep), time[:keep]  # noqa: PLW2901
        lines += _lines(name, table)
        times.append(time)
        ranks.append(np.full(time.size, rank))
    time = np.concatenate(times)
    order = np.lexsort((np.concatenate(ranks), time))
    return _with_bad_ones([lines[i] for i in order], time[order])


def _with_bad_ones(lines: list[bytes], time: Ints) -> Tape:
    bad = _bad_lines(lines, time)
    out: list[bytes] = []
    out_time: list[int] = []
    flights: list[tuple[int, bytes]] = []
    for i, line in enumerate(lines):
        if line.startswith(b'{"stream":"departure"'):
            flights.append((len(out), line))
        out.append(line)
        out_time.append(int(time[i]))
        for _, extra in bad.get(i, ()):
            out.append(extra)
            out_time.append(int(time[i]))
    kinds = [kind for group in bad.values() for kind, _ in group]
    decode = msgspec.json.Decoder(_Key).decode
    named = [(position, decode(line).flight_id) for position, line in flights]
    return Tape(out, np.array(out_time, np.int64), named, {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)})


class _Key(msgspec.Struct):
    flight_id: str


def _bad_lines(lines: list[bytes], time: Ints) -> dict[int, list[tuple[str, bytes]]]:
    """Position -> what follows it. The same for everybody: positions are shares of the tape."""
    arrivals = [i for i, line in enumerate(lines[: len(lines) // 2]) if line.startswith(b'{"stream":"arrival"')]
    out: dict[int, list[tuple[str, bytes]]] = {}
    for n, share in enumerate((0.3, 0.5, 0.7, 0.9)):
        at = int(len(lines) * share)
        earlier = lines[arrivals[int(len(arrivals) * share)]]
        event = msgspec.json.decode(earlier)
        late = {**event, "id": f"late-{n}", "flight_id": f"nobody-{n}", "time": int(time[at]) - 5 * _DAY_MS}
        out[at] = [
            ("malformed", earlier[: len(earlier) // 2]),
            ("wrong_type", _encode({**event, "id": f"type-{n}", "arr_delay": "on time"})),
            ("missing_field", _encode({k: v for k, v in event.items() if k != "carrier"} | {"id": f"field-{n}"})),
            (
                "not_a_number",
                _encode({**event, "id": f"nan-{n}", "arr_delay": 0}).replace(b'"arr_delay":0', b'"arr_delay":NaN'),
            ),
            ("too_far_ahead", _encode({**event, "id": f"ahead-{n}", "time": 4_102_444_800_000})),
            ("unknown_stream", _encode({**event, "id": f"stream-{n}", "stream": "arrivals"})),
            ("duplicate", lines[at]),
            ("duplicate", earlier),
            ("conflict", _encode({**event, "carrier": "??"})),
            ("too_late", _encode(late)),
        ]
    return out
