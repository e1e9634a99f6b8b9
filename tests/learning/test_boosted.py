"""The flat forest says what LightGBM says."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.learning.boosted import Boosted, FitStopped
from headwater.learning.forest import margins_of

lightgbm = pytest.importorskip("lightgbm")


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("loss", ["log", "absolute"])
def test_margins_equal_the_library_s_own(loss, holes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 4))
    x[:, 3] = rng.integers(0, 4, 1500)
    if holes:
        x[rng.random(x.shape) < 0.2] = np.nan
    signal = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) * np.nan_to_num(x[:, 3])
    y = (signal > 0).astype(float) if loss == "log" else 10 + signal
    spec = Boosted(loss, trees=12, leaves=8)
    forest = spec.fit(x, y)
    base = np.log(y.mean() / (1 - y.mean())) if loss == "log" else np.median(y)
    params = {
        "objective": "binary" if loss == "log" else "regression_l1", "num_leaves": 8, "learning_rate": 0.1, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, "verbosity": -1, "boost_from_average": False, "min_data_in_leaf": 20,
    }  # fmt: skip
    data = lightgbm.Dataset(x, y, init_score=np.full(y.size, base))
    booster = lightgbm.train(params, data, num_boost_round=12)
    probes = np.vstack([x, np.full((1, 4), np.nan)])
    np.testing.assert_allclose(
        margins_of(forest, probes, 0, len(probes)), booster.predict(probes, raw_score=True) + base, atol=1e-9
    )


@pytest.mark.parametrize("loss", ["log", "absolute"])
def test_more_trees_equal_the_library_s_own_continued_training(loss):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3000, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(float) if loss == "log" else x[:, 0] + 3 * x[:, 1]
    spec, new = Boosted(loss, trees=10, leaves=8), slice(1500, 3000)
    forest = spec.fit(x[:1500], y[:1500])
    grown = spec.after(forest, 5).fit(x[new], y[new])
    assert grown.roots.size == 15
    base = float(np.log(y[:1500].mean() / (1 - y[:1500].mean())) if loss == "log" else np.median(y[:1500]))
    params = {
        "objective": "binary" if loss == "log" else "regression_l1", "num_leaves": 8, "learning_rate": 0.1, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, "verbosity": -1, "boost_from_average": False, "min_data_in_leaf": 20,
    }  # fmt: skip
    first = lightgbm.train(params, lightgbm.Dataset(x[:1500], y[:1500], init_score=np.full(1500, base)), num_boost_round=10)
    start = first.predict(x[new], raw_score=True) + base
    more = lightgbm.train(params, lightgbm.Dataset(x[new], y[new], init_score=start), num_boost_round=5)
    expected = first.predict(x, raw_score=True) + base + more.predict(x, raw_score=True)
    np.testing.assert_allclose(margins_of(grown, x, 0, len(x)), expected, atol=1e-9)


def test_the_same_labels_give_the_same_bits():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 3)), rng.integers(0, 2, 500).astype(float)
    first, second = Boosted(trees=5).fit(x, y), Boosted(trees=5).fit(x, y)
    np.testing.assert_array_equal(first.values, second.values)


def test_a_fit_can_be_stopped():
    rng = np.random.default_rng(2)
    with pytest.raises(FitStopped, match="stopped"):
        Boosted().fit(rng.normal(size=(500, 3)), rng.integers(0, 2, 500).astype(float), lambda: True)


def test_one_class_gives_a_constant():
    forest = Boosted(trees=3).fit(np.arange(100.0)[:, None], np.ones(100))
    assert margins_of(forest, np.array([[5.0]]), 0, 1)[0] > 10
