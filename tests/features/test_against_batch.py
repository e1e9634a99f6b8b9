"""Every aggregate equals what a batch job computes from the events before each question, on random streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.testing.events import Seen, batch_of

from .conftest import run

MINUTE, HOUR = 60_000, 3_600_000


class Ask(hw.Event, key="who", lateness="2h"):
    who: hw.Field[str]
    place: hw.Field[int]
    x: hw.Field[float | None]


class Fact(hw.Event, key="who", lateness="2h"):
    who: hw.Field[str]
    where_: hw.Field[int]
    x: hw.Field[float | None]
    good: hw.Field[bool | None]


class Past(NamedTuple):
    """An event before the question: its place in the log, its time, its value."""

    seq: int
    time: int
    x: float


def weights(past: Sequence[Past], now: int, half_life: float) -> np.ndarray[Any, Any]:
    """By event time, as of the question or of the newest event, whichever is later."""
    newest = max(now, *(p.time for p in past))
    return np.array([2.0 ** (-(newest - p.time) / half_life) for p in past])


def decayed_sum(past: Sequence[Past], now: int, half_life: float) -> float:
    return float(weights(past, now, half_life) @ [p.x for p in past]) if past else 0.0


def decayed_mean(past: Sequence[Past], now: int, half_life: float) -> float:
    return float(np.average([p.x for p in past], weights=weights(past, now, half_life))) if past else math.nan


def decayed_variance(past: Sequence[Past], now: int, half_life: float) -> float:
    w = weights(past, now, half_life) if past else np.zeros(0)
    x = np.array([p.x for p in past])
    return float(np.average((x - np.average(x, weights=w)) ** 2, weights=w)) if past else math.nan


def pane_window(past: Sequence[Past], now: int, size: int, slide: int) -> list[float]:
    """Values in the panes [start, end) of the window that ends with the pane of now."""
    end = (now // slide + 1) * slide
    return [p.x for p in past if end - size <= p.time < end]


def newest(past: Sequence[Past], n: int) -> float:
    ordered = sorted(past, key=lambda p: (p.time, p.seq), reverse=True)
    return ordered[n].x if n < len(ordered) else math.nan


def or_nan(f: Callable[[Any], Any]) -> Callable[[list[float]], float]:
    return lambda xs: float(f(xs)) if xs else math.nan


def recursion(past: Sequence[Past], beta: float) -> tuple[float, float]:
    """In log order, as in pandas' `ewm(alpha=1 - beta, adjust=False)`."""
    if not past:
        return math.nan, math.nan
    ewm = pd.Series([p.x for p in past]).ewm(alpha=1 - beta, adjust=False)
    return float(ewm.mean().iloc[-1]), float(ewm.var(bias=True).iloc[-1])


WHO = Fact.who
Oracle = Callable[[list[Past], int], float]


def windowed(window: int, slide: int, f: Callable[[list[float]], float]) -> Oracle:
    return lambda past, now: f(pane_window(past, now, window, slide))


def cases() -> dict[str, tuple[Any, Oracle]]:
    made: dict[str, tuple[Any, Oracle]] = {}
    h = 30 * MINUTE
    for window, slide, spans in (
        ("1h", None, (HOUR, HOUR)),
        ("1h", "10m", (HOUR, 10 * MINUTE)),
        ("3h", "1h", (3 * HOUR, HOUR)),
    ):
        of = {"by": WHO, "window": window, "slide": slide}
        made |= {
            f"count {window} {slide}": (
                hw.count(Fact, where=~Fact.x.is_null(), **of),
                windowed(*spans, lambda xs: float(len(xs))),
            ),
            f"sum {window} {slide}": (hw.sum(Fact.x, **of), windowed(*spans, lambda xs: float(np.sum(xs)))),
            f"mean {window} {slide}": (hw.mean(Fact.x, **of), windowed(*spans, or_nan(np.mean))),
            f"min {window} {slide}": (hw.min(Fact.x, **of), windowed(*spans, or_nan(np.min))),
            f"max {window} {slide}": (hw.max(Fact.x, **of), windowed(*spans, or_nan(np.max))),
            f"variance {window} {slide}": (hw.variance(Fact.x, **of), windowed(*spans, or_nan(np.var))),
            f"prior {window} {slide}": (
                hw.mean(Fact.x, prior=3.0, prior_weight=2.0, **of),
                windowed(*spans, lambda xs: (float(np.sum(xs)) + 6) / (len(xs) + 2)),
            ),
        }
    made |= {
        "count ever": (hw.count(Fact, by=WHO, where=~Fact.x.is_null()), lambda past, _: float(len(past))),
        "sum ever": (hw.sum(Fact.x, by=WHO), lambda past, _: sum(p.x for p in past)),
        "mean ever": (hw.mean(Fact.x, by=WHO), lambda past, _: or_nan(np.mean)([p.x for p in past])),
        "variance ever": (hw.variance(Fact.x, by=WHO), lambda past, _: or_nan(np.var)([p.x for p in past])),
        "count decayed": (
            hw.count(Fact, by=WHO, half_life="30m", where=~Fact.x.is_null()),
            lambda past, now: decayed_sum([p._replace(x=1.0) for p in past], now, h),
        ),
        "sum decayed": (hw.sum(Fact.x, by=WHO, half_life="30m"), lambda past, now: decayed_sum(past, now, h)),
        "mean decayed": (hw.mean(Fact.x, by=WHO, half_life="30m"), lambda past, now: decayed_mean(past, now, h)),
        "variance decayed": (hw.variance(Fact.x, by=WHO, half_life="30m"), lambda past, now: decayed_variance(past, now, h)),
        "mean decayed, prior": (
            hw.mean(Fact.x, by=WHO, half_life="30m", prior=5.0, prior_weight=0.5),
            lambda past, now: (
                (decayed_sum(past, now, h) + 2.5) / (decayed_sum([p._replace(x=1.0) for p in past], now, h) + 0.5)
            ),
        ),
        "since": (
            hw.since(Fact, by=WHO, where=~Fact.x.is_null()),
            lambda past, now: (now - max(p.time for p in past)) / HOUR if past else math.nan,
        ),
        "ewma": (hw.ewma(Fact.x, beta=0.75, by=WHO), lambda past, _: recursion(past, 0.75)[0]),
        "ewma variance": (hw.ewma_variance(Fact.x, beta=0.75, by=WHO), lambda past, _: recursion(past, 0.75)[1]),
    }
    for i, feature in enumerate(hw.last(Fact.x, by=WHO, n=3)):
        made[f"last {i}"] = (feature, lambda past, _, i=i: newest(past, i))
    return made


