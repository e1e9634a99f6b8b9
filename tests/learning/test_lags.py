"""Label lags hold nothing but labels that are known, against a slow recomputation in pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.learning.lags import known_before, label_lags, order_of


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), n_keys=st.integers(0, 3), delay=st.integers(0, 30), seed=st.integers(0, 2**32 - 1))
def test_lags_are_what_pandas_makes_of_the_known_labels(n, n_keys, delay, seed):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 20, n))
    known = time + rng.integers(0, delay + 1, n)
    label = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 2, n).astype(float))
    key = rng.integers(0, max(n_keys, 1), n)
    order = order_of(known)
    ready = known_before(time, known, order)
    lags = label_lags(label, key, n_keys, order, ready)
    for i in range(n):
        earlier = [j for j in order if j < i and known[j] <= time[i]]
        assert ready[i] == len(earlier)
        for at, rows in ((0, earlier), (3, [j for j in earlier if key[j] == key[i]])):
            if at >= lags.shape[1]:
                continue
            values = pd.Series([label[j] for j in rows], dtype=float).dropna()
            if values.empty:
                assert np.isnan(lags[i, at : at + 3]).all()
                continue
            expected = [values.iloc[-1], *(values.ewm(alpha=a, adjust=False).mean().iloc[-1] for a in (0.1, 0.01))]
            np.testing.assert_allclose(lags[i, at : at + 3], expected, atol=1e-12)


def test_labels_of_the_future_change_nothing():
    rng = np.random.default_rng(0)
    time, label = np.arange(50), rng.integers(0, 2, 50).astype(float)
    known = time + 10
    order = order_of(known)
    ready = known_before(time, known, order)
    none = np.zeros(0, np.int64)
    before = label_lags(label, none, 0, order, ready)
    label[30:] = 1 - label[30:]
    np.testing.assert_array_equal(before[:40], label_lags(label, none, 0, order, ready)[:40])
