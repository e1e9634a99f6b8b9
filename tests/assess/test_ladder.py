"""The ladder against the learner called row by row, and what it must never see."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error, roc_auc_score

from headwater.assess.choices import Choices
from headwater.assess.encoding import prepare
from headwater.assess.ladder import RUNGS, climb, learner_for
from headwater.assess.scores import scores_of
from headwater.assess.times import MISSING
from headwater.assess.verdict import persistence, verdict
from headwater.learning.kernels import learn_rows, score_rows
from headwater.learning.linear import LinearState

from .conftest import drifting, save

N = 1000


@pytest.fixture(params=["at once", "late"])
def encoded(request, tmp_path):
    """1,000 rows; late labels come up to 200 rows later, in another order, a few never."""
    made = prepare(save(tmp_path / "t.csv", drifting(N)), Choices("label", "ts")).encoded
    if request.param == "at once":
        return made
    rng = np.random.default_rng(1)
    known = made.time_ms + 30_000 * rng.integers(0, 400, N)
    known[::50] = MISSING
    y = np.where(known == MISSING, np.nan, made.y)
    return replace(made, known_ms=known, y=y)


def row_by_row(encoded):
    """The same walk in Python, with the learner's own kernels."""
    spec = learner_for(encoded)
    state = LinearState(spec, len(encoded.numbers), 0)
    said, published = np.zeros((N, 4)), {}
    waiting = list(range(N))

    def learn(row):
        part = slice(row, row + 1)
        learn_rows(
            state.weights, state.squares, state.stats, state.counts, encoded.xs[part], encoded.cs[part], encoded.y[part],
            state.params, np.zeros(1),
        )  # fmt: skip

    def score(row, weights, stats):
        out = np.zeros(1)
        score_rows(weights, stats, encoded.xs[row : row + 1], encoded.cs[row : row + 1], state.params, out)
        return out[0]

    for i in range(N):
        due = [r for r in waiting if r < i and _is_known(encoded, r, i)]
        for row in sorted(due, key=lambda r: (_due(encoded, r), encoded.known_ms[r], r)):
            learn(row)
        waiting = [r for r in waiting if r not in set(due)]
        for rung, every in (("1%", N // 100), ("5%", N // 20)):
            if i % every == 0:
                published[rung] = (state.weights.copy(), state.stats.copy())
        if i in (0, N // 5):
            published["frozen"] = (state.weights.copy(), state.stats.copy())
        said[i] = [score(i, state.weights, state.stats), *(score(i, *published[rung]) for rung in RUNGS[1:])]
    return said


def _is_known(encoded, row, i):
    return not np.isnan(encoded.y[row]) and (not encoded.is_delayed or encoded.known_ms[row] <= encoded.time_ms[i])


def _due(encoded, row):
    if not encoded.is_delayed:
        return row + 1
    return max(row + 1, int(np.searchsorted(encoded.time_ms, encoded.known_ms[row])))


def test_each_rung_is_the_learner_as_it_was_when_published(encoded):
    np.testing.assert_array_equal(climb(encoded).said, row_by_row(encoded))


def test_no_score_depends_on_a_label_that_is_not_known_yet(encoded):
    poisoned = encoded.y.copy()
    cut = 700
    known = encoded.known_ms if encoded.is_delayed else encoded.time_ms
    unknown = (known > encoded.time_ms[cut]) | (np.arange(N) >= cut)
    poisoned[unknown] = 1 - poisoned[unknown]
    before, after = climb(encoded), climb(replace(encoded, y=poisoned, known_ms=encoded.known_ms))
    np.testing.assert_array_equal(before.said[: cut + 1], after.said[: cut + 1])
    np.testing.assert_array_equal(before.last[: cut + 1], after.last[: cut + 1])
    assert (before.said[-1] != after.said[-1])[:3].all()


def test_no_change_is_the_last_known_label_of_the_key(encoded):
    keyed = replace(encoded, key=np.arange(N) % 3)
    last = climb(keyed).last
    for i in range(0, N, 37):
        known = [r for r in range(i) if _is_known(encoded, r, i)]
        newest = sorted(known, key=lambda r: (_due(encoded, r), encoded.known_ms[r], r))
        own = [r for r in newest if r % 3 == i % 3]
        expected = encoded.y[own[-1]] if own else encoded.y[newest[-1]] if newest else np.nan
        np.testing.assert_equal(last[i], expected)


def test_scores_against_scikit_learn(encoded):
    climbed = climb(encoded)
    scores = scores_of(encoded, climbed)
    judged = (np.arange(N) >= N // 5) & ~np.isnan(encoded.y)
    y = encoded.y[judged]
    for r, rung in enumerate(RUNGS):
        said = climbed.said[judged, r]
        assert scores[rung]["auc"] == pytest.approx(roc_auc_score(y, said), abs=1e-12)
        assert scores[rung]["log_loss"] == pytest.approx(log_loss(y, said), abs=1e-12)
        assert scores[rung]["accuracy"] == (y == (said >= 0.5)).mean()
    assert scores["no_change"] == {"accuracy": (climbed.last[judged] == y).mean()}


def test_regression(tmp_path):
    table = drifting(N)
    table["label"] = [100 + 20 * float(x) for x in table["x"]]
    encoded = prepare(save(tmp_path / "t.csv", table), Choices("label", "ts")).encoded
    climbed = climb(encoded)
    scores, y = scores_of(encoded, climbed), encoded.y[N // 5 :]
    for r, rung in enumerate(RUNGS):
        assert scores[rung]["mae"] == pytest.approx(mean_absolute_error(y, climbed.said[N // 5 :, r]), abs=1e-9)
        assert scores[rung]["rmse"] == pytest.approx(mean_squared_error(y, climbed.said[N // 5 :, r]) ** 0.5, abs=1e-9)
    assert scores["every_event"]["mae"] < scores["no_change"]["mae"]


def test_several_classes(tmp_path):
    table = drifting(N)
    table["label"] = [f"{s}{y}" for s, y in zip(table["shop"], table["label"], strict=True)]
    encoded = prepare(save(tmp_path / "t.csv", table), Choices("label", "ts")).encoded
    climbed = climb(encoded)
    scores = scores_of(encoded, climbed)
    p = climbed.said[N // 5 :]
    assert scores["every_event"]["log_loss"] == pytest.approx(-np.log(p[:, 0]).mean(), abs=1e-12)
    assert scores["every_event"]["accuracy"] > 0.45  # a shop's name gives its two classes away
    assert set(scores["no_change"]) == {"accuracy"}


def rungs(*values, measure="auc", no_change=None):
    names = ("every_event", "1%", "5%", "frozen")
    same = {"accuracy": 0.5} if no_change is None else no_change
    return {name: {measure: v, "accuracy": 0.7} for name, v in zip(names, values, strict=True)} | {"no_change": same}


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        (rungs(0.9, 0.85, 0.8, 0.8), "makes AUC 0.900 against 0.800.*it keeps 50 % of that gain, at each 5 % it keeps 0 %"),
        (rungs(0.801, 0.8, 0.8, 0.8), "next to nothing"),
        (rungs(0.7, 0.8, 0.8, 0.8), "does harm"),
        (rungs(0.9, 0.92, 0.7, 0.8), "it is even better, at each 5 % it is worse than frozen"),
    ],
)
def test_the_sentence(ladder, said):
    assert re.search(said, verdict(ladder, "binary"))


def test_a_better_no_change_is_told():
    assert persistence(rungs(0.9, 0.9, 0.9, 0.9), "binary") == ""
    assert "0.800 against 0.700" in persistence(rungs(0.9, 0.9, 0.9, 0.9, no_change={"accuracy": 0.8}), "binary")