CASES = cases()
values = st.one_of(st.none(), st.integers(-20, 20).map(lambda v: v / 4 + 1000.0))
facts = st.builds(
    Fact, who=st.sampled_from("abc"), where_=st.integers(0, 2), x=values, good=st.sampled_from([None, False, True])
)
asks = st.builds(Ask, who=st.sampled_from("abcd"), place=st.integers(0, 2), x=values)
# Out of order by up to 100 minutes, which the lateness of 2 h allows for.
steps = st.lists(
    st.tuples(st.integers(0, 20 * MINUTE), st.integers(0, 100 * MINUTE), st.one_of(facts, asks)), min_size=1, max_size=60
)


@st.composite
def logs(draw: st.DrawFn) -> list[Seen]:
    now, out = 0, []
    for gap, delay, event in draw(steps):
        now += gap
        out.append(Seen(max(0, now - delay), event, "one"))
    return out


def before(log: list[Seen], i: int, mine: Callable[[Any], bool]) -> list[Past]:
    return [
        Past(j, seen.time_ms, seen.event.x)
        for j, seen in enumerate(log[:i])
        if isinstance(seen.event, Fact) and seen.event.x is not None and mine(seen.event)
    ]


@settings(max_examples=60)
@given(logs())
def test_every_aggregate_equals_a_recomputation_from_what_came_before(log):
    done = run([feature for feature, _ in CASES.values()], Ask, [Fact, Ask], batch_of(log), (7,))
    assert not done.skip.any()
    for i, seen in enumerate(log):
        if isinstance(seen.event, Fact):
            assert np.isnan(done.vectors[i]).all()
            continue
        past = before(log, i, lambda fact, who=seen.event.who: fact.who == who)
        expected = [oracle(past, seen.time_ms) for _, oracle in CASES.values()]
        np.testing.assert_allclose(done.vectors[i], expected, rtol=1e-9, atol=1e-7, err_msg=str(list(CASES)))
    assert done.engine.overflow.tolist() == [0, 0]


