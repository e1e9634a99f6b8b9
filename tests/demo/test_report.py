"""The demo's arithmetic, against scikit-learn and plain resampling."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from headwater.demo.report import Judged, auc_margin, calibration_error, collect, daily, days_of, figures, log_loss
from headwater.demo.screen import EXPERTS
from headwater.evaluation.metrics import exact_auc

DAY_MS = 86_400_000


def _judged(n_days: int = 60, a_day: int = 80, seed: int = 0) -> Judged:
    """Live sees each day's level, nightly does not."""
    chance = np.random.default_rng(seed)
    level = np.repeat(chance.normal(0, 1.0, n_days), a_day)
    signal = chance.normal(0, 1, level.size)
    label = (chance.random(level.size) < 1 / (1 + np.exp(-(signal + level - 1)))).astype(np.float64)
    time = np.repeat(np.arange(n_days) * DAY_MS, a_day) + 10 * 3_600_000.0
    good, blind = 1 / (1 + np.exp(-(signal + level - 1))), 1 / (1 + np.exp(-(signal - 1)))
    scores = dict.fromkeys(EXPERTS, blind)
    return Judged(time, label, {**scores, "live": good})


def test_figures_agree_with_scikit_learn() -> None:
    judged = _judged()
    said = figures(judged)
    for name in ("live", "nightly"):
        y, p = judged.label, judged.scores[name]
        assert said["auc"][name] == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
        assert said["log_loss"][name] == pytest.approx(metrics.log_loss(y, p), abs=1e-12)
        assert said["accuracy"][name] == pytest.approx(metrics.accuracy_score(y, p >= 0.5), abs=1e-12)


def test_margin_is_that_of_the_pooled_auc_and_its_interval_that_of_resampled_days() -> None:
    judged = _judged()
    margin, low, high = auc_margin(judged, draws=400)
    y = judged.label
    assert margin == exact_auc(y, judged.scores["live"]) - exact_auc(y, judged.scores["nightly"])
    days, chance, gaps = days_of(judged), np.random.default_rng(5), []
    for _ in range(400):  # the plain way: draw days, put their flights together, compute both AUCs
        rows = np.concatenate([np.flatnonzero(days == d) for d in chance.integers(0, 60, 60)])
        gaps.append(exact_auc(y[rows], judged.scores["live"][rows]) - exact_auc(y[rows], judged.scores["nightly"][rows]))
    assert (low, high) == pytest.approx(np.percentile(gaps, (2.5, 97.5)), abs=0.01)
    assert low > 0


def test_equal_experts_have_no_margin() -> None:
    judged = _judged()
    same = Judged(judged.time, judged.label, {**judged.scores, "live": judged.scores["nightly"]})
    assert auc_margin(same, draws=50) == (0.0, 0.0, 0.0)
    assert daily(same, log_loss) == (0.0, 0.0, 0.0)


def test_days_are_new_yorks() -> None:
    hours = np.array([4.9, 5.0, 28.9, 29.0]) * 3_600_000  # 5 h UTC is midnight there
    assert days_of(Judged(hours, hours, {})).tolist() == [0, 1, 1, 2]


def test_calibration_error_by_hand() -> None:
    score, label = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    assert calibration_error(label, score) == pytest.approx((abs(0.2 - 1.0) + abs(1.8 - 2.0)) / 4)


def test_the_first_fifth_is_left_out_in_the_order_of_questions() -> None:
    experts = {
        "late": ["live", "nightly", "frozen", "no_change"], "practice": ["live", "frozen", "no_change"],
        "planned": ["live", "no_change"],
    }  # fmt: skip
    rows = {}
    for model, names in experts.items():
        made = np.zeros((10, 5 + len(names)))
        made[:, 0] = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]  # labels came in the opposite order
        made[:, 2] = made[:, 0] % 2
        made[:, 5:] = made[:, :1] / 10
        rows[model] = made
    judged = collect(rows, experts)
    assert judged.label.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert judged.scores["yesterday"].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
