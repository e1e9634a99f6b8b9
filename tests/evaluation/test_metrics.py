"""Prequential metrics equal scikit-learn's on the same scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    roc_auc_score,
    root_mean_squared_error,
)

import headwater as hw
from headwater.core.compiled import kernel
from headwater.evaluation.metrics import BINS, auc_of_histogram, exact_auc, judge
from headwater.testing.events import Seen

from .conftest import HOUR, MINUTE, Ask, Told, folded, make_app


def log(seed, n, rate=0.4):
    """Questions with one label each, most of them before the next question."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        x = float(rng.normal())
        y = float(rng.random() < rate * np.exp(x) / 2)
        rows += [
            Seen(i * MINUTE, Ask(id_=f"q{i}", x=x, c="abc"[i % 3])),
            Seen(i * MINUTE + int(rng.integers(1, 5 * MINUTE)), Told(id_=f"q{i}", y=y)),
        ]
    return sorted(rows, key=lambda row: row.time_ms)


@pytest.fixture(scope="module")
def done():
    return folded(make_app(twins={"frozen": hw.once(after=50)}), log(0, 3000))


@pytest.mark.parametrize("expert", ["live", "frozen", "no_change"])
def test_binary_metrics_equal_scikit_learns(done, expert):
    report = done.fold.metrics()["m"]["overall"][expert]
    labels, scores = done.judged[:, 2], done.judged[:, 5 + ["live", "frozen", "no_change"].index(expert)]
    assert report["n"] == len(labels) == 3000
    assert report["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-10)
    assert report["brier"] == pytest.approx(brier_score_loss(labels, scores), rel=1e-10)
    assert report["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)
    assert (report["mean_label"], report["mean_score"]) == pytest.approx((labels.mean(), scores.mean()))
    if expert != "no_change":
        assert report["accuracy"] == pytest.approx(accuracy_score(labels, scores >= 0.5))


def test_kappa_temporal_by_hand():
    """no_change says the last outcome known when the question was asked; kappa is how much of its error is saved."""
    rows = log(1, 500)
    done = folded(make_app(), rows)
    last, asked = None, {}
    for row in rows:
        if isinstance(row.event, Told):
            if last is None or row.time_ms >= last[0]:
                last = (row.time_ms, row.event.y)
        else:
            asked[row.event.id_] = None if last is None else last[1]
    told = {r.event.id_: r.event.y for r in rows if isinstance(r.event, Told)}
    guesses = [asked[q] if asked[q] is not None else 1.0 for q in told]  # nothing known: (0 + 1) / (0 + 2) is a yes
    same = np.mean([g == y for g, y in zip(guesses, told.values(), strict=True)])
    live = np.mean((done.judged[:, 5] >= 0.5) == done.judged[:, 2])
    report = done.fold.metrics()["m"]["overall"]
    assert report["no_change"]["accuracy"] == pytest.approx(same)
    assert report["no_change"]["kappa_temporal"] == pytest.approx(0.0)
    assert report["live"]["kappa_temporal"] == pytest.approx((live - same) / (1 - same))


def test_regression_metrics_equal_scikit_learns():
    rng = np.random.default_rng(2)
    rows = []
    for i in range(400):
        x = float(rng.normal())
        rows += [
            Seen(i * MINUTE, Ask(id_=f"q{i}", x=x, c="a")),
            Seen(i * MINUTE + 1, Told(id_=f"q{i}", y=3 * x + float(rng.normal()))),
        ]
    done = folded(make_app(loss="squared"), rows)
    report = done.fold.metrics()["m"]["overall"]
    labels, live, same = done.judged[:, 2], done.judged[:, 5], done.judged[:, 6]
    assert report["live"]["mae"] == pytest.approx(mean_absolute_error(labels, live))
    assert report["live"]["rmse"] == pytest.approx(root_mean_squared_error(labels, live))
    assert report["live"]["mae_ratio_to_no_change"] == pytest.approx(
        mean_absolute_error(labels, live) / mean_absolute_error(labels, same)
    )
    assert same[1:].tolist() == labels[:-1].tolist()


def test_the_recent_window_forgets():
    """Ten blocks of 1,000 labels, of which the newest has 345: 9,345 are left of 12,345."""
    rng = np.random.default_rng(4)
    ys = np.concatenate([np.zeros(6000), (rng.random(6345) < 0.5)])
    rows = [
        row
        for i, y in enumerate(ys)
        for row in (Seen(2 * i, Ask(id_=f"q{i}", x=None, c="a")), Seen(2 * i + 1, Told(id_=f"q{i}", y=float(y))))
    ]
    done = folded(make_app(), rows)
    recent, overall = (done.fold.metrics()["m"][span]["live"] for span in ("recent", "overall"))
    assert (overall["n"], recent["n"]) == (12_345, 9_345)
    labels, scores = done.judged[-9345:, 2], done.judged[-9345:, 5]
    assert recent["mean_label"] == pytest.approx(labels.mean())
    assert recent["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-9)
    assert recent["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


@kernel
def _judge_all(labels, scores, sums, hist, panes, pane_hist):
    row = np.array([np.nan, 0.0, 0.0])
    for i in range(labels.size):
        row[1] = scores[i]
        judge(labels[i], row, 0, 1, 2, 0.0, 0.0, 1.0, sums, hist, panes, pane_hist, -1)


@pytest.mark.parametrize("rate", [0.5, 0.02, 0.001])
def test_auc_of_rare_outcomes(rate):
    """Scores all within a thousandth of 0 are told apart."""
    rng = np.random.default_rng(5)
    scores = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + rng.normal(size=200_000))))
    labels = (rng.random(200_000) < scores).astype(float)
    hist = np.zeros((2, 2, BINS), np.int64)
    _judge_all(labels, scores, np.zeros((2, 8)), hist, np.zeros((1, 2, 8)), np.zeros((1, 2, 2, BINS), np.int64))
    assert auc_of_histogram(hist[0]) == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.500001, 1.0])), min_size=1, max_size=60
)


@given(pairs)
def test_exact_auc_is_scikit_learns(drawn):
    labels, scores = np.array(drawn).T
    if len(set(labels)) == 1:
        assert np.isnan(exact_auc(labels, scores))
    else:
        assert exact_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_of_one_class_is_unknown():
    hist = np.zeros((2, 1024), np.int64)
    hist[0, 5] = 3
    assert np.isnan(auc_of_histogram(hist))


def test_no_change_learns_what_usually_follows():
    """After a yes, the share of yes after a yes, with one of each to start from."""
    rows = []
    for i, y in enumerate([1.0, 1.0, 0.0, 1.0]):
        rows += [Seen(i * HOUR, Ask(id_=f"q{i}", x=0.0, c="a")), Seen(i * HOUR + 1, Told(id_=f"q{i}", y=y))]
    done = folded(make_app(), rows)
    assert done.judged[:, -1].tolist() == pytest.approx([1 / 2, 1 / 2, 2 / 3, 1 / 2])