@settings(max_examples=30)
@given(logs(), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_values_and_memories_are_the_same_bits_in_any_split(log, sizes):
    features, batch = [feature for feature, _ in CASES.values()], batch_of(log)
    whole = run(features, Ask, [Fact, Ask], batch)
    for split in ((1,), (7,), tuple(sizes)):
        other = run(features, Ask, [Fact, Ask], batch, split)
        assert other.vectors.tobytes() == whole.vectors.tobytes()
        for mine, theirs in zip(whole.engine.tables, other.engine.tables, strict=True):
            order, others = np.argsort(mine.keys[: mine.n]), np.argsort(theirs.keys[: theirs.n])
            assert mine.keys[order].tobytes() == theirs.keys[others].tobytes()
            assert mine.rows[order].tobytes() == theirs.rows[others].tobytes()


def test_a_feature_alone_has_the_bits_that_it_has_among_others():
    """Features share memories; none may lean on what another one keeps there."""
    rng = np.random.default_rng(3)
    log = [
        Seen(
            i * 4 * MINUTE,
            Fact(who=str(rng.choice(list("ab"))), where_=0, x=None if i % 5 == 0 else float(rng.normal()), good=None)
            if i % 3
            else Ask(who=str(rng.choice(list("abc"))), place=0, x=None),
        )
        for i in range(120)
    ]
    batch = batch_of(log)
    together = run([feature for feature, _ in CASES.values()], Ask, [Fact, Ask], batch).vectors
    for column, (name, (feature, _)) in enumerate(CASES.items()):
        alone = run([feature], Ask, [Fact, Ask], batch).vectors
        assert alone[:, 0].tobytes() == together[:, column].tobytes(), name


@settings(max_examples=30)
@given(logs(), st.integers(0, 60))
def test_a_vector_holds_nothing_of_what_comes_after_it(log, cut):
    features = [feature for feature, _ in CASES.values()]
    whole = run(features, Ask, [Fact, Ask], batch_of(log))
    poisoned = [
        s if i < cut or isinstance(s.event, Ask) else s._replace(event=s.event.replace(x=-1e6)) for i, s in enumerate(log)
    ]
    other = run(features, Ask, [Fact, Ask], batch_of(poisoned))
    assert other.vectors[: cut + 1].tobytes() == whole.vectors[: cut + 1].tobytes()


@settings(max_examples=40)
@given(logs())
def test_zscores_filters_and_readings_at_another_entity(log):
    features = [
        hw.zscore(Ask.x, half_life="1h", by=Ask.who),
        hw.count(Fact, by=Fact.where_, at=Ask.place, where=Fact.good),
        hw.sum(Fact.x, by=(Fact.who, Fact.where_), at=(Ask.who, Ask.place), where=Fact.good & (Fact.x > 1000)),
        hw.count(Fact, where=~Fact.good),
        hw.mean(Fact.good),
    ]
    done = run(features, Ask, [Fact, Ask], batch_of(log), (5,))
    for i, seen in enumerate(log):
        if isinstance(seen.event, Fact):
            continue
        who, place, x = seen.event.who, seen.event.place, seen.event.x
        earlier = [s.event for s in log[:i] if isinstance(s.event, Fact)]
        own = [
            Past(j, s.time_ms, s.event.x)
            for j, s in enumerate(log[:i])
            if isinstance(s.event, Ask) and s.event.who == who and s.event.x is not None
        ]
        known = [f.good for f in earlier if f.good is not None]
        sd = math.sqrt(decayed_variance(own, seen.time_ms, HOUR)) if own else math.nan
        score = math.nan if x is None or not own else 0.0 if sd < 1e-12 else (x - decayed_mean(own, seen.time_ms, HOUR)) / sd
        expected = [
            score,
            sum(1 for f in earlier if f.good and f.where_ == place),
            sum(f.x for f in earlier if f.good and f.x is not None and f.x > 1000 and (f.who, f.where_) == (who, place)),
            sum(1 for f in earlier if f.good is False),
            np.mean(known) if known else math.nan,
        ]
        np.testing.assert_allclose(done.vectors[i], expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("slide", ["1h", "15m"])
def test_windows_equal_a_sql_join_over_a_day(slide):
    """2,000 events in DuckDB, with values far from 0, where a sum of squares would lose all digits of a variance."""
    rng = np.random.default_rng(1)
    n, step = 2000, {"1h": HOUR, "15m": 15 * MINUTE}[slide]
    log = []
    for i in range(n):
        time, who = i * 43_200, str(rng.choice(list("abcdef")))
        x = None if rng.random() < 0.1 else 1e8 + float(rng.normal())
        event = Ask(who=who, place=0, x=None) if rng.random() < 0.3 else Fact(who=who, where_=0, x=x, good=None)
        log.append(Seen(max(0, time - int(rng.integers(0, 90 * MINUTE))), event, "one"))
    of = {"by": WHO, "window": "2h", "slide": slide}
    features = [
        hw.count(Fact, where=~Fact.x.is_null(), **of),
        *(f(Fact.x, **of) for f in (hw.sum, hw.min, hw.max, hw.mean, hw.variance)),
    ]
    done = run(features, Ask, [Fact, Ask], batch_of(log), (64,))
    asked = np.flatnonzero([isinstance(s.event, Ask) for s in log])
    database = duckdb.connect()
    table = pd.DataFrame(
        {
            "seq": range(n),
            "time": [s.time_ms for s in log],
            "who": [s.event.who for s in log],
            "x": pd.Series([s.event.x for s in log], dtype="Float64"),
            "asks": [isinstance(s.event, Ask) for s in log],
        }
    )
    database.register("events", table)
    found = database.sql(f"""
        SELECT count(f.x), coalesce(sum(f.x), 0), min(f.x), max(f.x), avg(f.x), var_pop(f.x)
        FROM events q LEFT JOIN events f ON NOT f.asks AND f.who = q.who AND f.seq < q.seq
          AND f.time < (q.time // {step} + 1) * {step} AND f.time >= (q.time // {step} + 1) * {step} - {2 * HOUR}
        WHERE q.asks GROUP BY q.seq ORDER BY q.seq
    """).fetchnumpy()
    for column, masked in enumerate(found.values()):
        expected = np.ma.filled(np.ma.asarray(masked, float), np.nan)
        np.testing.assert_allclose(
            done.vectors[asked, column], expected, rtol=1e-6 if column == 5 else 1e-12, atol=1e-6 if column == 5 else 0
        )
