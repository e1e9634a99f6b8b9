"""Sessions equal a recomputation from the events before each question; sketches count within their error."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.errors import DeclarationError
from headwater.testing.events import Seen, batch_of

from .conftest import memories, run

MINUTE, HOUR = 60_000, 3_600_000


class Ask(hw.Event, key="who", lateness="2h"):
    who: hw.Field[str]


class Fact(hw.Event, key="who", lateness="2h"):
    who: hw.Field[str]
    x: hw.Field[float | None]
    what: hw.Field[str | None]
    n: hw.Field[int]


READS: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "min": np.min, "max": np.max, "variance": np.var}
OF = {"by": Fact.who, "session": "20m"}
SESSIONS = [hw.count(Fact, **OF), *(getattr(hw, name)(Fact.x, **OF) for name in READS),
            hw.mean(Fact.x, prior=3.0, prior_weight=2.0, **OF)]  # fmt: skip


def fact(who="a", x=1.0, what=None, n=0):
    return Fact(who=who, x=x, what=what, n=n)


def sessions(times, gap):
    """Runs of sorted times with less than the gap between neighbours, as lists of positions."""
    order = sorted(range(len(times)), key=lambda i: times[i])
    runs: list[list[int]] = []
    for i in order:
        if runs and times[i] - times[runs[-1][-1]] < gap:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def joined(past, now, gap):
    """Values of the sessions that an event at `now` would join."""
    times = [t for t, _ in past]
    runs = [r for r in sessions(times, gap) if times[r[0]] - gap < now < times[r[-1]] + gap]
    return [past[i][1] for r in runs for i in r]


steps = st.lists(
    st.tuples(st.integers(0, 25 * MINUTE), st.integers(0, 100 * MINUTE), st.sampled_from("aab"), st.booleans(),
              st.one_of(st.none(), st.integers(-20, 20).map(lambda v: v / 4 + 1000.0))),
    min_size=1, max_size=60,
)  # fmt: skip


@st.composite
def logs(draw):
    now, out = 10 * HOUR, []
    for gap, delay, who, asks, x in draw(steps):
        now += gap
        out.append(Seen(now - delay if delay % 3 == 0 else now, Ask(who=who) if asks else fact(who, x), "one"))
    return out


@settings(max_examples=80)
@given(logs())
def test_sessions_equal_a_recomputation_from_what_came_before(log):
    done = run(SESSIONS, Ask, [Fact, Ask], batch_of(log), (7,))
    assert not done.skip.any()
    for i, seen in enumerate(log):
        if isinstance(seen.event, Fact):
            continue
        facts = [(s.time_ms, s.event.x) for s in log[:i] if isinstance(s.event, Fact) and s.event.who == seen.event.who]
        n = len(joined(facts, seen.time_ms, 20 * MINUTE))
        xs = joined([f for f in facts if f[1] is not None], seen.time_ms, 20 * MINUTE)
        expected = [n, float(np.sum(xs)), *(f(xs) if xs else math.nan for f in list(READS.values())[1:])]
        np.testing.assert_allclose(done.vectors[i], [*expected, (np.sum(xs) + 6) / (len(xs) + 2)], rtol=1e-9, atol=1e-7)
    assert done.engine.overflow.tolist() == [0, 0]


@settings(max_examples=40)
@given(logs(), st.lists(st.integers(1, 40), min_size=1, max_size=4), st.randoms())
def test_memories_are_the_same_in_any_split_and_do_not_follow_the_order(log, sizes, random):
    features = [*SESSIONS, hw.distinct(Fact.x, by=Fact.who, window="1h", slide="20m"), hw.distinct(Fact.who)]
    whole = run(features, Ask, [Fact, Ask], batch_of(log))
    other = run(features, Ask, [Fact, Ask], batch_of(log), tuple(sizes))
    assert other.vectors.tobytes() == whole.vectors.tobytes()
    assert {k: v.tobytes() for k, v in memories(other).items()} == {k: v.tobytes() for k, v in memories(whole).items()}
    facts = [s for s in log if isinstance(s.event, Fact)]
    if not facts:
        return
    shuffled = [s._replace(time_ms=20 * HOUR + s.time_ms % HOUR) for s in facts]  # nothing is late
    straight = run(features, Ask, [Fact, Ask], batch_of(shuffled))
    random.shuffle(shuffled)
    turned = run(features, Ask, [Fact, Ask], batch_of(shuffled))
    for key, row in memories(straight).items():
        np.testing.assert_allclose(memories(turned)[key], row, rtol=1e-9, atol=1e-6)


def test_sessions_equal_sql_over_a_day():
    """1,500 events in order, in DuckDB: gaps found by lag, sessions by a running sum."""
    rng = np.random.default_rng(0)
    time, log = 0, []
    for _ in range(1500):
        time += int(rng.exponential(4 * MINUTE))
        log.append(Seen(time, fact(str(rng.choice(list("abc"))), float(rng.normal()), n=0), "one"))
    done = run([hw.count(Fact, **OF), hw.sum(Fact.x, **OF)], Fact, [Fact], batch_of(log))
    table = pd.DataFrame({"seq": range(1500), "t": [s.time_ms for s in log], "who": [s.event.who for s in log],
                          "x": [s.event.x for s in log]})  # fmt: skip
    database = duckdb.connect()
    database.register("events", table)
    found = database.sql(f"""
        WITH marked AS (SELECT *, coalesce(t - lag(t) OVER w >= {20 * MINUTE}, true) AS starts FROM events WINDOW w AS
                        (PARTITION BY who ORDER BY seq)),
             numbered AS (SELECT *, sum(starts::int) OVER (PARTITION BY who ORDER BY seq) AS session FROM marked)
        SELECT count(*) OVER w - 1 AS n, sum(x) OVER w - x AS total FROM numbered
        WINDOW w AS (PARTITION BY who, session ORDER BY seq) ORDER BY seq
    """).fetchnumpy()
    np.testing.assert_allclose(done.vectors[:, 0], found["n"])
    np.testing.assert_allclose(done.vectors[:, 1], found["total"], atol=1e-9)
    assert found["n"].max() > 10


def test_an_event_may_join_two_sessions_and_one_beyond_the_list_is_counted():
    at = [0, 100, 200, 115, 130, 148, 166, 184]  # minutes: the last ones bridge 100 .. 200, a step at a time
    log = [Seen(HOUR * 30 + m * MINUTE, fact(x=float(m)), "one") for m in at]
    done = run([hw.sum(Fact.x, **OF)], Fact, [Fact], batch_of([*log, Seen(HOUR * 30 + 199 * MINUTE, fact(), "one")]))
    assert done.vectors[-1, 0] == sum(at[1:])
    lagging = [Seen(HOUR * 30, fact(), "slow"), *(Seen(HOUR * (31 + i), fact(), "fast") for i in range(12))]
    done = run([hw.sum(Fact.x, **OF)], Fact, [Fact], batch_of([*lagging, Seen(HOUR * 31 - MINUTE * 20, fact(), "slow")]))
    assert not done.skip.any()  # the slow source holds the watermark back
    assert done.engine.overflow.tolist() == [1, 0]


@pytest.mark.parametrize("precision", [6, 8, 12])
def test_a_sketch_counts_within_its_error(precision):
    """40 sketches of each size: unbiased, and as scattered as the theory says; Apache's sketches of that size are the peer."""
    datasketches = pytest.importorskip("datasketches")
    error = 1.04 / math.sqrt(1 << precision)
    for n in (1, 10, 100, 2000):
        log = [Seen(HOUR, fact(str(e), what=f"{e}-{i}"), "one") for e in range(40) for i in range(n)]
        asked = [Seen(HOUR, Ask(who=str(e)), "one") for e in range(40)]
        done = run([hw.distinct(Fact.what, by=Fact.who, precision=precision)], Ask, [Fact, Ask], batch_of([*log, *asked]))
        got = done.vectors[len(log) :, 0] / n - 1
        assert abs(got.mean()) < 4 * error / math.sqrt(40)
        assert np.sqrt(np.mean(got**2)) < 1.4 * error
        peers = []
        for e in range(40):
            peer = datasketches.hll_sketch(precision)
            for i in range(n):
                peer.update(f"{e}-{i}")
            peers.append(peer.get_estimate() / n - 1)
        assert np.sqrt(np.mean(got**2)) < max(1.5 * np.sqrt(np.mean(np.square(peers))), 1.4 * error)


