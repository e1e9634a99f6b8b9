"""Consumers: at least once, in order, and whatever one of them does is not the others' loss. All on virtual time."""

from __future__ import annotations

import json
from math import inf

import pytest

import headwater as hw
from headwater.core.errors import WrongState
from headwater.following import Cursors, Streams
from headwater.following.retrying import LONGEST_S, pause_s
from headwater.log.memory import MemoryLog

from .conftest import Order, Spy, batch, order


def test_every_event_is_handed_over_in_order_and_the_cursor_is_behind_it(world):
    world.orders(5, pings=3)
    spy = Spy()
    assert world.run(world.delivery(spy)) == []
    assert spy.calls == [[0], [4], [8], [12], [16]]
    progress = world.cursors.of("mine")
    assert (progress.next, progress.delivered, progress.retries) == (20, 5, 0)


def test_the_cursor_moves_only_after_the_handing_over(world):
    world.orders(3)
    places = []
    spy = Spy(fail=lambda page: places.append((int(page.seq[0]), world.cursors.of("mine").next)))
    delivery = world.delivery(spy)
    for _ in range(3):
        delivery.step()
        world.clock.advance(1)
    assert places == [(0, 0), (1, 0), (2, 2)]  # the first was not written down by itself: no time had passed
    world.run(delivery)
    assert world.cursors.of("mine").next == 3


def test_a_new_consumer_begins_where_it_says(world):
    world.orders(3)
    first, last = Spy(), Spy()
    world.run(world.delivery(first, name="first"))
    late = world.delivery(last, name="last", start="end")
    world.orders(1)
    world.run(late)
    assert (first.taken, last.taken) == ([0, 1, 2], [3])


def test_one_that_comes_again_goes_on_at_its_cursor(world):
    world.orders(3)
    world.run(world.delivery(Spy()))
    world.orders(2)
    again = Spy()
    world.run(world.delivery(again, start="end"))  # where to begin counts once
    assert again.taken == [3, 4]


def test_what_was_handed_over_but_not_written_down_comes_again(world):
    world.orders(4)
    lost = Spy()
    delivery = world.delivery(lost)
    delivery.step()
    delivery.step()  # and then the process is killed
    again = Spy()
    world.run(world.delivery(again))
    assert lost.taken == [0, 1]
    assert again.taken == [0, 1, 2, 3]


def test_a_failure_is_tried_again_with_pauses_that_grow_to_a_minute(world):
    world.orders(2)
    failures = iter(range(12))

    def fail(page):
        if page.seq[0] == 1 and next(failures, None) is not None:
            raise ValueError("not now")

    spy = Spy(fail=fail)
    pauses = world.run(world.delivery(spy))
    assert spy.taken == [0, 1]
    assert pauses == pytest.approx([pause_s(n, "mine/1") for n in range(1, 13)])
    assert pauses[0] < 0.5 < LONGEST_S / 2 <= pauses[-1] <= LONGEST_S
    progress = world.cursors.of("mine")
    assert (progress.retries, progress.attempt, progress.error) == (12, 0, "")


def test_pauses_are_the_same_each_time_and_differ_between_consumers():
    assert [pause_s(n, "a/1") for n in range(1, 9)] == [pause_s(n, "a/1") for n in range(1, 9)]
    assert pause_s(9, "a/1") != pause_s(9, "b/1")
    assert all(LONGEST_S / 2 <= pause_s(n, "a/1") <= LONGEST_S for n in range(8, 10_000))


def test_a_consumer_may_say_when(world):
    world.orders(1)

    class Later(hw.Retryable):
        delay_s = 17.0

    asked = iter([Later("in a moment")])

    def fail(_page):
        for error in asked:
            raise error

    assert world.run(world.delivery(Spy(fail=fail))) == pytest.approx([17.0])


def test_asked_too_early_it_says_how_long_is_left(world):
    world.orders(1)

    def fail(_page):
        raise ValueError

    spy = Spy(fail=fail)
    delivery = world.delivery(spy)
    wait_s = delivery.step()
    world.clock.advance(wait_s / 2)
    assert delivery.step() == pytest.approx(wait_s / 2, abs=1e-5)
    assert len(spy.calls) == 1


def test_what_is_never_taken_is_parked_and_passed_over(world):
    world.orders(4)

    def fail(page):
        if page.seq[0] == 2:
            raise hw.Fatal("no such shop")

    spy = Spy(fail=fail)
    world.run(world.delivery(spy))
    assert spy.taken == [0, 1, 3]
    progress = world.cursors.of("mine")
    assert (progress.next, progress.delivered, progress.parked, progress.retries) == (4, 3, 1, 0)
    (parked,) = world.cursors.parked("mine")
    assert (parked.seq, parked.error) == (2, "Fatal: no such shop")
    assert json.loads(parked.event)["data"]["order_id"] == "o2"


def test_of_a_batch_only_the_bad_one_is_parked(world):
    world.orders(7)

    def fail(page):
        if 3 in page.seq:
            raise hw.Fatal("bad")

    spy = Spy(most=5, fail=fail)
    world.run(world.delivery(spy))
    assert spy.taken == [0, 1, 2, 4, 5, 6]
    assert spy.calls == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4], [5, 6]]
    assert [p.seq for p in world.cursors.parked()] == [3]


