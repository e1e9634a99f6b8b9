"""Questions and labels by score: what is counted, what is blind, and that batches and restarts change none of it."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.evaluation.answered import Answered, blind
from headwater.faults.world import Recipe, lived, requests, shop
from headwater.log.protocol import Chunk
from headwater.runtime.fold import Fold
from headwater.testing.events import split


def test_scores_are_counted_in_ten_ranges_and_what_is_none_in_no_range():
    told = Answered()
    told.ask(np.array([0.0, 0.05, 0.1, 0.55, 0.999, 1.0, np.nan]))
    told.label(np.array([0.55]))
    assert told.report()["asked"] == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert told.report()["labelled"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("asked", "labelled", "expected"),
    [
        ([100] * 10, [80] * 10, []),
        ([100] * 10, [80] * 7 + [0, 3, 5], [7, 8]),  # at least a twentieth of the best share is some light
        ([100] * 8 + [32, 0], [100] * 8 + [0, 0], []),  # too few to say ...
        ([100] * 8 + [33, 0], [100] * 8 + [0, 0], [8]),  # ... and just enough
        ([100] * 9 + [28], [100] * 9 + [1], []),  # 1 of 28 may well be chance where a quarter is let through
        ([100] * 6 + [12, 0, 12, 12], [100] * 6 + [0] * 4, [6, 8, 9]),  # too few each, and enough together
        ([100] * 10, [0] * 10, []),  # no label yet anywhere: they may all be on their way
    ],
)
def test_a_range_is_blind_where_others_are_answered_and_it_is_not(asked, labelled, expected):
    assert blind(np.array([asked, labelled])) == expected


def test_who_explores_a_quarter_is_hardly_ever_warned_and_who_explores_nothing_is_soon():
    best, n_warned = 0.9, {0.25: 0, 0.0: 0}
    rng = np.random.default_rng(0)
    for share in n_warned:
        for _ in range(5_000):
            asked = np.array([400, *rng.integers(20, 200, 3)])
            counts = np.array([np.pad(asked, (0, 6)), np.pad(rng.binomial(asked, [best, *[share * best] * 3]), (0, 6))])
            n_warned[share] += len(blind(counts)) > 0
    assert n_warned[0.25] <= 5  # half a one is expected at the most
    assert n_warned[0.0] == 5_000


@pytest.mark.parametrize("sizes", [(1,), (7, 3), (100,)])
def test_every_question_and_first_label_is_counted_whatever_the_batches(sizes):
    app = shop()
    run = lived(app, requests(Recipe(3, orders=200)))
    fold = Fold(app)
    for chunk in run.log.read(0):
        for part in split(chunk.batch, sizes):
            fold.step(Chunk(fold.seq, part))
    for name, model in fold.models.items():
        told, questions = model.report()["labels_by_score"], model.report()["questions"]
        assert told == run.fold.models[name].report()["labels_by_score"]
        assert sum(told["asked"]) == questions["scored"] > 100
        by_expiry = questions["labelled"] - sum(told["labelled"])
        assert by_expiry == 0 if name == "slow" else by_expiry > 0
    assert fold.state_hash() == run.fold.state_hash()