def test_distinct_reads_texts_and_numbers_leaves_nulls_out_and_forgets_with_the_window():
    features = [
        hw.distinct(Fact.what, by=Fact.who),
        hw.distinct(Fact.n, by=Fact.who, window="1h", slide="30m"),
        hw.distinct(Fact.x, where=Fact.n > 0),
        hw.distinct(Fact.n > 1),
    ]
    log = [
        Seen(0, fact(what="p", n=1, x=0.0), "one"), Seen(0, fact(what="q", n=2, x=-0.0), "one"),
        Seen(40 * MINUTE, fact(what="p", n=2, x=None), "one"), Seen(50 * MINUTE, fact(what=None, n=3, x=7.0), "one"),
        Seen(55 * MINUTE, fact("b", what="r", n=9), "one"),
    ]  # fmt: skip
    asks = [Seen(t * MINUTE, Ask(who=who), "one") for t, who in ((55, "a"), (65, "a"), (95, "a"), (95, "c"))]
    vectors = run(features, Ask, [Fact, Ask], batch_of([*log, *asks])).vectors[5:]
    expected = [[2, 3, 3, 2], [2, 2, 3, 2], [2, 0, 3, 2], [0, 0, 3, 2]]
    np.testing.assert_allclose(vectors, expected, rtol=0.02)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hw.count(Fact, window="1h", session="5m"), "both window and session are given"),
        (lambda: hw.sum(Fact.x, half_life="1h", session="5m"), "both half_life and session are given"),
        (lambda: hw.count(Fact, session="0s"), "a span of time must be positive"),
        (lambda: hw.count(Fact, session="5m", slide="1m"), "a slide without a window"),
        (lambda: hw.max(Fact.x), "needs a window; expected window='1h', or session='30m'"),
        (lambda: hw.distinct(Fact.what, precision=3), r"precision is out of range; expected 4 \.\. 12; got 3"),
        (lambda: hw.distinct(Fact), "is no expression"),
        (lambda: hw.distinct(Fact.what, window="1h", slide="7m"), "whole number of slides"),
    ],
    ids=range(8),
)
def test_what_cannot_work_is_refused(make, says):
    with pytest.raises(DeclarationError, match=says):
        make()


@pytest.mark.parametrize(
    "feature",
    [hw.count(Fact, session="1s"), hw.distinct(Fact.what, window="5h", slide="1m", precision=9)],
    ids=lambda f: f.name,
)
def test_a_memory_that_is_too_large_is_refused(feature):
    with pytest.raises(DeclarationError, match="keeps too m"):
        run([feature], Ask, [Fact, Ask], batch_of([Seen(0, fact())]))


def test_features_have_names_that_tell_them_apart():
    names = [f.name for f in (hw.count(Fact, by=Fact.who, session="20m"), hw.distinct(Fact.what, window="1h", slide="10m"))]
    assert names == ["count(fact|20m by who)", "distinct(fact.what/1h:10m)"]
