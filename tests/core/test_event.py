from __future__ import annotations

import pytest

import headwater as hw
from headwater.core.errors import DeclarationError
from headwater.core.schema import Kind


class Departure(hw.Event, key="flight_id", lateness="1h"):
    flight_id: hw.Field[str]
    carrier: hw.Field[str]
    origin: hw.Field[str]
    dest: hw.Field[str]
    distance: hw.Field[float]
    seats: hw.Field[int | None]
    cargo: hw.Field[bool] = False


class TaxiOut(hw.Event, key="flight_id", stream="taxi", max_ahead="2h", major=3):
    flight_id: hw.Field[int]
    minutes: hw.Field[float | None]


def declare(body, bases=(hw.Event,), **options):
    """Run a class statement with these annotations and assignments."""
    space = {"__module__": __name__, "__annotations__": {k: v for k, v in body.items() if isinstance(v, str)}}
    space |= {k: v[1] for k, v in body.items() if isinstance(v, tuple)}
    space["__annotations__"] |= {k: v[0] for k, v in body.items() if isinstance(v, tuple)}
    return type(hw.Event)("Made", bases, space, **options)


def test_a_class_becomes_a_schema():
    schema = Departure.schema
    assert (schema.stream, schema.key, schema.lateness_ms, schema.max_ahead_ms) == (
        "departure",
        "flight_id",
        3_600_000,
        86_400_000,
    )
    assert [f.kind for f in schema.fields] == [Kind.STR] * 4 + [Kind.FLOAT, Kind.INT, Kind.BOOL]
    assert [f.name for f in schema.fields if not f.required] == ["seats", "cargo"]
    assert (TaxiOut.schema.stream, TaxiOut.schema.major, TaxiOut.schema.max_ahead_ms) == ("taxi", 3, 7_200_000)


def test_a_name_in_camel_case_becomes_a_stream_in_snake_case():
    assert declare({"k": "hw.Field[str]"}, key="k").schema.stream == "made"
    assert (
        type(hw.Event)(
            "TwoWords", (hw.Event,), {"__module__": __name__, "__annotations__": {"k": "hw.Field[str]"}}, key="k"
        ).schema.stream
        == "two_words"
    )


def test_equal_declarations_have_equal_fingerprints_and_others_have_not():
    one, same = (declare({"k": "hw.Field[str]", "x": "hw.Field[float]"}, key="k") for _ in range(2))
    other = declare({"k": "hw.Field[str]", "x": "hw.Field[float | None]"}, key="k")
    assert one.schema.fingerprint() == same.schema.fingerprint() != other.schema.fingerprint()


def test_on_the_class_a_field_is_an_expression_and_on_an_instance_a_value():
    event = Departure(flight_id="1", carrier="AA", origin="JFK", dest="LAX", distance=1.5, seats=None)
    assert (event.distance, event.cargo, event.seats) == (1.5, False, None)
    assert Departure.distance.text() == "departure.distance"
    assert event.replace(distance=2.0).distance == 2.0
    assert event == event.replace(distance=1.5) != event.replace(distance=2.0)