def test_after_so_many_attempts_it_is_parked_where_that_was_asked_for(world):
    world.orders(2)

    def fail(page):
        if page.seq[0] == 0:
            raise ValueError("again")

    spy = Spy(fail=fail)
    pauses = world.run(world.delivery(spy, attempts=3))
    assert len(pauses) == 2
    assert spy.calls == [[0], [0], [0], [1]]
    assert [p.seq for p in world.cursors.parked()] == [0]


def test_what_is_parked_is_handed_over_again_if_somebody_wants_it(world):
    world.orders(3)
    bad = {0, 2}

    def fail(page):
        if bad.intersection(page.seq.tolist()):
            raise hw.Fatal("bad")

    spy = Spy(most=5, fail=fail)
    delivery = world.delivery(spy)
    world.run(delivery)
    assert spy.taken == [1]
    assert world.cursors.want("mine", [1]) == 0
    assert world.cursors.want("mine") == 2
    bad.discard(2)  # the cause of one of them is gone
    world.clock.advance(1)
    world.run(delivery)
    assert spy.taken == [1, 2]
    assert [p.seq for p in world.cursors.parked()] == [0]
    assert (world.cursors.of("mine").parked, world.cursors.of("mine").delivered) == (1, 2)
    calls = len(spy.calls)
    world.clock.advance(1)
    world.run(delivery)
    assert len(spy.calls) == calls  # each wish is one attempt


def test_a_parked_event_outlives_the_log_and_says_why_it_cannot_be_tried_again(world):
    def fail(_page):
        raise hw.Fatal("bad")

    world.orders(1)
    delivery = world.delivery(Spy(fail=fail))
    world.run(delivery)
    world.orders(1)
    world.log.retain(max_bytes=1, keep_from=1)
    world.cursors.want("mine", [0])
    world.clock.advance(1)
    world.run(delivery)
    assert "dropped by retention" in world.cursors.parked()[0].error
    assert json.loads(world.cursors.parked()[0].event)["data"]["order_id"] == "o0"


def test_one_that_fails_for_ever_holds_up_nobody_else(world):
    world.orders(3)

    def fail(_page):
        raise ValueError("down")

    bad, good = world.delivery(Spy(fail=fail), name="bad"), Spy()
    for _ in range(5):
        assert 0 < bad.step() < inf
        world.clock.advance(LONGEST_S)
    world.run(world.delivery(good, name="good"))
    assert good.taken == [0, 1, 2]
    assert (world.cursors.of("bad").next, world.cursors.of("bad").attempt) == (0, 5)


def test_what_retention_dropped_first_is_told_and_not_silent(world):
    for _ in range(3):
        world.orders(2)
    delivery = world.delivery(spy := Spy())
    world.log.retain(max_bytes=1, keep_from=4)
    world.run(delivery)
    assert spy.taken == [4, 5]
    progress = world.cursors.of("mine")
    assert (progress.missed, progress.delivered) == (4, 2)


def test_a_cursor_that_only_passes_other_streams_is_written_now_and_then(world):
    world.orders(1, pings=5)
    delivery = world.delivery(Spy(), stream="_dead")
    assert delivery.step() == pytest.approx(1.0)
    assert world.cursors.of("mine").next == 0
    world.clock.advance(1.0)
    assert delivery.step() == inf
    assert world.cursors.of("mine").next == 6


def test_a_stopped_consumer_has_written_down_where_it_is(world):
    world.orders(3)
    delivery = world.delivery(Spy())
    delivery.step()
    assert world.cursors.of("mine").next == 0
    delivery.close()
    assert (world.cursors.of("mine").next, world.cursors.of("mine").delivered) == (1, 1)


def test_a_name_is_bound_to_its_stream(world):
    world.delivery(Spy())
    with pytest.raises(WrongState, match="followed another stream"):
        world.delivery(Spy(), stream="ping")


def test_a_consumer_of_another_log_says_so_and_stays(world):
    world.orders(5)
    world.run(world.delivery(Spy()))
    world.streams = Streams(MemoryLog(), {"order": Order.schema}, world.notices)
    delivery = world.delivery(Spy())
    for n in (1, 2):
        assert 0 < delivery.step() < inf
        world.clock.advance(60)
        assert world.cursors.of("mine").attempt == n
    assert "the reader is ahead of the log" in world.cursors.of("mine").error
    assert world.cursors.of("mine").next == 5
    world.streams._log.append(batch([order(i) for i in range(5)], 0))  # it was a copy that is brought up to date
    assert world.run(delivery) == []
    assert (world.cursors.of("mine").attempt, world.cursors.of("mine").error) == (0, "")


def test_cursors_are_on_disk_and_those_of_gone_consumers_are_kept_out_of_sight(tmp_path):
    first = Cursors(tmp_path)
    first.claim("a", "order", "handler", 3)
    first.claim("b", "order", "webhook", 0)
    first.move("a", 9, 6)
    again = Cursors(tmp_path)
    again.retire_others(["a"])
    assert [(p.name, p.next, p.delivered) for p in again.all()] == [("a", 9, 6)]
    assert again.claim("b", "order", "webhook", 7).next == 0
    assert len(first.all()) == 2
    with pytest.raises(WrongState):
        Cursors(tmp_path / "nowhere", read_only=True)
    for cursors in (first, again):
        cursors.close()
