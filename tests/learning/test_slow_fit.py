"""How a slow model is fitted on examples: anew, going on from trees, and what it loses alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error

from headwater.learning.boosted import Boosted
from headwater.learning.forest import margins_of
from headwater.learning.slow_fit import SlowFit, base_of

pytest.importorskip("lightgbm")
BASES = (2,)


def examples(loss, n=1_200):
    """float64[n, 2 + 3]: label, answer, two numbers, the last label."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(float) if loss == "log" else x[:, 0] * x[:, 1] + x[:, 2]
    return np.column_stack([y, np.zeros(n), x])


@pytest.mark.parametrize("loss", ["log", "squared"])
def test_more_trees_go_on_from_the_older_ones_on_other_examples(loss):
    fit, rows = SlowFit(loss, 8, 6, 0.1, 10, (0, 1), BASES), examples(loss)
    forest = fit.fit(rows[:600])
    grown = fit.grow(forest, 3, rows[600:])
    targets = rows[:, 0] if loss == "log" else rows[:, 0] - base_of(rows[:, 2:], BASES)
    spec = Boosted("log" if loss == "log" else "absolute", 8, 6, 0.1, min_data_in_leaf=10)
    x = np.ascontiguousarray(rows[:, 2:4])
    expected = spec.after(spec.fit(x[:600], targets[:600]), 3).fit(x[600:], targets[600:])
    assert (forest.roots.size, grown.roots.size) == (8, 11)
    np.testing.assert_array_equal(margins_of(grown, x, 0, 1_200), margins_of(expected, x, 0, 1_200))
    assert fit.lost(grown, rows[600:]).mean() < fit.lost(forest, rows[600:]).mean()


@pytest.mark.parametrize("loss", ["log", "squared"])
def test_what_a_forest_loses_alone_is_what_scikit_learn_says(loss):
    fit, rows = SlowFit(loss, 8, 6, 0.1, 10, (0, 1), BASES), examples(loss)
    forest = fit.fit(rows)
    margins = margins_of(forest, np.ascontiguousarray(rows[:, 2:4]), 0, len(rows))
    if loss == "log":
        expected = log_loss(rows[:, 0], 1 / (1 + np.exp(-margins)))
    else:
        expected = mean_absolute_error(rows[:, 0], margins + rows[:, 4])
    assert fit.lost(forest, rows).mean() == pytest.approx(expected)
