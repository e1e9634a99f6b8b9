"""The window of a refit: the longest that does as well as the best, and none while it is too short."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.planning.windows import candidates, choose, held_out

LEAST = 200


def world(changed_at, n=4000, noise=0.0):
    """A probe that fits a mean: +1 after the change, -1 before."""
    truth = np.where(np.arange(n) < changed_at, -1.0, 1.0) + noise * np.random.default_rng(0).normal(size=n)

    def probe(learn, judge):
        return np.abs(truth[judge] - truth[learn].mean())

    return probe


def test_after_a_change_the_window_since_it_is_chosen():
    windows = candidates(4000, 3200, LEAST)
    choice = choose(windows, 4000, world(3200), least=LEAST, worth=0.01)
    assert choice.window is not None
    assert (choice.window.name, choice.window.first) == ("since the change", 3200)
    assert "learn from since the change" in choice.why


def test_without_a_change_all_labels_are_read():
    choice = choose(candidates(4000, 3200, LEAST), 4000, world(0, noise=0.5), least=LEAST, worth=0.01)
    assert choice.window is not None
    assert choice.window.name == "all"


def test_a_window_that_is_too_short_waits_while_more_would_help():
    windows = candidates(4000, 3850, least=100)

    def probe(learn, judge):
        return np.full(judge.size, (1.0 if learn[0] < 3850 else 0.0) + 10 / np.sqrt(learn.size))

    waits = choose(windows, 4000, probe, least=LEAST, worth=0.05)
    assert waits.window is None
    assert "150 labels are few" in waits.why
    flat = choose(windows, 4000, probe, least=LEAST, worth=1.0)
    assert flat.window is not None
    assert flat.window.n == 150


def test_no_window_at_all_waits():
    choice = choose((), 50, world(0), least=LEAST, worth=0.1)
    assert choice.window is None
    assert choice.why == "No window holds 200 labels yet."


@given(n=st.integers(0, 5000), changed=st.none() | st.integers(-5, 6000), least=st.integers(2, 500))
def test_candidates_are_large_enough_and_judged_on_labels_that_they_all_hold(n, changed, least):
    windows = candidates(n, changed, least)
    assert [w.first for w in windows] == sorted({w.first for w in windows})
    assert all(w.n >= least and w.first + w.n == n for w in windows)
    if windows:
        judged = held_out(windows, n)
        assert judged.size >= 1
        assert judged[0] > windows[-1].first
