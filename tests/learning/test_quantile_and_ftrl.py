"""Pinball loss is River's; FTRL-proximal is the paper's algorithm, spelled out; both do what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from river import linear_model, optim, preprocessing
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import mean_pinball_loss

import headwater as hw
from headwater.learning.kernels import learn_rows
from headwater.learning.linear import Linear, LinearState
from headwater.testing import LocalRun


def learnt(spec, xs, ys, cs=None, state=None):
    state, out = state or LinearState(spec, xs.shape[1], 0), np.zeros(len(ys))
    cs = np.zeros((len(ys), 0), np.int64) if cs is None else cs
    learn_rows(state.weights, state.squares, state.stats, state.counts, xs, cs, ys, state.params, out)
    return state, out


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_quantile_steps_are_rivers(tau):
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(1500, 4)) * [1, 10, 0.1, 3]
    ys = xs @ [1.0, -0.1, 2.0, 0.0] + rng.normal(size=1500)
    spec = Linear(loss="quantile", tau=tau, optimizer="sgd", eta0=0.02, intercept_eta=0.01, clip_z=np.inf, bits=4)
    state, got = learnt(spec, xs, ys)
    inner = linear_model.LinearRegression(optimizer=optim.SGD(0.02), loss=optim.losses.Quantile(tau), intercept_lr=0.01)
    model, expected = preprocessing.StandardScaler() | inner, np.zeros(1500)
    for i, (x, y) in enumerate(zip(xs.tolist(), ys.tolist(), strict=True)):
        named = dict(enumerate(x))
        expected[i] = model.predict_one(named)
        model.learn_one(named, y)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert state.weights[0] == pytest.approx(inner.intercept, abs=1e-9)


@pytest.mark.parametrize("tau", [0.2, 0.9])
def test_it_comes_near_the_best_linear_quantile(tau):
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(4000, 2))
    ys = 2 * xs[:, 0] + rng.exponential(1 + np.abs(xs[:, 1]))
    best = QuantileRegressor(quantile=tau, alpha=0.0, solver="highs").fit(xs, ys)
    state = None
    for epoch in range(20):
        order = np.random.default_rng(epoch).permutation(4000)
        spec = Linear(loss="quantile", tau=tau, optimizer="sgd", standardize=False, eta0=0.1, alpha=0.01, bits=4)
        state, _ = learnt(spec, xs[order], ys[order], state=state)
    mine = state.weights[0] + xs @ state.weights[1:3]
    assert mean_pinball_loss(ys, mine, alpha=tau) < 1.005 * mean_pinball_loss(ys, best.predict(xs), alpha=tau)
    assert np.mean(ys <= mine) == pytest.approx(tau, abs=0.02)


class Ftrl:
    """Algorithm 1 of McMahan et al. (2013), one coordinate at a time, on dictionaries."""

    def __init__(self, alpha, beta, l1, l2):
        self.alpha, self.beta, self.l1, self.l2 = alpha, beta, l1, l2
        self.z, self.n = {}, {}

    def weight(self, i):
        z, n = self.z.get(i, 0.0), self.n.get(i, 0.0)
        l1, l2 = (0.0, 0.0) if i == "intercept" else (self.l1, self.l2)
        if abs(z) <= l1:
            return 0.0
        return -(z - np.sign(z) * l1) / ((self.beta + n**0.5) / self.alpha + l2)

    def learn(self, x, slope):
        for i, xi in x.items():
            g, n, w = slope * xi, self.n.get(i, 0.0), self.weight(i)
            self.z[i] = self.z.get(i, 0.0) + g - ((n + g * g) ** 0.5 - n**0.5) / self.alpha * w
            self.n[i] = n + g * g


@pytest.mark.parametrize(("l1", "l2", "beta"), [(0.0, 0.0, 1.0), (1.0, 0.1, 1.0), (3.0, 0.0, 0.0)])
@pytest.mark.parametrize("loss", ["log", "squared", "quantile"])
def test_ftrl_is_the_papers_algorithm(loss, l1, l2, beta):
    rng = np.random.default_rng(2)
    xs, cs = rng.normal(size=(1200, 3)), rng.integers(7, 23, (1200, 2))
    xs[rng.random(xs.shape) < 0.1] = np.nan
    z = np.nan_to_num(xs) @ [2.0, -1.0, 0.0] + (cs[:, 0] == 9)
    ys = (rng.random(1200) < 1 / (1 + np.exp(-z))).astype(float) if loss == "log" else z + rng.normal(size=1200)
    tau = {"tau": 0.8} if loss == "quantile" else {}
    spec = Linear(loss=loss, optimizer="ftrl", eta0=0.1, beta=beta, l1=l1, l2=l2, standardize=False, bits=4, **tau)
    state, got = learnt(spec, xs, ys, cs)
    oracle, expected = Ftrl(0.1, beta, l1, l2), []
    for x, c, y in zip(xs, cs, ys, strict=True):
        named = {"intercept": 1.0} | {1 + j + 3 * np.isnan(v): 1.0 if np.isnan(v) else v for j, v in enumerate(x)}
        total = sum(oracle.weight(i) * v for i, v in named.items()) + sum(oracle.weight(i) for i in c)
        score = 1 / (1 + np.exp(-total)) if loss == "log" else total
        expected.append(score)
        slope = {"log": score - y, "squared": 2 * (score - y), "quantile": float(score > y) - 0.8}[loss]
        oracle.learn(named, slope)
        for i in c:  # two of one example on the same weight take a step each
            oracle.learn({i: 1.0}, slope)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert np.all((state.weights == 0) == [oracle.weight("intercept" if i == 0 else i) == 0 for i in range(23)])


def test_ftrl_with_l1_leaves_what_is_not_needed_at_zero():
    rng = np.random.default_rng(3)
    xs = rng.normal(size=(3000, 20))
    ys = (rng.random(3000) < 1 / (1 + np.exp(-2 * xs[:, 0] + 2 * xs[:, 1]))).astype(float)
    sparse, scores = learnt(Linear(optimizer="ftrl", l1=60.0, bits=4), xs, ys)
    dense, others = learnt(Linear(optimizer="ftrl", bits=4), xs, ys)
    assert np.flatnonzero(sparse.weights[1:21]).tolist() == [0, 1]
    assert np.count_nonzero(dense.weights[1:21]) == 20
    loss = [-np.mean(np.log(np.where(ys > 0, p, 1 - p))[1000:]) for p in (scores, others)]
    assert loss[0] < loss[1] + 0.05


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    x: hw.Field[float]


class Told(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    y: hw.Field[float]


def test_a_quantile_is_judged_by_its_pinball_loss_and_coverage():
    label = hw.label(Told.y, join=Told.id_, on=Ask.id_, within="1h")
    model = hw.Model("m", on=Ask, features=[Ask.x], label=label, learner=hw.Linear(loss="quantile", tau=0.9, eta0=0.5))
    run, rng = LocalRun(hw.App("a", models=[model])), np.random.default_rng(4)
    for i in range(300):
        run.send(Ask(id_=str(i), x=rng.normal()), time=i * 60_000)
        run.send(Told(id_=str(i), y=rng.normal()), time=i * 60_000)
        if i == 100:  # a correction takes the first verdict back
            run.send(Told(id_="100", y=5.0), time=i * 60_000)
    judged = np.concatenate([part for effect in run.effects for part in effect.judged.get("m", [])])
    last = {row[0]: row for row in judged}  # the newest verdict on each question
    labels, scores = np.array([row[2] for row in last.values()]), np.array([row[5:7] for row in last.values()])
    overall = run.metrics()["m"]["overall"]
    for expert, score in zip(("live", "no_change"), scores.T, strict=True):
        assert overall[expert]["pinball"] == pytest.approx(mean_pinball_loss(labels, score, alpha=0.9), abs=1e-12)
        assert overall[expert]["coverage"] == pytest.approx(np.mean(labels <= score), abs=1e-12)
        assert overall[expert]["mae"] == pytest.approx(np.mean(np.abs(labels - score)), abs=1e-12)
    assert overall["live"]["pinball_ratio_to_no_change"] < 1
