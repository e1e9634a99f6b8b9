"""The streams as other tools read them: an event that the door stores fits the description, one that it refuses does not."""

from __future__ import annotations

import datetime as dt
import json
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.core.errors import Fatal
from headwater.core.event import Event, Field
from headwater.ingest.description import FORMATS, describe

from .conftest import NOW_MS, SCHEMAS, Desk, arrival, departure

GOOD = [
    ("departure", departure(1)),
    ("departure", departure(2, carrier=None)),
    ("departure", departure(3, seats=2, night=True)),
    ("departure", departure(4, distance=7)),
    ("departure", departure(5, distance=-1.5e300, seats=-(2**63))),
    ("departure", departure("text", source="tower")),
    ("departure", departure(6, time="2023-11-14T22:13:20Z")),
    ("departure", departure(7, time="2023-11-14T23:13:20.5+01:00")),
    ("departure", departure(8, time=None)),
    ("departure", departure(9, stream="departure")),
    ("departure", departure(10, unheard_of=[1, {"a": None}])),
    ("departure", {k: v for k, v in departure(12).items() if k not in {"carrier", "time"}}),
    ("arrival", arrival(1, gate=7)),
    ("arrival", {"id": "2", "flight_id": "f2"}),
]
BAD = [
    ("departure", departure(1, distance="7")),
    ("departure", departure(1, distance=None)),
    ("departure", departure(1, carrier=7)),
    ("departure", departure(1, night=1)),
    ("departure", departure(1, night=None)),
    ("departure", departure(1, seats=2.5)),
    ("departure", departure(1, seats=2**63)),
    ("departure", departure(1, flight_id=None)),
    ("departure", departure(1, flight_id="")),
    ("departure", departure("")),
    ("departure", departure(None)),
    ("departure", departure(True)),
    ("departure", departure(1, source=3)),
    ("departure", departure(1, source="")),
    ("departure", departure(1, time="yesterday")),
    ("departure", departure(1, time="2023-11-14T22:13:20")),
    ("departure", departure(1, time=True)),
    ("departure", departure(1, time=10**18)),
    ("departure", departure(1, stream="arrival")),
    ("departure", {k: v for k, v in departure(1).items() if k != "distance"}),
    ("departure", {k: v for k, v in departure(1).items() if k != "id"}),
    ("arrival", arrival(1, gate="B7")),
    ("departure", [departure(1)]),
    ("departure", "departure"),
]


def stored(desk, stream, event):
    """What the door says of an event: stored, or why not."""
    answer = desk.post(json.dumps(event).encode(), stream)
    return answer.status < 400 and answer.counts[0] == 1


def fits(schema, event):
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema to judge an event by its schema")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft7Validator)
    kind.check_schema(schema)
    return kind(schema).is_valid(event)


@pytest.mark.parametrize(("stream", "event"), GOOD, ids=lambda v: json.dumps(v)[:50])
def test_json_schema_and_door_agree_on_good_events(desk, stream, event):
    whole = describe("json-schema", "flights", SCHEMAS)
    assert stored(desk, stream, event)
    assert fits(whole["$defs"][stream], event)
    assert fits(whole, {**event, "stream": stream})
    assert fits(describe("asyncapi", "flights", SCHEMAS)["components"]["schemas"][stream], event)


@pytest.mark.parametrize(("stream", "event"), BAD, ids=lambda v: json.dumps(v)[:50])
def test_json_schema_and_door_agree_on_bad_events(desk, stream, event):
    whole = describe("json-schema", "flights", SCHEMAS)
    if not isinstance(event, list):  # to the door, a list is many events
        assert not stored(desk, stream, event)
    assert not fits(whole["$defs"][stream], event)
    assert not fits(whole, {**event, "stream": stream} if isinstance(event, dict) and "stream" not in event else [event])
    assert not fits(describe("asyncapi", "flights", SCHEMAS)["components"]["schemas"][stream], event)


VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=3), st.just([]), st.just({"a": 1}),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not x.is_integer()),
)  # fmt: skip
PAST = dt.datetime(2023, 1, 1)  # noqa: DTZ001 - hypothesis takes bounds without a zone
ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30))])
TIME = st.one_of(
    st.none(), st.booleans(), st.integers(NOW_MS - 10**12, NOW_MS), st.integers(2**48, 2**70), st.floats(0.1, 0.9),
    st.just("now"), st.datetimes(max_value=PAST, timezones=ZONES).map(str),
)  # fmt: skip
FIELDS = {
    "id": VALUE,
    "source": VALUE,
    "time": TIME,
    **dict.fromkeys(("flight_id", "carrier", "distance", "seats", "night"), VALUE),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_json_schema_and_door_agree_on_any_change(changed):
    event = departure(1, **changed)
    schema = describe("json-schema", "flights", SCHEMAS)["$defs"]["departure"]
    assert fits(schema, event) == stored(Desk(), "departure", event)


def test_an_event_that_names_no_stream_fits_only_the_streams_own_address(desk):
    whole = describe("json-schema", "flights", SCHEMAS)
    assert not fits(whole, departure(1))
    assert desk.post(json.dumps(departure(1)).encode(), None).codes == ["unknown_stream"]


def avro(stream):
    fastavro = pytest.importorskip("fastavro", reason="needs fastavro to judge a record by its schema")
    (mine,) = [record for record in describe("avro", "flights", SCHEMAS) if record["name"] == stream]
    return fastavro, fastavro.parse_schema(mine)


@pytest.mark.parametrize(("stream", "event"), GOOD, ids=lambda v: json.dumps(v)[:50])
def test_avro_carries_good_events_to_the_door(desk, stream, event):
    fastavro, schema = avro(stream)
    given = {**event, "id": str(event["id"])}
    if isinstance(given.get("time"), str):
        given["time"] = NOW_MS
    file = BytesIO()
    fastavro.schemaless_writer(file, schema, given)
    file.seek(0)
    carried = fastavro.schemaless_reader(file, schema)
    carried["time"] = carried["time"].isoformat() if carried["time"] else None
    assert stored(desk, stream, carried)
    (row,) = desk.rows(stream)
    assert {k: row[k] for k in event if k in row and k not in {"id", "time"}} == {
        k: v for k, v in event.items() if k in row and k not in {"id", "time"}
    }


@pytest.mark.parametrize(
    "changed", [{"distance": "7"}, {"distance": None}, {"carrier": 7}, {"seats": 2**63}, {"flight_id": None}]
)
def test_avro_and_door_refuse_the_same(desk, changed):
    fastavro, schema = avro("departure")
    event = departure("1", **changed)
    assert fastavro.validate(departure("1"), schema)
    assert not fastavro.validate(event, schema, raise_errors=False)
    assert not stored(desk, "departure", event)


class Reading(Event, key="sensor", lateness="90s", max_ahead="1h", major=3):
    """What a sensor said.

    Attributes:
        sensor: Its number,
            as painted on it.
        pressure (kPa): At the inlet.
    """

    sensor: Field[int]
    pressure: Field[float | None]
    flow_kg: Field[float] = 2
    note: Field[str | None] = "none"


def test_docs_units_key_and_lateness_are_told():
    told = describe("json-schema", "plant", {"reading": Reading.schema})["$defs"]["reading"]
    assert told["description"] == "What a sensor said."
    assert (told["x-key"], told["x-lateness-ms"], told["x-max-ahead-ms"], told["x-major"]) == ("sensor", 90_000, 3_600_000, 3)
    fields = told["properties"]
    assert fields["sensor"]["description"] == "Its number, as painted on it."
    assert (fields["pressure"]["description"], fields["pressure"]["x-unit"]) == ("At the inlet.", "kPa")
    assert (fields["flow_kg"]["x-unit"], fields["flow_kg"]["default"]) == ("kg", 2)
    assert told["required"] == ["id", "sensor"]
    (record,) = describe("avro", "plant", {"reading": Reading.schema})
    by_name = {field["name"]: field for field in record["fields"]}
    assert by_name["note"] == {"name": "note", "type": ["string", "null"], "default": "none"}
    assert by_name["pressure"]["x-unit"] == "kPa"
    assert by_name["flow_kg"]["default"] == 2.0


def test_docs_are_no_part_of_what_a_schema_is():
    bare = hw.Event.__class__("Reading", (Event,), {"__annotations__": Reading.__annotations__, "__module__": __name__,
                              "flow_kg": 2, "note": "none"}, key="sensor", lateness="90s", max_ahead="1h", major=3)  # fmt: skip
    assert bare.schema.doc == ""
    assert bare.schema == Reading.schema
    assert bare.schema.fingerprint() == Reading.schema.fingerprint()


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    whole = describe("asyncapi", "flights", SCHEMAS)
    assert whole["asyncapi"] == "3.0.0"
    assert {c["address"] for c in whole["channels"].values()} == {"/events", "/events/departure", "/events/arrival"}
    assert all(operation["action"] == "receive" for operation in whole["operations"].values())
    refs = list(references(whole))
    assert len(refs) > 10
    for ref in refs:
        at = whole
        for part in ref.removeprefix("#/").split("/"):
            at = at[part]


def references(tree):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if key == "$ref":
            yield value
        else:
            yield from references(value)


def test_a_stream_called_events_keeps_its_name():
    whole = describe("asyncapi", "a", {"events": SCHEMAS["departure"]})
    assert whole["channels"]["events"]["address"] == "/events/events"
    assert whole["channels"]["events_any"]["address"] == "/events"


def test_a_format_that_is_not_known_gets_the_nearest():
    with pytest.raises(
        Fatal, match=r"no such format; expected json-schema, avro, asyncapi; got jsonschema\. Did you mean json-schema"
    ):
        describe("jsonschema", "flights", SCHEMAS)
    assert FORMATS == ("json-schema", "avro", "asyncapi")
