"""Labels until the loss is back, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.core.errors import Fatal
from headwater.frontier.recovery import RUN, changes_of, recoveries

from .conftest import history


def test_it_counts_labels_until_the_first_run_that_is_back():
    losses = np.full(5000, 0.2)
    losses[2000:2300] = 1.0
    losses[2050] = np.nan
    found = recoveries(losses, [2000])[0]
    assert (found.row, found.level, found.worst) == (2000, pytest.approx(0.2), pytest.approx(1.0))
    # 299 bad labels; a run of 100 may hold one of them and is then 0.208 in the mean, within a twentieth of 0.2.
    assert found.n_labels == 299 + RUN - 1


def test_what_does_not_come_back_before_the_next_change_is_not_known():
    losses = np.full(4000, 0.2)
    losses[1000:3000] = 1.0
    assert [each.n_labels for each in recoveries(losses, [1000, 2000, 3950])] == [None, RUN, None]


def test_no_harm_is_over_with_the_first_run():
    assert recoveries(np.full(3000, 0.5), [1500])[0].n_labels == RUN


def test_changes_are_rows_or_a_column():
    encoded = history(1500)
    assert changes_of(encoded, "20, 10,10") == [10, 20]
    expected = np.flatnonzero(np.diff(encoded.cs[:, 0])) + 1
    assert changes_of(encoded, "kind") == expected.tolist()
    with pytest.raises(Fatal, match="row or a column"):
        changes_of(encoded, "wat")
    with pytest.raises(Fatal, match="outside of the history"):
        changes_of(encoded, "0")


def test_without_a_known_change_there_is_nothing_to_tell():
    assert recoveries(np.full(500, 0.2), []) == []
