"""Fields about persons: declared, and hidden where they are listed or printed."""

from __future__ import annotations

import json

import pytest

import headwater as hw
from headwater.core.personal import Mask, has_personal, pseudonym


class Patient(hw.Event, key="patient_id"):
    patient_id: hw.Field[str] = hw.Field(personal=True)
    ward: hw.Field[str]
    note: hw.Field[str | None] = hw.Field(personal=True)
    beds: hw.Field[int] = hw.Field(default=2)


class Bed(hw.Event, key="bed"):
    bed: hw.Field[str]


def test_what_is_declared_is_in_the_schema_and_no_part_of_what_the_schema_is() -> None:
    personal = {f.name for f in Patient.schema.fields if f.personal}
    assert personal == {"patient_id", "note"}
    assert [(f.required, f.default) for f in Patient.schema.fields] == [(True, None), (True, None), (False, None), (False, 2)]

    class Plain(hw.Event, key="patient_id", stream="patient"):
        patient_id: hw.Field[str]
        ward: hw.Field[str]
        note: hw.Field[str | None]
        beds: hw.Field[int] = 2

    assert Plain.schema.fingerprint() == Patient.schema.fingerprint()
    assert Plain.schema == Patient.schema
    assert (Plain.schema.is_personal, Patient.schema.is_personal) == (False, True)
    assert has_personal({"b": Bed.schema, "p": Patient.schema})
    assert not has_personal({"b": Bed.schema})


def test_a_default_of_another_type_is_refused() -> None:
    with pytest.raises(hw.DeclarationError, match="the default has another type"):

        class Wrong(hw.Event, key="k"):
            k: hw.Field[str]
            n: hw.Field[int] = hw.Field(default="x")


def test_an_event_that_is_printed_hides_them() -> None:
    event = Patient(patient_id="canary-1", ward="b", note="canary-2")
    assert repr(event) == "Patient(patient_id=***, ward='b', note=***, beds=2)"
    assert (event.patient_id, event.note) == ("canary-1", "canary-2")
    assert str(Patient.patient_id == "x").count("***") == 0  # an expression is no value


def test_a_pseudonym_is_the_same_for_the_same_value_and_is_not_the_value() -> None:
    assert pseudonym("ann") == pseudonym("ann") != pseudonym("bob")
    assert "ann" not in pseudonym("ann")
    assert pseudonym("\ud800")  # half of a pair is a name, too


def test_a_mask_shows_what_is_declared_not_personal_and_of_its_kind() -> None:
    mask = Mask.of({"patient": Patient.schema, "bed": Bed.schema})
    event = {
        "id": "1",
        "time": "2025-01-06T08:00:00Z",
        "patient_id": "canary",
        "ward": "b",
        "beds": "canary",
        "n_ote": "canary",
    }
    hidden = {**event, "patient_id": "***", "beds": "***", "n_ote": "***"}
    assert json.loads(mask.text(json.dumps(event), "patient")) == hidden
    assert json.loads(mask.text(json.dumps(event), "nobody knows")) == hidden
    cloud = {
        "specversion": "1.0",
        "type": "patient.v1",
        "time": "canary",
        "data": {"patient_id": "canary", "ward": "b", "beds": 3},
    }
    shown = {**cloud, "time": "***", "data": {"patient_id": "***", "ward": "b", "beds": 3}}
    assert json.loads(mask.text(json.dumps(cloud), "patient.v1")) == shown
    assert json.loads(mask.text('{"bed": "7", "ward": "b"}', "bed")) == {"bed": "7", "ward": "***"}
    for text in ('{"ward": "canary', '"canary"', "[" * 100_000, '[{"ward": "b"}]'):
        assert mask.text(text, "patient").startswith(f"*** ({len(text)} bytes")


def test_a_mask_that_is_not_needed_changes_nothing_and_one_that_knows_nothing_hides_all() -> None:
    assert Mask.of({"bed": Bed.schema}).text('{"bed": ', "bed") == '{"bed": '
    assert Mask(None).text("canary", "bed") == "*** (6 bytes that may be personal)"