@pytest.mark.parametrize(
    ("body", "options", "says"),
    [
        (
            {"k": "str"},
            {"key": "k"},
            r"Made\.k: a field has the wrong annotation; expected hw\.Field\[\.\.\.\]; got .*str.*\. Write k: hw",
        ),
        (
            {"k": "hw.Field[bytes]"},
            {"key": "k"},
            r"Made\.k: .*no column can hold; expected float, int, bool or str.*got .*bytes",
        ),
        ({"k": "hw.Field[int | str]"}, {"key": "k"}, r"Made\.k: .*no column can hold; .*got int \| str"),
        ({"k": "hw.Field[int | str | None]"}, {"key": "k"}, "no column can hold"),
        ({"k": "hw.Field[None]"}, {"key": "k"}, "no column can hold"),
        ({"k": "hw.Field"}, {"key": "k"}, r"Made\.k: a field has the wrong annotation"),
        ({"k": "hw.Field[strr]"}, {"key": "k"}, r"Made: an annotation cannot be read: .*strr.* Import"),
        ({"k": "hw.Feild[str]"}, {"key": "k"}, "Made: an annotation cannot be read: .*Feild"),
        ({"k": "hw.Field[str, int]"}, {"key": "k"}, "Made: an annotation cannot be read"),
        ({"k": "hw.Field["}, {"key": "k"}, "Made: an annotation cannot be read"),
        (
            {"k": "hw.Field[str]", "time": "hw.Field[int]"},
            {"key": "k"},
            r"Made: the field name time belongs to the envelope.*made_time",
        ),
        ({"k": "hw.Field[str]", "id": "hw.Field[int]"}, {"key": "k"}, "field name id belongs to the envelope"),
        ({"k": "hw.Field[str]", "source": "hw.Field[int]"}, {"key": "k"}, "field name source belongs to the envelope"),
        ({"k": "hw.Field[str]", "stream": "hw.Field[int]"}, {"key": "k"}, "field name stream belongs to the envelope"),
        ({"k": "hw.Field[str]", "schema": "hw.Field[int]"}, {"key": "k"}, "Made: a field cannot be called schema.*made_schema"),
        ({"k": "hw.Field[str]", "replace": "hw.Field[int]"}, {"key": "k"}, "Made: a field cannot be called replace"),
        ({"k": "hw.Field[str]", "_x": "hw.Field[int]"}, {"key": "k"}, "Made: a field cannot be called _x.*made_x"),
        ({"k": "hw.Field[str]"}, {}, r'Made: an event needs a key; expected class \.\.\.\(hw\.Event, key="field"\)\. Known: k'),
        (
            {"fligth": "hw.Field[str]"},
            {"key": "flight"},
            r"the key is not a field; expected a field; got flight\. Did you mean fligth\?",
        ),
        (
            {"k": "hw.Field[float]"},
            {"key": "k"},
            r"Made\.k: this field cannot be a key; expected Field\[str\] or Field\[int\]; got float",
        ),
        ({"k": "hw.Field[bool]"}, {"key": "k"}, "cannot be a key.*got bool"),
        ({"k": "hw.Field[str | None]"}, {"key": "k"}, r"cannot be a key.*got str \| None"),
        ({"k": "hw.Field[str]"}, {"key": "k", "stream": "No Name"}, "name is not usable.*got No Name"),
        ({"k": "hw.Field[str]"}, {"key": "k", "stream": "_control"}, "name is not usable"),
        ({"k": "hw.Field[str]"}, {"key": "k", "lateness": "1 hour"}, r"Made\.lateness: this is not a duration.*Write it like"),
        ({"k": "hw.Field[str]"}, {"key": "k", "max_ahead": 5}, r"Made\.max_ahead: this is not a duration"),
        (
            {"k": "hw.Field[str]"},
            {"key": "k", "latenes": "1h"},
            r"Made: a stream has no option latenes\. Did you mean lateness\?",
        ),
        (
            {"k": "hw.Field[str]", "x": ("hw.Field[float]", "1")},
            {"key": "k"},
            r"Made\.x: the default has another type.*got '1'",
        ),
        ({"k": "hw.Field[str]", "x": ("hw.Field[int]", 1.5)}, {"key": "k"}, r"Made\.x: the default has another type"),
        ({"k": "hw.Field[str]", "x": ("hw.Field[int]", True)}, {"key": "k"}, r"Made\.x: the default has another type"),
        ({"k": "hw.Field[str]", "x": ("hw.Field[float]", None)}, {"key": "k"}, r"Made\.x: the default has another type"),
    ],
)
def test_a_mistake_is_refused_where_it_is_declared(body, options, says):
    with pytest.raises(DeclarationError, match=says):
        declare(body, **options)


def test_a_stream_is_not_made_from_another_stream():
    with pytest.raises(DeclarationError, match=r"Made: a stream cannot be made from another stream.*Write its fields out"):
        declare({"k": "hw.Field[str]"}, (Departure,), key="k")


def test_defaults_of_the_right_type_are_taken():
    made = declare({"k": "hw.Field[str]", "x": ("hw.Field[float]", 1), "y": ("hw.Field[int | None]", None)}, key="k")
    assert [f.default for f in made.schema.fields] == [None, 1, None]


def test_an_unknown_field_lists_the_nearest_and_hasattr_still_works():
    with pytest.raises(DeclarationError, match=r"Departure: no field carier\. Did you mean carrier\?"):
        Departure.carier  # noqa: B018
    assert not hasattr(Departure, "carier")
    assert getattr(Departure, "carier", "none") == "none"


def test_an_instance_refuses_unknown_and_missing_fields():
    with pytest.raises(TypeError, match=r"Departure has no field distnce\. Did you mean distance\?"):
        Departure(flight_id="1", distnce=1.0)
    with pytest.raises(TypeError, match="Departure needs the field carrier"):
        Departure(flight_id="1")
