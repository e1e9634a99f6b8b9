from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.batch import Column, Text, column
from headwater.core.hashing import NULL, combine, hash_column, hash_floats, hash_text
from headwater.core.schema import FieldSpec, Kind

STR, INT, FLOAT = (FieldSpec("x", kind, nullable=True) for kind in (Kind.STR, Kind.INT, Kind.FLOAT))
strings = st.lists(st.none() | st.text(max_size=20), min_size=1, max_size=30)
ints = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30)
floats = st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=30)


@given(st.one_of(st.tuples(st.just(STR), strings), st.tuples(st.just(INT), ints), st.tuples(st.just(FLOAT), floats)), st.data())
def test_a_value_has_one_hash_in_any_batch(drawn, data):
    spec, values = drawn
    whole = hash_column(column(spec, values))
    cut = data.draw(st.integers(0, len(values)))
    parts = [hash_column(column(spec, part)) for part in (values[:cut], values[cut:])]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1))), np.int64)
    np.testing.assert_array_equal(hash_column(column(spec, values).take(rows)), whole[rows])
    assert len(set(whole.tolist())) == len(set(values))  # -0.0 == 0.0 here too; a collision has odds of 1e-17


def test_both_zeros_are_one_number_and_nan_is_null():
    assert hash_floats(np.array([0.0]))[0] == hash_floats(np.array([-0.0]))[0]
    assert hash_floats(np.array([np.nan]))[0] == hash_floats(-np.array([np.nan]))[0] == NULL


def test_kinds_and_nulls_are_told_apart():
    hashed = [
        hash_column(column(STR, ["1"]))[0], hash_column(column(INT, [1]))[0], hash_column(column(FLOAT, [1.0]))[0],
        hash_column(column(STR, [""]))[0], hash_column(column(INT, [0]))[0], hash_column(column(STR, [None]))[0],
    ]  # fmt: skip
    assert len(set(hashed)) == len(hashed)
    assert hash_column(column(INT, [None]))[0] == hash_column(column(STR, [None]))[0] == NULL


def test_a_strided_column_hashes_like_a_dense_one():
    values = np.arange(20, dtype=np.int64)
    np.testing.assert_array_equal(hash_column(Column(values[::2])), hash_column(Column(values[::2].copy())))
    np.testing.assert_array_equal(hash_floats(values[::3].astype(float)), hash_floats(values.astype(float)[::3]))


def test_seeds_are_independent_and_tuples_have_an_order():
    text = Text.of(["a", "b", "ab"])
    assert not set(hash_text(text, 0).tolist()) & set(hash_text(text, 1).tolist())
    a, b = hash_text(Text.of(["a"])), hash_text(Text.of(["b"]))
    assert combine([a, b])[0] != combine([b, a])[0] != combine([a, a])[0]
    assert combine([a])[0] == a[0]


def test_hashes_are_the_same_for_ever():
    """Saved states hold hashes: another value here needs a new format of states."""
    assert hash_text(Text.of(["", "JFK", "headwater!"])).tolist() == [
        12035550249420947055,
        2840962103261977071,
        7503120045571245350,
    ]
    assert hash_floats(np.array([1.5])).tolist() == [12087477522846441424]
    assert hash_column(column(INT, [7])).tolist() == [9672475392221035855]


@given(st.lists(st.text(max_size=12), min_size=2, max_size=2, unique=True))
def test_one_flipped_text_moves_about_half_of_the_bits(pair):
    one, other = hash_text(Text.of(pair)).tolist()
    assert 8 <= (one ^ other).bit_count() <= 56
