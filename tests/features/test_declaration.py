"""What is wrong with a feature is said where it is declared."""

from __future__ import annotations

import pytest

import headwater as hw
from headwater.core.errors import DeclarationError
from headwater.features.memories import Memory

from .conftest import plan_of


class Trip(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    place: hw.Field[str]
    zone: hw.Field[int]
    x: hw.Field[float | None]
    good: hw.Field[bool]


class End(hw.Event, key="id_"):
    id_: hw.Field[str]
    place: hw.Field[str]
    zone: hw.Field[str]
    x: hw.Field[float]
    city: hw.Field[str]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hw.mean(Trip.x, window="1h", half_life="1h"), "both window and half_life are given"),
        (lambda: hw.variance(Trip.x, window="1h", half_life="1h"), "both window and half_life are given"),
        (lambda: hw.mean(Trip.x, half_life="0s"), r"mean\(trip\.x~0s\): a span of time must be positive; .*got '0s'"),
        (lambda: hw.mean(Trip.x, half_life=""), "this is not a duration"),
        (lambda: hw.count(Trip, window="0h"), "a span of time must be positive"),
        (lambda: hw.count(Trip, window=""), "this is not a duration"),
        (lambda: hw.count(Trip, window="1h", slide="0s"), "a span of time must be positive"),
        (lambda: hw.count(Trip, slide="5m"), "a slide without a window; expected window='1h', slide='5m'; got slide='5m'"),
        (
            lambda: hw.count(Trip, window="1h", slide="7m"),
            "a window must be a positive whole number of slides.*3600000 ms by 420000 ms",
        ),
        (lambda: hw.count(Trip, window="5m", slide="1h"), "whole number of slides"),
        (lambda: hw.min(Trip.x, window=None), "needs a window"),
        (lambda: hw.max(Trip.x, window=None), "needs a window"),
        (lambda: hw.mean(Trip.place), r"mean\(trip\.place\): a text cannot be aggregated\. Use hw\.category"),
        (lambda: hw.mean(Trip.x, by=Trip.x), r"trip\.x: a float cannot name an entity"),
        (lambda: hw.mean(Trip.x, by="place"), "by takes fields; expected Stream.field or a tuple of them; got 'place'"),
        (lambda: hw.mean(Trip.x, by=[Trip.place]), "by takes fields"),
        (
            lambda: hw.mean(Trip.x, by=End.place),
            r"`by` names a field of another stream; expected fields of trip; got end\.place",
        ),
        (lambda: hw.mean(Trip.x, where=End.x > 1), "a filter or value belongs to another stream; expected trip; got end"),
        (lambda: hw.count(Trip, where=Trip.x), r"a filter is no condition; .*got trip\.x"),
        (lambda: hw.count(Trip, where=True), "a filter is no expression.*got True"),
        (lambda: hw.count(Trip.x), r"hw\.count takes a stream; expected an hw\.Event class"),
        (lambda: hw.since(hw.Event), "hw.since takes a stream"),
        (lambda: hw.mean(Trip), "an aggregate's value is no expression"),
        (lambda: hw.sum(1.0), "an aggregate's value is no expression"),
        (lambda: hw.mean(Trip.x, prior=3.0), "a prior needs a weight.*prior=3.0, prior_weight=0.0"),
        (lambda: hw.mean(Trip.x, prior_weight=-1.0), "a prior needs a weight"),
        (lambda: hw.mean(Trip.x, prior=float("nan"), prior_weight=1), "a prior needs a weight"),
        (lambda: hw.last(Trip.x, n=0), r"hw\.last: n is out of range; expected 1 \.\. 64; got 0"),
        (lambda: hw.last(Trip.x, n=65), "n is out of range"),
        (lambda: hw.ewma(Trip.x, beta=1.0), "beta is out of range; expected 0 < beta < 1; got 1.0"),
        (hw.category, "hw.category needs a field"),
        (lambda: hw.category("place"), "a category is no expression.*got 'place'"),
        (lambda: hw.category(Trip.place + 1), "a text takes part"),
    ],
)
def test_a_mistake_in_a_feature_is_refused(make, says):
    with pytest.raises(DeclarationError, match=says):
        make()


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        (
            hw.mean(End.x, by=End.city),
            r"mean\(end\.x by city\): trip has no field city of type str; expected at=.*Known: good, id_",
        ),
        (hw.mean(End.x, by=End.zone), "trip has no field zone of type str"),
        (
            hw.mean(End.x, by=End.zone, at=Trip.zone),
            "`at` and `by` have different types; expected end.zone: str; got trip.zone: int",
        ),
        (hw.mean(End.x, by=(End.place, End.city), at=Trip.place), "`at` and `by` differ in length; expected 2; got 1"),
        (
            hw.mean(End.x, by=End.place, at=End.place),
            "`at` names another stream than the model's; expected trip; got end.place",
        ),
        (
            hw.zscore(End.x, half_life="1h", by=End.place),
            "a z-score needs the scored event's own value; expected a value of trip; got end",
        ),
        (
            hw.count(Trip, window="1h", slide="1s"),
            r"too many panes for each entity; expected \(window \+ lateness\) / slide < 1024; got 7201",
        ),
    ],
)
def test_a_mistake_that_only_the_whole_shows_is_refused_with_the_app(feature, says):
    with pytest.raises(DeclarationError, match=says):
        plan_of([feature], Trip, [End, Trip])


def test_a_feature_of_an_unknown_stream_is_refused():
    with pytest.raises(DeclarationError, match="the app does not have this stream; got end"):
        plan_of([hw.mean(End.x, by=End.place)], Trip, [Trip])


def test_names_tell_features_apart():
    of = {"by": Trip.place}
    made = [
        hw.mean(Trip.x, **of),
        hw.mean(Trip.x),
        hw.mean(Trip.x, half_life="1h", **of),
        hw.mean(Trip.x, window="1h", **of),
        hw.mean(Trip.x, window="1h", slide="5m", **of),
        hw.mean(Trip.x, where=Trip.good, **of),
        hw.mean(Trip.x, where=~Trip.good, **of),
        hw.mean(Trip.x, by=Trip.place, at=Trip.id_),
        hw.mean(Trip.x, prior=1.0, prior_weight=2.0, **of),
        hw.ewma(Trip.x, beta=0.5, **of),
        hw.ewma(Trip.x, beta=0.9, **of),
        hw.variance(Trip.x, **of),
        hw.ewma_variance(Trip.x, beta=0.5, **of),
        hw.count(Trip, **of),
        hw.since(Trip, **of),
        *hw.last(Trip.x, n=3, **of),
    ]
    assert len({f.name for f in made}) == len(made)


def test_equal_memories_are_kept_once():
    of = {"by": Trip.place, "half_life": "1h"}
    plan = plan_of(
        [hw.mean(Trip.x, **of), hw.sum(Trip.x, **of), hw.mean(Trip.x, prior=1.0, prior_weight=1.0, **of)], Trip, [Trip]
    )
    assert [keeper.memory for keeper, _, _ in plan.tables[0].keepers] == [Memory.DECAY]
    assert len(plan.outputs) == 3
