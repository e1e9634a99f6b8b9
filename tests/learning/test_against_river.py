"""The compiled learner is River's, score by score, where River has the same algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from river import linear_model, optim, preprocessing

from headwater.learning.kernels import learn_rows
from headwater.learning.linear import Linear, LinearState

NO_CATEGORIES = np.zeros((1, 0), np.int64)


def rows(seed, n=1500, d=5):
    """Numbers of very different sizes, one constant, and yes/no labels that depend on them."""
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(n, d)) * [1, 100, 0.01, 0, 3] + [0, 1e4, 5, 7, -2]
    z = xs @ [1.0, 0.01, -20.0, 0.0, 0.5] - xs[0] @ [1.0, 0.01, -20.0, 0.0, 0.5]
    return xs, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float), z + rng.normal(size=n)


def ours(spec, xs, ys):
    state, out = LinearState(spec, xs.shape[1], 0), np.zeros(len(ys))
    learn_rows(
        state.weights, state.squares, state.stats, state.counts, xs, np.repeat(NO_CATEGORIES, len(ys), 0), ys, state.params, out
    )
    assert state.counts.tolist() == [len(ys), 0, 0, 0]
    return out, state


def rivers(model, xs, ys, score):
    out = np.zeros(len(ys))
    for i, (x, y) in enumerate(zip(xs.tolist(), ys.tolist(), strict=True)):
        named = dict(enumerate(x))
        out[i] = score(model, named)
        model.learn_one(named, y)
    return out


def probability(model, x):
    return model.predict_proba_one(x)[True]


def number(model, x):
    return model.predict_one(x)


def optimizer(name, eta):
    return optim.SGD(eta) if name == "sgd" else optim.AdaGrad(eta)


OPTIONS = [{}, {"l2": 0.01}, {"clip_gradient": 0.3}, {"l2": 0.1, "clip_gradient": 0.5}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["sgd", "adagrad"])
@pytest.mark.parametrize("seed", [0, 1])
def test_logistic_regression(name, options, seed):
    xs, ys, _ = rows(seed)
    got, state = ours(Linear(optimizer=name, eta0=0.05, intercept_eta=0.02, clip_z=np.inf, bits=4, **options), xs, ys)
    inner = linear_model.LogisticRegression(optimizer=optimizer(name, 0.05), intercept_lr=0.02, **options)
    expected = rivers(preprocessing.StandardScaler() | inner, xs, ys.astype(bool), probability)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(state.weights[1:6], [inner.weights[j] for j in range(5)], rtol=0, atol=1e-9)
    assert state.weights[0] == pytest.approx(inner.intercept, abs=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_linear_regression_with_rivers_gradient_of_the_square(name, options):
    xs, _, ys = rows(2)
    got, state = ours(
        Linear(loss="squared", optimizer=name, eta0=0.01, intercept_eta=0.02, clip_z=np.inf, bits=4, **options), xs, ys
    )
    inner = linear_model.LinearRegression(optimizer=optimizer(name, 0.01), intercept_lr=0.02, **options)
    np.testing.assert_allclose(got, rivers(preprocessing.StandardScaler() | inner, xs, ys, number), rtol=0, atol=1e-9)
    assert state.weights[0] == pytest.approx(inner.intercept, abs=1e-9)


def test_without_standardising():
    xs, ys, _ = rows(3)
    xs = np.tanh(xs / 1e3)
    got, _ = ours(Linear(optimizer="sgd", eta0=0.1, intercept_eta=0.1, standardize=False, bits=4), xs, ys)
    inner = linear_model.LogisticRegression(optimizer=optim.SGD(0.1), intercept_lr=0.1)
    np.testing.assert_allclose(got, rivers(inner, xs, ys.astype(bool), probability), rtol=0, atol=1e-9)


def test_the_running_statistics_are_rivers():
    xs, ys, _ = rows(4)
    _, state = ours(Linear(bits=4), xs, ys)
    scaler = preprocessing.StandardScaler()
    for x in xs.tolist():
        scaler.learn_one(dict(enumerate(x)))
    for j in range(5):
        np.testing.assert_allclose(
            state.stats[:3, j], [scaler.counts[j], scaler.means[j], scaler.vars[j]], rtol=1e-12, atol=1e-12
        )
