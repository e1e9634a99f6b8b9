"""One process, virtual time: the same answers as the fold, and marks for what falls silent."""

from __future__ import annotations

import numpy as np
import pytest

import headwater as hw
from headwater.core.clock import VirtualClock
from headwater.core.errors import Fatal
from headwater.evaluation.prequential import SCORES
from headwater.log.control import control_events
from headwater.runtime.fold import Fold
from headwater.runtime.idleness import Idleness
from headwater.testing import LocalRun

HOUR = 3_600_000
START = 1_700_000_000_000


class Order(hw.Event, key="order", lateness="1h"):
    order: hw.Field[str]
    shop: hw.Field[str]
    amount: hw.Field[float]


class Delivery(hw.Event, key="order", lateness="1h"):
    order: hw.Field[str]
    shop: hw.Field[str]
    hours: hw.Field[float]


def _app() -> hw.App:
    late = hw.Model(
        "late",
        on=Order,
        features=[
            Order.amount,
            hw.category(Order.shop),
            hw.mean(Delivery.hours, by=Delivery.shop, half_life="7d"),
            hw.count(Order, by=Order.shop, window="1d", slide="1h"),
        ],
        label=hw.label(Delivery.hours > 48, join=Delivery.order, on=Order.order, within="14d"),
        baseline_by=Delivery.shop,
        twins={"nightly": hw.every("1d")},
    )
    return hw.App("orders", models=[late])


def _lived(n: int = 120) -> LocalRun:
    run = LocalRun(_app())
    for i in range(n):
        shop = "ab"[i % 2]
        run.send(Order(order=f"o{i}", shop=shop, amount=float(i % 7)), time=START + i * HOUR)
        run.send(Delivery(order=f"o{i}", shop=shop, hours=70.0 if shop == "b" else 20.0), time=START + i * HOUR + 1000)
    return run


def test_it_learns_what_there_is_to_learn() -> None:
    run = _lived()
    assert run.metrics()["late"]["overall"]["live"]["auc"] > 0.95
    good, bad = (run.predict("late", order="new", shop=shop, amount=3.0)["predictions"][0]["score"] for shop in "ab")
    assert good < 0.3
    assert bad > 0.7


def test_an_answer_for_a_new_row_is_the_score_that_the_fold_then_gives() -> None:
    """Bit for bit: the reader's memories and arithmetic are the fold's."""
    run = _lived()
    for i, time in enumerate((START + 121 * HOUR, START + 150 * HOUR)):
        fields = {"order": f"new-{i}", "shop": "ab"[i], "amount": 2.5}
        said = run.predict("late", time=time, **fields)["predictions"][0]
        assert not said["stored"]
        run.send(Order(**fields), time=time)
        model = run.fold.models["late"]
        assert model.pending.rows[model.pending.order()[-1], SCORES] == said["score"]


def test_a_question_in_the_log_is_answered_from_its_stored_vector() -> None:
    run = _lived()
    run.send(Order(order="asked", shop="a", amount=1.0), time=START + 130 * HOUR)
    first = run.predict("late", order="asked")
    assert first["predictions"][0]["stored"]
    assert first["version"] == f"late@{run.seq}"
    run.send(Order(order="other", shop="a", amount=1.0), time=START + 131 * HOUR)  # changes the shop's count, not the vector
    assert run.predict("late", order="asked")["predictions"][0]["score"] == first["predictions"][0]["score"]


def test_a_recalled_answer_has_the_bits_of_the_general_way() -> None:
    """By key alone one compiled call scores the bytes in the view; with fields, columns are made and rows are scored."""
    run = _lived()
    for i, amount in enumerate((0.0, -3.5, 1e9, 2e100)):  # the last is no number for the learner
        run.send(Order(order=f"asked-{i}", shop="abc"[i % 3], amount=amount), time=START + (130 + i) * HOUR)
    for i in range(4):
        recalled = run.predict("late", order=f"asked-{i}")
        assert recalled["predictions"][0]["stored"]
        assert recalled == run.predict("late", order=f"asked-{i}", shop="a")


def test_an_unknown_entity_gets_defaults_and_shares_add_up() -> None:
    run = _lived()
    said = run.predict("late", order="new", shop="never seen", amount=1.0, explain=True)["predictions"][0]
    assert 0.0 < said["score"] < 1.0
    logit = np.log(said["score"] / (1 - said["score"]))
    assert sum(said["shares"].values()) == pytest.approx(logit, abs=1e-9)


def test_the_same_events_give_the_same_hash() -> None:
    assert _lived().state_hash() == _lived().state_hash()
    assert _lived(60).state_hash() != _lived(61).state_hash()


def test_a_resent_event_counts_once() -> None:
    run = LocalRun(_app())
    order = Order(order="o", shop="a", amount=1.0)
    for _ in range(3):
        run.send(order, time=START, id="one")
    assert run.seq == 1


@pytest.mark.parametrize("time", ["2024-05-01T12:00:00", "yesterday"])
def test_a_time_without_a_zone_is_refused(time: str) -> None:
    with pytest.raises((Fatal, ValueError)):
        LocalRun(_app()).send(Order(order="o", shop="a", amount=1.0), time=time)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(Fatal, match="Did you mean amount"):
        _lived(4).predict("late", amuont=3)


def test_a_silent_source_is_marked_idle_once_and_the_watermark_goes_on() -> None:
    run, clock = LocalRun(_app()), VirtualClock()
    idleness = Idleness(run.fold, clock, 60_000)
    run.send(Order(order="n", shop="a", amount=1.0), time=START, source="north")
    run.send(Order(order="s", shop="a", amount=1.0), time=START, source="south")
    assert list(idleness.marks()) == []
    clock.advance(50)
    run.send(Order(order="n2", shop="a", amount=1.0), time=START + 10 * HOUR, source="north")
    assert list(idleness.marks()) == []
    clock.advance(20)
    marks = list(idleness.marks())
    assert [event.body for batch in marks for event in control_events(batch)] == [{"source": "south"}]
    assert list(idleness.marks()) == []
    order = list(run.app.streams).index("order")
    assert run.fold.watermarks.watermark[order] == START - HOUR  # held back by the silent source
    run.log.append(marks[0])
    run.catch_up()
    run.send(Order(order="n3", shop="a", amount=1.0), time=START + 11 * HOUR, source="north")
    assert run.fold.watermarks.watermark[order] == START + 10 * HOUR


def test_nobody_is_idle_unless_asked() -> None:
    run, clock = _lived(4), VirtualClock()
    clock.advance(1e9)
    assert list(Idleness(run.fold, clock, None).marks()) == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_event_of_a_slow_source_beyond_a_windows_ring_is_counted_whatever_the_batches(size: int) -> None:
    run = LocalRun(_app())
    # 24 panes of the window, one for the lateness, one to spare: in the ring hour 235 lies where hour 1 would.
    for source, hours in (("slow", 0), ("quick", 1 + 9 * 26), ("slow", 1), ("quick", 240)):
        run.send(Order(order=f"{source}{hours}", shop="a", amount=1.0), time=START + hours * HOUR, source=source)
    assert run.fold.left_out()["beyond_windows"] == 1
    assert run.fold.counts()["slow"] == {"applied": 2, "late": 0}
    again = Fold(run.fold.app)
    for chunk in run.log.read(0, size):
        again.step(chunk)
    assert again.state_hash() == run.fold.state_hash()
