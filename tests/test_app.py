"""What is wrong with an app is refused when it is declared, with what, where, expected and next step."""

from __future__ import annotations

import pytest

import headwater as hw
from headwater.app import every, once
from headwater.core.errors import DeclarationError
from headwater.evaluation.labels import label as make_label


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    place: hw.Field[str]
    n: hw.Field[int]
    x: hw.Field[float]
    ref: hw.Field[str | None]


class Told(hw.Event, key="id_"):
    id_: hw.Field[str]
    place: hw.Field[str]
    n: hw.Field[int]
    y: hw.Field[float | None]
    word: hw.Field[str]


class Other(hw.Event, key="id_"):
    id_: hw.Field[str]
    z: hw.Field[float]


def label(value=None, **options):
    return make_label(Told.y > 0 if value is None else value, **{"join": Told.id_, "on": Ask.id_, "within": "1h", **options})


def model(name="m", **options):
    return hw.Model(name, **{"on": Ask, "features": [Ask.x], "label": label(), **options})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: model(label=label(Told.word)), r"told\.word: a text is given as a label\. Compare it"),
        (lambda: label(Told.word + 1), "a text takes part"),
        (lambda: label(1), "a label is no expression.*got 1"),
        (lambda: label(join="id_"), r"hw\.label\.join: a label is joined by fields; expected Stream\.field; got 'id_'"),
        (lambda: label(on=Ask), r"hw\.label\.on: a label is joined by fields"),
        (lambda: label(join=Other.id_), r"other\.id_: the label is joined by another stream's field; expected a field of told"),
        (
            lambda: label(join=Told.y),
            r"told\.y: this field cannot join.*expected Field\[str\] or Field\[int\], never None; got float \| None",
        ),
        (lambda: label(on=Ask.ref), r"ask\.ref: this field cannot join.*got str \| None"),
        (lambda: label(on=Ask.n), r"told\.id_ = ask\.n: the two sides.*different types; expected str; got int"),
        (lambda: label(within="0s"), r"hw\.label\.within: a label needs time to come; expected a positive duration; got 0s"),
        (lambda: label(within="soon"), r"hw\.label\.within: this is not a duration"),
        (lambda: label(missing="negative"), r"hw\.label\.missing: .*expected hw\.UNKNOWN or hw\.NEGATIVE; got 'negative'"),
        (lambda: every("0h"), r"hw\.every: an interval must be positive"),
        (lambda: every("daily"), r"hw\.every: this is not a duration"),
        (lambda: every("1d", utc_offset="EST"), r"hw\.every: this is not a duration"),
        (lambda: hw.every_labels(0), r"hw\.every_labels: a number of labels must be positive; got 0"),
        (lambda: once(after=-1), r"hw\.once: a number of questions cannot be negative; got -1"),
        (lambda: model("Late!"), r"Late!: a model's name is not usable in files and URLs; expected .*; got 'Late!'"),
        (lambda: model(3), "a model's name is not usable"),
        (lambda: model(on=Ask.x), r"m: a model is asked on a stream; expected an hw\.Event class; got ask\.x"),
        (lambda: model(on=hw.Event), "a model is asked on a stream"),
        (
            lambda: model(on=Other, features=[Other.z]),
            r"the label is joined to another stream than the model's; expected label\(on=<field of other>\); got ask",
        ),
        (lambda: model(features=[]), r"m: a model without features cannot learn\. Add a field"),
        (lambda: model(features=Ask.x), r"m: features are no list; expected features=\[\.\.\.\]; got ask\.x"),
        (lambda: model(features=[Ask.place]), r"m: ask\.place: a text is given as a number\. Write hw\.category\(ask\.place\)"),
        (lambda: model(features=[Ask]), "a stream is given as a feature"),
        (lambda: model(features=["x"]), r"this is no feature; expected a field, hw\.category, .*got 'x'"),
        (
            lambda: model(features=[Told.y]),
            r"m: told\.y: a feature uses a field that is not known when.*Aggregate the other stream",
        ),
        (lambda: model(features=[hw.category(Ask.place, Told.place)]), "a feature uses a field that is not known"),
        (lambda: model(features=[Ask.x, Ask.x]), r"m: a feature is given twice; got ask\.x"),
        (lambda: model(features=[(Ask.x > 1) & Ask.n]), "a number takes part"),
        (lambda: model(label=Told.y > 0), r"m: label is something else; expected hw\.label\(\.\.\.\)"),
        (lambda: model(learner="linear"), r"m: learner is something else; expected hw\.Linear\(\.\.\.\).*; got 'linear'"),
        (lambda: model(versions="1d"), r"m: versions is something else; expected hw\.every\(\.\.\.\), hw\.every_labels"),
        (lambda: model(twins={"nightly": "1d"}), r"m: twins\['nightly'\] is something else"),
        (lambda: model(twins={"Night ly": every("1d")}), "a twin's name of model m is not usable"),
        (lambda: model(twins={"live": every("1d")}), "m: a twin has a name that is taken; got live"),
        (lambda: model(baseline_by=Ask.place), "`by` names a field of another stream; expected fields of told; got ask.place"),
        (lambda: hw.App("a", models=[]), "a: an app needs a model"),
        (lambda: hw.App("A b", models=[model()]), "an app's name is not usable"),
        (lambda: hw.App("a", models=model()), r"a: an app takes a list of models; expected models=\[hw\.Model\(\.\.\.\)\]"),
        (lambda: hw.App("a", models=[Ask]), "an app takes a list of models"),
        (lambda: hw.App("a", models=[model(), model()]), "a: two models have the same name; got m, m"),
        (
            lambda: hw.App("a", models=[model(features=[hw.mean(Other.z, by=Other.id_, at=Told.id_)])]),
            "`at` names another stream than the model's",
        ),
        (lambda: hw.App("a", models=[model()]).model("n"), r"a: no such model; got n\. Known: m|Did you mean m"),
    ],
)
def test_a_mistake_is_refused(make, says):
    with pytest.raises(DeclarationError, match=says):
        make()


