"""Several streams' files in one order of time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from headwater.cli.timed import merged, named
from headwater.core.errors import Fatal

FILES = {"case": Path("case.parquet"), "outcome": Path("outcome.parquet")}
NOON = datetime(2025, 1, 6, 12, tzinfo=UTC)
NOON_MS = 1736164800000


def test_files_in_any_order_and_of_any_spelling_of_time_are_merged():
    cases = [{"id": "2", "time": NOON_MS + 5}, {"id": "1", "time": NOON}]
    outcomes = [
        msgspec.Raw(b'{"id": "3", "time": "2025-01-06T12:00:00.003Z"}'),
        msgspec.Raw(b'{"id": "4", "time": 1736164800000}'),
    ]
    found = [(event["stream"], event["id"]) for event in merged({"outcome": outcomes, "case": cases}, FILES)]
    assert found == [("outcome", "4"), ("case", "1"), ("outcome", "3"), ("case", "2")]  # at equal time as they were given


@pytest.mark.parametrize("time", [None, "soon", "2025-13-01"])
def test_an_event_without_a_time_is_refused_with_its_place(time):
    with pytest.raises(Fatal, match=r"case\.parquet, row 2: an event has no time to merge it by"):
        list(merged({"case": [{"time": NOON}, {"time": time}]}, FILES))


@pytest.mark.parametrize("inputs", [["case"], ["=x"], ["case="], ["case=a", "case=b"]])
def test_an_input_that_is_none_is_refused(inputs):
    with pytest.raises(Fatal):
        named(inputs)


def test_inputs_are_streams_and_files():
    assert named(["case=a=b.csv", "outcome=c.csv"]) == {"case": Path("a=b.csv"), "outcome": Path("c.csv")}
