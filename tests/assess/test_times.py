"""Moments, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headwater.assess.times import MISSING, TimeReader
from headwater.core.errors import Fatal


def read(values, **options):
    reader = TimeReader("ts", "t.csv, --time", **options)
    for value in values if isinstance(values, list) else [values]:
        reader.add(value if isinstance(value, pa.Array) else pa.array(value))
    return reader.finish()


@pytest.mark.parametrize(
    "texts",
    [
        ["2013-01-01T05:15:00", "2013-06-01 05:15", "1960-01-01"],
        ["2013-01-01T05:15:00Z", "2013-06-01T05:15:00.25+02:00", "2013-06-01 05:15:00-0500"],
        ["2013-01-01T05:15:00.123456", "2013-01-01T05:15:00.000001"],
        ["2013-01-01T05:15:00.123456789", "2013-01-01T05:15:00.5"],
    ],
)
def test_texts(texts):
    expected = pd.to_datetime(pd.Series(texts), utc=True, format="ISO8601")
    np.testing.assert_array_equal(read([texts]), expected.dt.as_unit("ns").astype("int64") // 1_000_000)


@pytest.mark.parametrize(("factor", "as_text"), [(1, 0), (1, 1), (1e3, 0), (1e3, 1), (1e6, 0), (1e9, 1)])
def test_numbers_since_1970(factor, as_text):
    seconds = np.array([1_357_000_000, 1_388_500_000])
    values = (seconds * int(factor)).tolist()
    np.testing.assert_array_equal(read([[str(v) for v in values] if as_text else values]), seconds * 1000)


def test_columns_of_moments_and_days():
    moments = pd.to_datetime(["2013-01-01T05:15:00", "2014-01-01T00:00:00"])
    expected = moments.as_unit("ms").astype("int64")
    np.testing.assert_array_equal(read(pa.array(moments)), expected)
    np.testing.assert_array_equal(read(pa.array(moments.tz_localize("UTC").tz_convert("Asia/Shanghai"))), expected)
    np.testing.assert_array_equal(read(pa.array(moments.date)), moments.normalize().as_unit("ms").astype("int64"))


def test_small_numbers_only_count():
    reader = TimeReader("step", "t.csv")
    reader.add(pa.array([0, 1, 1, 5]))
    assert reader.finish().tolist() == [0, 1000, 1000, 5000]
    assert reader.is_count


def test_a_label_may_never_come():
    assert read([["2013-01-01", None]], may_miss=True).tolist() == [1_356_998_400_000, MISSING]


def test_mixed_zones_are_refused_with_both_examples_also_across_batches():
    with pytest.raises(Fatal, match=r"got '2013-01-01T00:00:00Z' in row 0 and '2013-01-02T00:00:00' in row 2"):
        read([["2013-01-01T00:00:00Z", "2013-01-02T00:00:00+01:00"], ["2013-01-02T00:00:00"]])


@pytest.mark.parametrize("bad", ["01/02/2013", "2013-13-01", "soon"])
def test_the_first_row_that_cannot_be_read_is_named(bad):
    with pytest.raises(Fatal, match=rf"row 3 \(from 0\).*got '{bad}'"):
        read([["2013-01-01", "2013-01-02"], ["2013-01-03", bad]])