def test_two_classes_of_one_stream_are_refused():
    class Told2(hw.Event, key="id_", stream="told"):
        id_: hw.Field[str]

    with pytest.raises(DeclarationError, match="m: two classes declare one stream; got told"):
        hw.App("a", models=[model()], streams=[Told2])


def test_features_that_differ_only_in_filter_prior_or_reader_live_together():
    of = {"by": Told.place}
    made = model(
        features=[
            hw.count(Told, where=Told.y > 0, **of),
            hw.count(Told, where=Told.y < 0, **of),
            hw.count(Told, at=Ask.id_, **of),
            hw.mean(Told.y, **of),
            hw.mean(Told.y, prior=1.0, prior_weight=2.0, **of),
            hw.ewma(Told.y, beta=0.5, **of),
            hw.ewma(Told.y, beta=0.9, **of),
        ]
    )
    app = hw.App("a", models=[made])
    assert len(set(app.columns["m"].numbers)) == 7


def test_outcomes_come_before_questions_then_as_declared():
    assert list(hw.App("a", models=[model()], streams=[Ask, Other]).streams) == ["other", "told", "ask"]


CHANGES = [
    {"features": [Ask.x, Ask.n]},
    {"features": [hw.mean(Told.y, by=Told.place)]},
    {"features": [hw.mean(Told.y, by=Told.place, at=Ask.id_)]},
    {"features": [hw.mean(Told.y, by=Told.place, prior=1.0, prior_weight=1.0)]},
    {"features": [hw.category(Ask.place)]},
    {"label": label(within="2h")},
    {"label": label(missing=hw.NEGATIVE)},
    {"label": label(Told.y > 1)},
    {"learner": hw.Linear(eta0=0.1)},
    {"versions": every("2d")},
    {"versions": every("1d", utc_offset="1h")},
    {"twins": {"t": once(after=1)}},
    {"twins": {"u": once(after=1)}},
    {"baseline_by": Told.place},
    {"baseline_by": Told.place, "baseline_at": Ask.id_},
]


def test_every_change_of_a_declaration_changes_its_fingerprint():
    prints = [hw.App("a", models=[model(**change)]).fingerprint() for change in ({}, *CHANGES)]
    assert len(set(prints)) == len(prints)
    assert hw.App("a", models=[model()]).fingerprint() == prints[0] != hw.App("b", models=[model()]).fingerprint()


def test_calendars_start_at_midnight_of_their_zone():
    assert (every("1d").offset_ms, every("1d", utc_offset="-5h").offset_ms) == (0, 5 * 3_600_000)
    assert every("1d", utc_offset="+8h") == every("1d", utc_offset="8h")
    assert every("1d", utc_offset="8h").offset_ms == 16 * 3_600_000
