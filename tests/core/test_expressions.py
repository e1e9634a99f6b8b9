"""Expressions mean what SQL means: DuckDB is asked the same question about the same rows."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.batch import frame
from headwater.core.errors import DeclarationError
from headwater.core.expressions import check, evaluate, hash_values, owner


class Row(hw.Event, key="k"):
    k: hw.Field[str]
    a: hw.Field[float | None]
    b: hw.Field[float | None]
    i: hw.Field[int | None]
    s: hw.Field[str | None]
    t: hw.Field[str | None]
    f: hw.Field[bool | None]


class Other(hw.Event, key="k"):
    k: hw.Field[str]
    x: hw.Field[float]


floats = st.sampled_from([None, 0.0, -0.0, 1.0, 2.5, -3.0, 1e300, -0.125])
texts = st.sampled_from([None, "", "JFK", "jfk", "ü"])
rows = st.lists(
    st.builds(
        Row, k=st.just("k"), a=floats, b=floats, i=st.sampled_from([None, 0, 1, -7, 2**53]), s=texts, t=texts,
        f=st.sampled_from([None, False, True]),
    ),
    min_size=1, max_size=12,
)  # fmt: skip

# Trees are pairs: (expression, the same in SQL).
OPS = {">=": ">=", ">": ">", "<=": "<=", "<": "<", "==": "=", "!=": "<>"}
constants = st.sampled_from([0.0, 1.0, -3.0, 2.5])


def compare(op, left, right):
    return {">=": left.__ge__, ">": left.__gt__, "<=": left.__le__, "<": left.__lt__, "==": left.__eq__, "!=": left.__ne__}[op](
        right
    )


def arithmetic(op, left, right):
    made = {"+": left[0].__add__, "-": left[0].__sub__, "*": left[0].__mul__, "/": left[0].__truediv__}[op](right[0])
    return made, f"finite(({left[1]}) {op} ({right[1]}))"


def bucket(x, edges):
    return x[0].bucket(*edges), "(" + " + ".join(f"CAST(({x[1]}) >= {e} AS INT)" for e in edges) + ")"


numbers = st.recursive(
    st.sampled_from([(Row.a, "a"), (Row.b, "b"), (Row.i, "i")]),
    lambda inner: st.one_of(
        st.builds(arithmetic, st.sampled_from("+-*/"), inner, inner),
        st.builds(lambda x, c: (x[0].fill(c), f"coalesce({x[1]}, {c})"), inner, constants),
        st.builds(
            lambda x: (x[0].clip(-1, 2), f"CASE WHEN ({x[1]}) IS NOT NULL THEN least(greatest({x[1]}, -1), 2) END"), inner
        ),
        st.builds(bucket, inner, st.lists(constants, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)
# Outermost only: another last digit of a logarithm would turn a comparison around.
logarithms = st.builds(lambda x: (x[0].log1p(), f"(sign({x[1]}) * ln(1 + abs({x[1]})))"), numbers)
compared = st.one_of(
    st.builds(
        lambda op, x, y: (compare(op, x[0], y[0]), f"({x[1]}) {OPS[op]} ({y[1]})"), st.sampled_from(list(OPS)), numbers, numbers
    ),
    st.builds(
        lambda op, x, c: (compare(op, x[0], c), f"({x[1]}) {OPS[op]} {c}"), st.sampled_from(list(OPS)), numbers, constants
    ),
    st.builds(lambda x: (x[0].is_null(), f"({x[1]}) IS NULL"), numbers),
    st.sampled_from(
        [
            (Row.s == "JFK", "s = 'JFK'"),
            (Row.s != "JFK", "s <> 'JFK'"),
            (Row.s == Row.t, "s = t"),
            (Row.s != Row.t, "s <> t"),
            (Row.s.is_null(), "s IS NULL"),
            (Row.t == "", "t = ''"),
            (Row.f, "f"),
            (Row.f.is_null(), "f IS NULL"),
        ]
    ),
)
conditions = st.recursive(
    compared,
    lambda inner: st.one_of(
        st.builds(lambda x, y: (x[0] & y[0], f"(({x[1]}) AND ({y[1]}))"), inner, inner),
        st.builds(lambda x, y: (x[0] | y[0], f"(({x[1]}) OR ({y[1]}))"), inner, inner),
        st.builds(lambda x: (~x[0], f"(NOT ({x[1]}))"), inner),
    ),
    max_leaves=6,
)

database = duckdb.connect()
database.execute("SET threads = 1")
database.execute("CREATE MACRO finite(x) AS CASE WHEN isfinite(x) THEN x END")


def quoted(value):
    if value is None:
        return "NULL"
    return (
        "'" + value + "'"
        if isinstance(value, str)
        else f"'{value!r}'::DOUBLE"
        if isinstance(value, float)
        else str(value).upper()
    )


def asked_of_sql(events, sql):
    cells = (", ".join(quoted(v) for v in (n, e.a, e.b, e.i, e.s, e.t, e.f)) for n, e in enumerate(events))
    table = f"(VALUES {', '.join(f'({c})' for c in cells)}) AS v(n, a0, b0, i0, s0, t0, f0)"
    typed = "n, a0::DOUBLE a, b0::DOUBLE b, i0::DOUBLE i, s0::TEXT s, t0::TEXT t, f0::BOOLEAN f"
    found = database.execute(f"SELECT CAST(({sql}) AS DOUBLE) FROM (SELECT {typed} FROM {table}) ORDER BY n").fetchall()
    return np.array([np.nan if value is None else value for (value,) in found])


NOTHING, NAN = None, float("nan")  # by name: linters know better than to compare with them


def value_of(expr, events):
    check(expr)
    return evaluate(expr, frame(Row.schema, events), np.arange(len(events)))


@settings(max_examples=150)
@given(rows, st.one_of(numbers, logarithms, conditions))
def test_every_expression_equals_sql(events, tree):
    expr, sql = tree
    np.testing.assert_allclose(value_of(expr, events), asked_of_sql(events, sql), rtol=1e-12, atol=1e-15)


def test_three_valued_logic_by_hand():
    events = [Row(k="k", f=f, a=a) for f in (None, False, True) for a in (None, 0.0, 1.0)]
    nan = np.nan
    np.testing.assert_array_equal(value_of(Row.f & (Row.a > 0), events), [nan, 0, nan, 0, 0, 0, nan, 0, 1])
    np.testing.assert_array_equal(value_of(Row.f | (Row.a > 0), events), [nan, nan, 1, nan, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(value_of(~Row.f, events), [nan, nan, nan, 1, 1, 1, 0, 0, 0])


def test_a_null_on_either_side_of_a_comparison_of_texts_is_null():
    events = [Row(k="k", s=s, t=t) for s in (None, "", "a") for t in (None, "", "a")]
    nan = np.nan
    np.testing.assert_array_equal(value_of(Row.s == Row.t, events), [nan, nan, nan, nan, 1, 0, nan, 0, 1])
    np.testing.assert_array_equal(value_of(Row.s != Row.t, events), [nan, nan, nan, nan, 0, 1, nan, 1, 0])
    np.testing.assert_array_equal(value_of(Row.s == "", events), [nan, nan, nan, 1, 1, 1, 0, 0, 0])


def test_arithmetic_without_a_finite_result_is_null():
    events = [Row(k="k", a=1e300, b=0.0)]
    for expr in (Row.a / Row.b, Row.a * Row.a, Row.a - Row.a / Row.b):
        assert np.isnan(value_of(expr, events)[0])
        assert value_of(expr.is_null(), events)[0] == 1.0


@given(st.lists(st.integers(-9 * 10**12, 9 * 10**12), min_size=1, max_size=20), st.integers(-14, 14))
def test_parts_of_time_equal_those_of_pandas(times, offset):
    events = [Row(k="k")] * len(times)
    stamps = pd.to_datetime(pd.Series(times) + offset * 3_600_000, unit="ms")
    args = (frame(Row.schema, events), np.array(times))
    hours = stamps.dt.hour + stamps.dt.minute / 60 + stamps.dt.second / 3600 + stamps.dt.microsecond / 3.6e9
    np.testing.assert_allclose(evaluate(hw.hour(Row, utc_offset=f"{offset:+d}h"), *args), hours, atol=1e-9)
    np.testing.assert_array_equal(evaluate(hw.day(Row, utc_offset=f"{offset:+d}h"), *args), (stamps - pd.Timestamp(0)).dt.days)
    np.testing.assert_array_equal(evaluate(hw.weekday(Row, utc_offset=f"{offset:+d}h"), *args), stamps.dt.day_of_week)


def test_hash_values_are_equal_where_values_are():
    events = [
        Row(k="k", s="a", a=1.0),
        Row(k="j", s="a", a=1.0),
        Row(k="k", s=None, a=1.0),
        Row(k="k", s="", a=-0.0),
        Row(k="k", s="", a=0.0),
    ]
    hashed = hash_values((Row.s, Row.a), frame(Row.schema, events), np.arange(5))
    assert hashed[0] == hashed[1]
    assert hashed[3] == hashed[4]
    assert len(set(hashed.tolist())) == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Row.a > 1 and Row.b > 1,
            r"\(> row\.a 1\.0\): an expression has no truth value.*expected & \| ~; got and, or, not, if.*brackets",
        ),
        (lambda: 0 < Row.a < 5, "an expression has no truth value"),
        (lambda: not Row.f, "an expression has no truth value"),
        (
            lambda: Row.a >= 15 | Row.b.is_null(),
            r"15 \| .*: a constant takes part in '\|'.*write \(a >= 1\) \| \(b\) with brackets",
        ),
        (lambda: Row.a >= 15 & Row.b.is_null(), "a constant takes part in '&'"),
        (lambda: check((Row.a > 1) & Row.b), r"a number takes part in '&'; expected conditions; got row\.b.*brackets"),
        (lambda: check(~Row.a), "a number takes part in '~'"),
        (lambda: check((Row.a > 1) | (Row.b + 1)), r"a number takes part in '\|'"),
        (lambda: check(Row.s + 1), r"a text takes part in '\+'; expected numbers; got row\.s\. Compare texts"),
        (lambda: check(Row.a * "x"), r"a text takes part in '\*'"),
        (lambda: check(Row.s > "a"), "a text takes part in '>'"),
        (lambda: check(Row.s.fill(1)), "a text takes part in 'fill'"),
        (lambda: check((Row.a > 1) & Row.s), "a text takes part in '&'"),
        (lambda: check(Row.s == 1), "a text is compared with a number.*expected two texts or two numbers"),
        (lambda: check(Row.a == "1"), "a text is compared with a number"),
        (
            lambda: Row.a == NOTHING,
            r"row: a constant of this type.*got NoneType\. Ask whether a value is missing with \.is_null\(\)",
        ),
        (lambda: Row.a == [1], "a constant of this type.*expected a number or text; got list"),
        (lambda: Row.a == NAN, r"this constant cannot be compared.*got nan.*is_null"),
        (lambda: Row.i == 2**53 + 1, r"this constant cannot be compared; expected a number; integers up to 2\^53.*as text"),
        (lambda: Row.a + Other.x, r"one expression uses the streams row and other; expected fields of one stream.*Aggregate"),
        (lambda: Row.a.clip(2, 1), r"row\.a: the bounds of a clip are in the wrong order; expected low <= high; got 2, 1"),
        (Row.a.bucket, "a bucket needs an edge"),
        (lambda: owner(3), "an aggregate's value is no expression.*got 3"),
        (lambda: owner(Row), "an aggregate's value is no expression"),
        (lambda: hw.hour(Row, utc_offset="five"), "hw.hour: this is not a duration"),
        (lambda: hw.weekday(Row.a), r"hw\.weekday takes a stream.*expected an hw\.Event class"),
    ],
)
def test_a_mistake_is_refused_with_what_to_write_instead(make, says):
    with pytest.raises(DeclarationError, match=says):
        make()


def test_equal_expressions_have_equal_texts_and_hashes():
    assert (
        ((Row.a > 1) | Row.b.is_null()).text() == ((Row.a > 1) | Row.b.is_null()).text() == "(| (> row.a 1.0) (is_null row.b))"
    )
    assert hash(Row.a > 1) == hash(Row.a > 1.0)
