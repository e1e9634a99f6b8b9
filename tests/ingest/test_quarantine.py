"""What an operator does with dead letters: lists, shows, repairs and replays them."""

from __future__ import annotations

import json

import pytest

from headwater.core.errors import ConfigError, HeadwaterError
from headwater.ingest import Limits, Selection, drop_field, parse_edit, rename_field, replay, set_field, show
from headwater.ingest.quarantine import letters
from headwater.log import control_events

from .conftest import NOW_MS, SCHEMAS, Desk, departure, lines


@pytest.fixture
def desk() -> Desk:
    desk = Desk(Limits(max_event_bytes=1000))
    bad = [
        departure(1, distance="12.5", source="probe"),
        departure(2, stream="departures"),
        departure(3) | {"dist": 7.0},
        departure(4, carrier="x" * 2000),
    ]
    del bad[2]["distance"], bad[2]["time"]
    desk.post(lines([departure(0), *bad]))
    desk.clock.advance(3600)
    return desk


def test_list_and_show(desk: Desk) -> None:
    found = list(letters(desk.log))
    assert [(f.seq, f.source, f.stream, f.code) for f in found] == [
        (1, "probe", "departure", "wrong_type"),
        (2, "default", "departure", "unknown_stream"),
        (3, "default", "departure", "missing_field"),
        (4, "default", "departure", "too_large"),
    ]
    assert [f.seq for f in letters(desk.log, Selection(codes=frozenset({"wrong_type", "too_large"})))] == [1, 4]
    assert [f.seq for f in letters(desk.log, Selection(sources=frozenset({"default"}), limit=1))] == [2]
    assert not list(letters(desk.log, Selection(since_us=desk.clock.now_us())))
    assert json.loads(show(desk.log, 1).raw)["distance"] == "12.5"
    assert show(desk.log, 4).truncated
    with pytest.raises(HeadwaterError, match="no dead letter"):
        show(desk.log, 0)


def test_replay_without_repair_refuses_again_and_stores_nothing(desk: Desk) -> None:
    end = desk.log.bounds()
    outcomes = replay(desk.log, SCHEMAS, Selection(), clock=desk.clock)
    assert [(o.verdict, o.code) for o in outcomes] == [
        ("quarantined", "wrong_type"),
        ("quarantined", "unknown_stream"),
        ("quarantined", "missing_field"),
        ("quarantined", "truncated"),
    ]
    assert desk.log.bounds() == end


def test_replay_with_repair_keeps_id_source_and_time(desk: Desk) -> None:
    (outcome,) = replay(desk.log, SCHEMAS, Selection(seqs=frozenset({1})), [set_field("distance", 12.5)], clock=desk.clock)
    assert (outcome.verdict, outcome.seq) == ("accepted", 5)
    row = desk.rows("departure")[-1]
    assert (row["seq"], row["id"], row["source"], row["time"], row["distance"]) == (5, "1", "probe", NOW_MS, 12.5)
    (mark,) = [m for c in desk.log.read(0) for m in control_events(c.batch)]
    assert (mark.kind, mark.body["letter"], mark.body["edits"]) == ("quarantine.replayed", 1, ["set distance=12.5"])
    assert [f.seq for f in letters(desk.log)] == [2, 3, 4]
    assert [f.seq for f in letters(desk.log, Selection(replayed=True))] == [1, 2, 3, 4]


def test_replaying_twice_stores_once(desk: Desk) -> None:
    chosen = Selection(seqs=frozenset({3}), replayed=True)
    edits = [rename_field("dist", "distance")]
    first = replay(desk.log, SCHEMAS, chosen, edits, clock=desk.clock)
    desk.clock.advance(10)
    second = replay(desk.log, SCHEMAS, chosen, edits, clock=desk.clock)
    assert [o.verdict for o in first + second] == ["accepted", "duplicate"]
    assert desk.rows("departure")[-1]["time"] == NOW_MS  # without a time of its own: that of its first arrival


def test_a_repaired_stream(desk: Desk) -> None:
    chosen = Selection(seqs=frozenset({2}))
    assert [o.verdict for o in replay(desk.log, SCHEMAS, chosen, [drop_field("stream")], clock=desk.clock)] == ["quarantined"]
    outcomes = replay(desk.log, SCHEMAS, chosen, [set_field("stream", "departure")], clock=desk.clock)
    assert [o.verdict for o in outcomes] == ["accepted"]


def test_a_dry_run_appends_nothing(desk: Desk) -> None:
    end = desk.log.bounds()
    outcomes = replay(desk.log, SCHEMAS, Selection(), [set_field("distance", 1.0)], clock=desk.clock, dry_run=True)
    assert [o.verdict for o in outcomes] == ["accepted", "quarantined", "accepted", "quarantined"]
    assert desk.log.bounds() == end


def test_a_conflict_stays_until_its_id_is_changed(desk: Desk) -> None:
    desk.post(lines([departure(0, distance=9.0)]))
    chosen = Selection(codes=frozenset({"conflict"}))
    assert [o.code for o in replay(desk.log, SCHEMAS, chosen, clock=desk.clock)] == ["conflict"]
    outcomes = replay(desk.log, SCHEMAS, chosen, [parse_edit("set id=0-corrected")], clock=desk.clock)
    assert [o.verdict for o in outcomes] == ["accepted"]


def test_a_cloudevent_is_replayed_as_one(desk: Desk) -> None:
    event = {"specversion": "1.0", "id": "c", "source": "s", "type": "arrival", "data": {"flight_id": "f", "gate": "4"}}
    desk.post(json.dumps(event).encode(), None, "application/cloudevents+json")
    chosen = Selection(streams=frozenset({"arrival"}))
    outcomes = replay(desk.log, SCHEMAS, chosen, [parse_edit("set gate=4")], clock=desk.clock)
    assert [o.verdict for o in outcomes] == ["accepted"]
    assert [(r["id"], r["source"], r["gate"]) for r in desk.rows("arrival")] == [("c", "s", 4)]


def test_an_event_too_far_ahead_may_be_replayed_when_its_time_has_come(desk: Desk) -> None:
    desk.post(lines([departure("soon", time=NOW_MS + 90_000_000 + 3_600_000)]))
    chosen = Selection(codes=frozenset({"too_far_ahead"}))
    assert [o.code for o in replay(desk.log, SCHEMAS, chosen, clock=desk.clock)] == ["too_far_ahead"]
    desk.clock.advance(86_400)
    assert [o.verdict for o in replay(desk.log, SCHEMAS, chosen, clock=desk.clock)] == ["accepted"]


@pytest.mark.parametrize("text", ["", "set", "set x", "drop", "drop a=b", "rename a", "rename =b", "eval x=1"])
def test_what_is_not_a_repair_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a repair"):
        parse_edit(text)


@pytest.mark.parametrize("text", ["set a=null", 'set a="12"', "set a=x y=z", "drop a", "rename a=b"])
def test_repairs_read_as_they_are_written(text: str) -> None:
    edit = parse_edit(text)
    assert parse_edit(str(edit)) == edit
