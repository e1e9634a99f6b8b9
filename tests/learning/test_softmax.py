"""The compiled softmax learner is River's where River has the same algorithm, and plain numpy where it has not."""

from __future__ import annotations

import numpy as np
import pytest
from river import linear_model, optim

from headwater.learning.linear import Linear
from headwater.learning.softmax import SoftmaxState, learn_classes

D, K = 4, 3


def rows(seed, n=800):
    """Numbers and classes that depend on them. The first examples are all zeros: River meets its classes by them."""
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(n, D))
    xs[:K] = 0.0
    ys = (xs @ rng.normal(size=(D, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    ys[:K] = range(K)
    return xs, ys


def ours(spec, xs, ys, cs=None, k=K):
    state, out = SoftmaxState(spec, xs.shape[1], k), np.zeros((len(ys), k))
    cs = np.zeros((len(ys), 0), np.int64) if cs is None else cs
    learn_classes(
        state.weights, state.squares, state.stats, state.met, state.counts, xs, cs, ys.astype(np.int64), state.params, out
    )
    return state, out


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_river(name, seed):
    xs, ys = rows(seed)
    spec = Linear(optimizer=name, eta0=0.05, intercept_eta=0.0, standardize=False, bits=4)
    state, out = ours(spec, xs, ys)
    model = linear_model.SoftmaxRegression(optim.SGD(0.05) if name == "sgd" else optim.AdaGrad(0.05))
    for i, (x, y) in enumerate(zip(xs.tolist(), ys.tolist(), strict=True)):
        said = model.predict_proba_one(dict(enumerate(x)))
        if i >= K:
            share = 1.0 - 1.0 / (2.0 + i)  # the rest is for a class never met
            np.testing.assert_allclose(out[i], [share * said[c] for c in range(K)], rtol=0, atol=1e-9)
        model.learn_one(dict(enumerate(x)), y)
    expected = [[model.weights[c][j] for c in range(K)] for j in range(D)]
    np.testing.assert_allclose(state.weights[1 : 1 + D], expected, rtol=0, atol=1e-9)
    assert state.met.tolist() == np.bincount(ys).tolist()


def test_against_numpy_with_missing_numbers_categories_and_standardisation():
    rng = np.random.default_rng(4)
    xs, ys = rows(4)
    xs = xs * [1, 100, 0.01, 3] + [0, 1e3, 5, -2]
    xs[rng.random(xs.shape) < 0.1] = np.nan
    base = 1 + 2 * D
    cs = np.column_stack([rng.integers(base, base + 8, len(ys)), rng.integers(base + 8, base + 16, len(ys))])
    cs[rng.random(cs.shape) < 0.2] = -1
    state, out = ours(Linear(eta0=0.1, forget=0.99, clip_z=np.inf, bits=4), xs, ys, cs)
    expected = plain(xs, cs, ys, len(state.weights), eta=0.1, forget=0.99)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-9)


def plain(xs, cs, ys, n_rows, eta, forget):
    """Dense arithmetic: each example as one vector of weights' factors."""
    w, squares, met, out = np.zeros((n_rows, K)), np.zeros((n_rows, K)), np.zeros(K), []
    for i, y in enumerate(ys):
        out.append(said(factors(xs[:i], xs[i], cs[i], n_rows), w, met))
        met[y] += 1
        f = factors(xs[: i + 1], xs[i], cs[i], n_rows)
        p = said(f, w, met)
        g = np.outer(f, np.where(met > 0, p / p.sum() - (np.arange(K) == y), 0))
        touched = (f != 0)[:, None] & (met > 0)
        squares = np.where(touched, forget * squares + g**2, squares)
        w -= np.where(touched, eta / np.sqrt(squares + 1e-8) * g, 0)
    return np.array(out)


def factors(seen, x, slots, n_rows):
    f = np.zeros(n_rows)
    f[0] = 1
    for j in range(D):
        there = seen[:, j][~np.isnan(seen[:, j])]
        sd = there.std() if there.size else 0
        f[1 + j] = 0 if np.isnan(x[j]) or sd == 0 else (x[j] - there.mean()) / sd
        f[1 + D + j] = np.isnan(x[j])
    np.add.at(f, slots[slots >= 0], 1)
    return f


def said(f, w, met):
    z = np.where(met > 0, f @ w, -np.inf)
    if not met.any():
        return np.zeros(K)
    e = np.exp(z - z.max())
    return e / e.sum() * (1 - 1 / (2 + met.sum()))


def test_a_class_that_comes_later_starts_from_nothing():
    xs, ys = rows(5)
    late = ys.copy()
    late[600] = 3
    state, out = ours(Linear(bits=4), xs, late, k=4)
    assert (out[:601, 3] == 0).all()
    assert (out[601:, 3] > 0).all()
    np.testing.assert_array_equal(out[:601, :3], ours(Linear(bits=4), xs, ys)[1][:601])
    assert state.met[3] == 1
