"""A guarded model: what is scored, learnt, answered and said while a sensor fails, and after."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import headwater as hw
from headwater.core.errors import DeclarationError
from headwater.evaluation.prequential import SCORES
from headwater.testing import LocalRun
from headwater.testing.events import Seen, batch_of
from headwater.testing.in_blocks import InBlocks

START, MINUTE = 1_700_000_000_000, 60_000


class Reading(hw.Event, key="n"):
    n: hw.Field[int]
    x: hw.Field[float | None]
    z: hw.Field[float | None]
    w: hw.Field[float | None]
    where: hw.Field[str]


class Outcome(hw.Event, key="n"):
    n: hw.Field[int]
    y: hw.Field[float]


def app(guard: hw.Guard | None, learner: Any = None) -> hw.App:
    label = hw.label(Outcome.y, join=Outcome.n, on=Reading.n, within="1d")
    features = [Reading.x, Reading.z, Reading.w, hw.category(Reading.where)]
    return hw.App(
        "sensors",
        models=[
            hw.Model("m", on=Reading, features=features, label=label, guard=guard, learner=learner or hw.Linear(loss="squared"))
        ],
    )


class Sensors:
    """Values that wander by at most 1 from one question to the next; each is answered by a label."""

    def __init__(self, guard: hw.Guard | None, learner: Any = None) -> None:
        self.run, self.n = LocalRun(app(guard, learner)), 0
        self._rng, self.true = np.random.default_rng(3), np.array([10.0, 50.0, -5.0])

    def ask(self, n: int = 1, **wrong: Any) -> None:
        """Send that many at once; `wrong` replaces a field, or is a function of its true value."""
        rows, first = [], 2 * self.n
        for _ in range(n):
            self.true += self._rng.uniform(-1, 1, 3) - 0.02 * (self.true - [10.0, 50.0, -5.0])
            fields: dict[str, Any] = {**dict(zip("xzw", self.true.tolist(), strict=True)), "where": "ab"[self.n % 2]}
            fields |= {k: v(fields[k]) if callable(v) else v for k, v in wrong.items()}
            self.fields = {"n": self.n, **fields}
            time = START + self.n * MINUTE
            rows += [Seen(time, Reading(**self.fields)), Seen(time + 1000, Outcome(n=self.n, y=float(self.true.sum())))]
            self.n += 1
        self.run.log.append(batch_of(rows, first=first))
        self.run.catch_up()

    @property
    def row(self) -> Any:
        """The newest question as it waits."""
        pending = self.run.fold.models["m"].pending
        return pending.rows[pending.order()[-1]]

    @property
    def seen(self) -> list[float]:
        """The numbers that the model saw of it."""
        return self.row[SCORES + 2 : SCORES + 5].tolist()

    @property
    def found(self) -> dict[str, Any]:
        return self.run.metrics()["m"]["guard"]

    @property
    def learnt(self) -> int:
        return int(self.run.fold.models["m"].learner.counts[0])

    def said(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(event["data"]) for event in self.run.follow("_incidents")]


GUARD = hw.Guard(warm_up=100, quiet=5)


def test_what_is_usual_passes_untouched():
    guarded, bare = Sensors(GUARD), Sensors(None)
    for sensors in (guarded, bare):
        sensors.ask(400)
    assert guarded.found["not_accepted"] == {}
    assert guarded.said() == []
    assert guarded.run.fold.models["m"].learner.weights.tobytes() == bare.run.fold.models["m"].learner.weights.tobytes()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e308, 5e300, -4000.0, None])
def test_no_such_value_reaches_the_model(wrong):
    sensors = Sensors(GUARD)
    sensors.ask(200)
    before = sensors.seen[0]
    sensors.ask(3, x=wrong)
    assert abs(sensors.seen[0] - before) < 2.0
    assert np.isfinite(sensors.run.fold.models["m"].learner.weights).all()


def test_a_burst_is_said_twice_however_long_it_is():
    sensors = Sensors(GUARD)
    sensors.ask(200)
    first = 2 * sensors.n
    for wrong in (900.0, -900.0, 12345.0, None):
        sensors.ask(10, x=wrong)
    sensors.ask(20)
    began, ended = sensors.said()
    assert (began["phase"], began["feature"], began["first_seq"], began["values"]) == ("began", "reading.x", first, 1)
    assert (ended["phase"], ended["first_seq"], ended["latest_seq"], ended["values"]) == ("ended", first, first + 78, 40)
    assert (began["model"], began["what"], began["action"]) == ("m", "jump", "impute")


@pytest.mark.parametrize(
    ("wrong", "what", "unit"),
    [
        (lambda x: 1.8 * x + 32, "unit change", "F for C"),
        (lambda x: x + 273.15, "unit change", "K for C"),
        (lambda x: x - 70, "jump", ""),
    ],
)
def test_a_stand_in_moves_with_what_is_measured(wrong, what, unit):
    sensors = Sensors(GUARD)
    sensors.ask(300)
    for _ in range(60):
        sensors.ask(x=wrong)
        assert abs(sensors.seen[0] - sensors.true[0]) < 2.5
    sensors.ask(10)
    assert sensors.seen[0] == sensors.true[0]
    ended = sensors.said()[-1]
    assert (ended["what"], ended.get("unit", ""), ended["values"]) == (what, unit, 60)


def test_a_level_that_lasts_is_accepted_after_the_stated_number_of_values():
    sensors = Sensors(hw.Guard(otherwise=hw.Limits(settle=50), warm_up=100, quiet=5))
    sensors.ask(200)
    for i in range(60):
        sensors.ask(x=lambda x: x + 500)
        assert (sensors.seen[0] == sensors.fields["x"]) is (i >= 50)
    assert [said["phase"] for said in sensors.said()] == ["began", "settled"]


def test_a_sensor_that_stays_silent_is_accepted_too():
    sensors = Sensors(hw.Guard(otherwise=hw.Limits(settle=50), warm_up=100, quiet=5))
    sensors.ask(200)
    sensors.ask(50, z=None)
    assert not np.isnan(sensors.seen[1])
    sensors.ask(100, z=None)
    assert np.isnan(sensors.seen[1])
    assert [said["phase"] for said in sensors.said()] == ["began", "settled"]


def test_declared_bounds_never_settle():
    sensors = Sensors(hw.Guard({"x": hw.Limits(low=0, high=30, settle=5, action="clip")}))
    sensors.ask(20)
    sensors.ask(300, x=31.5)
    assert sensors.seen[0] == 30.0
    assert sensors.found["open"] == {"reading.x": "out of range"}


def test_a_stuck_sensor_is_known_by_how_seldom_values_repeat():
    sensors = Sensors(GUARD)
    sensors.ask(300)
    sensors.ask(30, z=float(sensors.true[1]))
    assert sensors.found["open"] == {"reading.z": "stuck"}
    sensors.ask(10)
    assert sensors.found["n_open"] == 0


def test_a_value_that_often_rests_is_not_stuck():
    sensors = Sensors(GUARD)
    for i in range(40):
        sensors.ask(10, w=0.0)
        sensors.ask(2, w=float(i % 3))
    sensors.ask(500, w=0.0)
    assert sensors.found["not_accepted"] == {}


@pytest.mark.parametrize("learner", [None, InBlocks(block=7, bits=4, loss="squared")])
def test_a_question_that_abstains_is_answered_by_no_change_and_not_learnt(learner):
    sensors = Sensors(hw.Guard(otherwise=hw.Limits(action="abstain"), warm_up=100), learner)
    sensors.ask(210)
    before = sensors.run.state_hash(), sensors.learnt
    sensors.ask(x=1e6)
    live, no_change = sensors.row[SCORES : SCORES + 2]
    assert live == no_change
    assert sensors.learnt == before[1]
    assert sensors.found["abstained"] == 1
    told = sensors.run.predict("m", n=sensors.n - 1)["predictions"][0]
    assert (told["score"], told["guarded"]) == (no_change, {"*": "abstained when it was asked"})


def test_a_quarantined_question_is_not_asked_at_all():
    sensors = Sensors(hw.Guard({"z": hw.Limits(action="quarantine")}, warm_up=100))
    sensors.ask(200)
    before = sensors.run.metrics()["m"]["questions"]
    sensors.ask(z=1e6)
    after = sensors.run.metrics()["m"]["questions"]
    assert (after["scored"], after["labelled"]) == (before["scored"], before["labelled"])
    assert after["unmatched_labels"] == before["unmatched_labels"] + 1
    assert sensors.found["quarantined"] == 1


def test_what_is_missing_together_is_one_incident_and_abstains():
    sensors = Sensors(GUARD)
    sensors.ask(200)
    sensors.ask(30, x=None, z=None, w=None)
    sensors.ask(10)
    assert [(said["feature"], said["phase"], said["what"]) for said in sensors.said()] == [
        ("*", "began", "missing together"),
        ("*", "ended", "missing together"),
    ]
    assert sensors.found["abstained"] == 30


def test_a_category_that_was_never_seen_weighs_nothing_until_it_has_come_often():
    sensors = Sensors(GUARD)
    sensors.ask(200)
    sensors.ask(where="typo")
    assert sensors.row[SCORES + 5] == -1
    sensors.ask(19, where="typo")
    assert sensors.row[SCORES + 5] == -1
    sensors.ask(where="typo")
    assert sensors.row[SCORES + 5] > 0


@pytest.mark.parametrize("action", ["impute", "clip", "drop", "abstain", "quarantine"])
@pytest.mark.parametrize("learner", [None, InBlocks(block=7, bits=4, loss="squared")])
def test_an_answer_is_what_the_fold_then_says(action, learner):
    """The published guard gives a row that is not in the log the very vector, score and reasons of the fold."""
    sensors = Sensors(hw.Guard(otherwise=hw.Limits(action=action), warm_up=50, quiet=3), learner)
    sensors.ask(150)
    odd = [{}, {"x": 1e6}, {"x": float("nan")}, {"z": 122.0, "where": "new"}, {"x": None, "z": None, "w": None}, {"w": -90.0}]
    for wrong in odd * 3:
        fields = {"n": sensors.n, **dict(zip("xzw", sensors.true.tolist(), strict=True)), "where": "a", **wrong}
        said = sensors.run.predict("m", time=START + sensors.n * MINUTE, **fields)["predictions"][0]
        scored = sensors.run.metrics()["m"]["questions"]["scored"]
        no_change = sensors.row[SCORES + 1]
        sensors.ask(**{k: v for k, v in fields.items() if k != "n"})
        if sensors.run.metrics()["m"]["questions"]["scored"] > scored:
            assert said["score"] == sensors.row[SCORES]
        else:
            assert action == "quarantine"
            assert np.isfinite(said["score"])
            assert said["score"] != no_change  # the last outcome has been known since
        assert bool(wrong) is ("guarded" in said)


def test_without_a_guard_a_declaration_is_what_it_was():
    assert "guard" not in app(None).models["m"].describe()
    assert app(GUARD).fingerprint() != app(None).fingerprint()
    assert app(GUARD).fingerprint() == app(hw.Guard(warm_up=100, quiet=5)).fingerprint()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: hw.Limits(low=3, high=2),
        lambda: hw.Limits(low=float("nan")),
        lambda: hw.Limits(step=0),
        lambda: hw.Limits(stuck=1),
        lambda: hw.Limits(settle=0),
        lambda: hw.Limits(action="ignore"),  # type: ignore[arg-type]
        lambda: hw.Guard(warm_up=0),
        lambda: hw.Guard(together="clip"),  # type: ignore[arg-type]
        lambda: hw.Guard({"x": None}),  # type: ignore[dict-item]
        lambda: app(hw.Guard({"xx": hw.Limits()})),
        lambda: app(hw.Guard({"x": hw.Limits(), "reading.x": hw.Limits()})),
        lambda: app("guard"),  # type: ignore[arg-type]
    ],
)
def test_limits_that_cannot_work_are_refused(wrong):
    with pytest.raises(DeclarationError):
        wrong()
