"""Spending is bounded in any interval, whatever the estimates are worth."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import DeclarationError
from headwater.planning.bucket import Bucket
from headwater.planning.cost import BOUND


@settings(max_examples=200, deadline=None)
@given(
    rate=st.floats(0, 5),
    depth=st.floats(0, 20),
    jobs=st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 30), st.floats(0.1, 10)), max_size=40),
)
def test_spending_is_bounded_in_any_interval_with_estimates_wrong_by_ten_times(rate, depth, jobs):
    bucket, now, spent = Bucket(rate, depth), 0.0, []
    for wait, cost, wrong in jobs:
        now += wait
        bucket.advance(wait)
        if reserved := bucket.reserve(cost * wrong, most=BOUND * cost * wrong):
            took = min(cost, reserved)  # a job that would take more is killed there
            bucket.settle(reserved, took)
            assert bucket.level >= -1e-9
            spent.append((now, took))
    for i in range(len(spent)):
        for j in range(i, len(spent)):
            inside = [cost for _, cost in spent[i : j + 1]]
            assert sum(inside) <= rate * (spent[j][0] - spent[i][0]) + depth + 1e-6


def test_a_job_may_take_what_is_there_but_no_more_than_it_may_need():
    bucket = Bucket(1.0, 10.0, 5.0)
    assert bucket.reserve(6.0, most=12.0) == 0.0
    assert bucket.reserve(4.0, most=12.0) == 5.0
    bucket.settle(5.0, 4.5)
    assert bucket.level == 0.5
    assert bucket.reserve(0.1, most=0.2) == 0.2


def test_one_job_at_a_time():
    bucket = Bucket(1.0, 10.0)
    assert bucket.reserve(1.0)
    assert not bucket.reserve(1.0)
    bucket.settle(1.0, 1.0)
    assert bucket.reserve(1.0)


def test_a_clock_that_jumps_neither_takes_nor_gives_more_than_the_depth():
    bucket = Bucket(1.0, 10.0, 4.0)
    assert bucket.advance(-1e9) == 0
    assert bucket.level == 4.0
    bucket.advance(1e12)
    assert bucket.level == 10.0


def test_a_budget_is_not_negative():
    with pytest.raises(DeclarationError, match="not negative"):
        Bucket(-1.0, 1.0)


@settings(max_examples=200, deadline=None)
@given(
    rate=st.floats(0, 5),
    depth=st.floats(0, 20),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3), st.floats(0.01, 30), st.floats(0.1, 10)), max_size=40),
)
def test_jobs_beside_what_is_spent_without_asking_are_bounded_by_what_that_leaves(rate, depth, steps):
    """The fast layer does not wait: where it alone spends more than the rate, no job begins."""
    bucket, now, jobs, charges = Bucket(rate, depth), 0.0, [], []
    for wait, charge, cost, wrong in steps:
        now += wait
        bucket.advance(wait)
        bucket.charge(charge)
        charges.append((now, charge))
        if reserved := bucket.reserve(cost * wrong, most=BOUND * cost * wrong):
            took = min(cost, reserved)
            bucket.settle(reserved, took)
            jobs.append((now, took))
    for i in range(len(jobs)):
        for j in range(i, len(jobs)):
            inside = [cost for _, cost in jobs[i : j + 1]]
            first, last = jobs[i][0], jobs[j][0]
            free = sum(charge for at, charge in charges if first < at <= last)
            assert sum(inside) + free <= rate * (last - first) + depth + 1e-6
