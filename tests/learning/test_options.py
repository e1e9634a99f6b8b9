"""Each option of the learner does what its formula says; each wrong one is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from headwater.core.errors import DeclarationError
from headwater.learning.kernels import learn_rows, score_rows, share_rows
from headwater.learning.linear import Linear, LinearState

PLAIN = {"optimizer": "sgd", "standardize": False, "bits": 4, "loss": "squared"}


def learnt(spec, xs, ys, cs=None, state=None):
    xs, ys = np.array(xs, float), np.array(ys, float)
    cs = np.zeros((len(ys), 0), np.int64) if cs is None else np.array(cs, np.int64)
    state = state or LinearState(spec, xs.shape[1], 0)
    out = np.zeros(len(ys))
    learn_rows(state.weights, state.squares, state.stats, state.counts, xs, cs, ys, state.params, out)
    return state, out


def test_the_gradient_of_the_squared_loss_is_twice_the_error():
    state, out = learnt(Linear(**PLAIN, eta0=0.1), [[3.0]], [5.0])
    assert out[0] == 0.0
    assert state.weights[:2].tolist() == pytest.approx([0.1 * 2 * 5, 0.1 * 2 * 5 * 3])


@pytest.mark.parametrize(("alpha", "power"), [(0.0, 1.0), (0.01, 1.0), (0.5, 0.5), (2.0, 0.75)])
def test_the_step_size_is_the_formula(alpha, power):
    """Without numbers the intercept moves by eta_t * 2 * (p - y) and nothing else."""
    spec = Linear(**PLAIN, eta0=0.3, alpha=alpha, power=power)
    ys = np.random.default_rng(0).normal(size=50)
    state, w = None, 0.0
    for t, y in enumerate(ys):
        state, _ = learnt(spec, np.zeros((1, 0)), [y], state=state)
        w -= 0.3 / (1 + alpha * t) ** power * 2 * (w - y)
        assert state.weights[0] == pytest.approx(w, rel=1e-12)


def test_the_intercept_has_a_step_of_its_own_which_does_not_decay():
    spec = Linear(**PLAIN, eta0=0.3, alpha=1.0, intercept_eta=0.05)
    w = 0.0
    state = None
    for y in (1.0, -2.0, 3.0):
        state, _ = learnt(spec, np.zeros((1, 0)), [y], state=state)
        w -= 0.05 * 2 * (w - y)
        assert state.weights[0] == pytest.approx(w, rel=1e-12)
    assert learnt(spec.with_(intercept_eta=0.0), np.zeros((1, 0)), [9.0])[0].weights[0] == 0.0


def test_adagrad_with_forgetting_is_the_formula():
    spec = Linear(optimizer="adagrad", loss="squared", standardize=False, eta0=0.2, forget=0.9, bits=4)
    w, squares, state = 0.0, 0.0, None
    for y in np.random.default_rng(0).normal(size=40):
        state, _ = learnt(spec, np.zeros((1, 0)), [y], state=state)
        g = 2 * (w - y)
        squares = 0.9 * squares + g * g
        w -= 0.2 / np.sqrt(squares + 1e-8) * g
        np.testing.assert_allclose([state.weights[0], state.squares[0]], [w, squares], rtol=1e-12)


def test_forgetting_follows_a_world_that_moves():
    ys = np.concatenate([np.zeros(5000), np.full(200, 10.0)])
    xs = np.zeros((ys.size, 0))
    spec = Linear(optimizer="adagrad", loss="squared", eta0=0.5, bits=4)
    noise = np.random.default_rng(0).normal(size=ys.size)
    steady, moving = (learnt(spec.with_(forget=f), xs, ys + noise)[0].weights[0] for f in (1.0, 0.99))
    assert abs(moving - 10) < 1 < abs(steady - 10)


def test_l1_is_the_proximal_step():
    spec = Linear(**PLAIN, eta0=0.1, l1=0.5)
    xs, ys = np.random.default_rng(1).normal(size=(60, 2)), np.random.default_rng(2).normal(size=60)
    w, state = np.zeros(3), None
    for x, y in zip(xs, ys, strict=True):
        state, _ = learnt(spec, [x], [y], state=state)
        g = 2 * (w[0] + w[1:] @ x - y)
        w[0] -= 0.1 * g
        w[1:] -= 0.1 * g * x
        w[1:] = np.sign(w[1:]) * np.maximum(0, np.abs(w[1:]) - 0.1 * 0.5)
        np.testing.assert_allclose(state.weights[:3], w, rtol=1e-12, atol=1e-15)


def test_l1_makes_useless_weights_exactly_zero_much_of_the_time():
    """A single example can push a weight off zero again; without l1 no weight ever is there."""
    rng = np.random.default_rng(3)
    xs = rng.normal(size=(4000, 4))
    ys = 2 * xs[:, 0] + 0.1 * rng.normal(size=4000)
    for l1, least, most in ((0.3, 0.2, 1.0), (0.0, 0.0, 0.0)):
        state, zeros = None, []
        for x, y in zip(xs, ys, strict=True):
            state, _ = learnt(Linear(**PLAIN, eta0=0.01, l1=l1), [x], [y], state=state)
            zeros.append((state.weights[2:5] == 0.0).mean())
        assert least <= np.mean(zeros[2000:]) <= most
        assert state.weights[1] > 1.5


def log_objective(w, xs, ys, l2):
    z = xs @ w[1:] + w[0]
    return float(np.mean(np.logaddexp(0, z) - ys * z) + l2 / 2 * w[1:] @ w[1:])


def test_l2_long_runs_come_near_scikit_learns_optimum_and_the_objective_falls():
    rng = np.random.default_rng(4)
    xs = rng.normal(size=(500, 4))
    ys = (rng.random(500) < 1 / (1 + np.exp(-(xs @ [2.0, -1.0, 0.5, 0.0] + 0.5)))).astype(float)
    l2 = 0.05
    best = LogisticRegression(C=1 / (l2 * 500), tol=1e-10, max_iter=1000).fit(xs, ys)
    optimum = np.concatenate([best.intercept_, best.coef_[0]])
    spec = Linear(optimizer="sgd", standardize=False, bits=4, eta0=0.5, alpha=0.01, power=0.9, l2=l2)
    state, objective = None, [np.log(2)]
    for epoch in range(60):
        order = np.random.default_rng(epoch).permutation(500)
        state, _ = learnt(spec, xs[order], ys[order], state=state)
        objective.append(log_objective(state.weights[:5], xs, ys, l2))
    np.testing.assert_allclose(state.weights[:5], optimum, atol=0.01)
    assert objective[-1] == pytest.approx(log_objective(optimum, xs, ys, l2), abs=1e-4)
    assert np.mean(objective[:10]) > np.mean(objective[10:30]) > np.mean(objective[30:])


def test_l2_of_the_squared_loss_comes_near_ridge():
    rng = np.random.default_rng(5)
    xs = rng.normal(size=(400, 3))
    ys = xs @ [1.0, -2.0, 0.5] + 3 + 0.3 * rng.normal(size=400)
    l2, state = 0.2, None
    best = Ridge(alpha=l2 * 400 / 2).fit(xs, ys)  # mean of squares + l2/2 |w|^2
    for epoch in range(60):
        order = np.random.default_rng(epoch).permutation(400)
        state, _ = learnt(Linear(**PLAIN, eta0=0.1, alpha=0.01, l2=l2), xs[order], ys[order], state=state)
    np.testing.assert_allclose(state.weights[:4], [best.intercept_, *best.coef_], atol=0.02)


def test_gradient_and_z_are_clipped():
    state, _ = learnt(Linear(**PLAIN, eta0=0.1, clip_gradient=2.0), np.zeros((1, 0)), [1e6])
    assert state.weights[0] == pytest.approx(0.2)
    spec = Linear(loss="squared", optimizer="sgd", bits=4, clip_z=3.0)
    state, _ = learnt(spec, np.random.default_rng(0).normal(size=(100, 1)), np.random.default_rng(1).normal(size=100))
    state.weights[:2] = [0.0, 1.0]
    out = np.zeros(2)
    score_rows(state.weights.copy(), state.stats, np.array([[1e9], [-1e9]]), np.zeros((2, 0), np.int64), state.params, out)
    assert out.tolist() == [3.0, -3.0]


def test_a_missing_number_has_a_weight_of_its_own():
    spec = Linear(**PLAIN, eta0=0.1, intercept_eta=0.0)
    state, _ = learnt(spec, [[np.nan, 2.0]], [1.0])
    assert state.weights[:5].tolist() == pytest.approx([0, 0, 0.1 * 2 * 2, 0.1 * 2, 0])  # intercept, numbers, indicators
    assert learnt(spec, [[np.nan, 2.0]], [1.0])[0].stats[:, 0].tolist() == [0, 0, 0, 0]  # and leaves the statistics alone
    _, out = learnt(spec, [[np.nan, 0.0]], [0.0], state=state)
    assert out[0] == pytest.approx(0.2)


def test_shares_add_up_and_scores_are_the_folds_bits():
    rng = np.random.default_rng(6)
    for loss in ("log", "squared"):
        spec = Linear(loss=loss, bits=5)
        xs = np.where(rng.random((300, 4)) < 0.2, np.nan, rng.normal(size=(300, 4)) * 50)
        cs = rng.integers(9, 9 + 32, size=(300, 3))
        state, before = learnt(spec, xs, rng.integers(0, 2, 300), cs)
        out, shares = np.zeros(300), np.zeros((300, 8))
        score_rows(state.weights.copy(), state.stats, xs, cs, state.params, out)
        share_rows(state.weights.copy(), state.stats, xs, cs, state.params, shares)
        z = shares.sum(axis=1)
        np.testing.assert_allclose(out if loss == "squared" else np.log(out / (1 - out)), z, rtol=0, atol=1e-12)
        again = np.zeros(300)
        for i in range(300):  # one example after the other, as the fold scores
            fresh, single = LinearState(spec, 4, 0), np.zeros(1)
            fresh.restore(state.arrays())
            learn_rows(
                fresh.weights,
                fresh.squares,
                fresh.stats,
                fresh.counts,
                xs[i : i + 1],
                cs[i : i + 1],
                np.zeros(1),
                fresh.params,
                single,
            )
            again[i] = single[0]
        assert again.tobytes() == out.tobytes()
        assert before[0] == (0.5 if loss == "log" else 0.0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"loss": "hinge"},
            r"hw\.Linear\.loss: a hyper-parameter is out of range; expected 'log' or 'squared' or 'quantile'; got 'hinge'",
        ),
        ({"optimizer": "adam"}, "optimizer.*expected 'adagrad' or 'sgd' or 'ftrl'"),
        ({"loss": "quantile", "tau": 1.0}, "tau.*expected 0 < tau < 1"),
        ({"tau": 0.9}, "tau.*expected loss='quantile'"),
        ({"optimizer": "ftrl", "beta": -1.0}, "beta"),
        ({"beta": 2.0}, "beta.*expected optimizer='ftrl'"),
        ({"optimizer": "ftrl", "alpha": 0.1}, "alpha.*expected 0 with optimizer='ftrl'"),
        ({"optimizer": "ftrl", "forget": 0.9}, "forget.*expected 1"),
        ({"eta0": 0.0}, r"eta0.*expected a number > 0; got 0\.0"),
        ({"eta0": float("inf")}, "eta0"),
        ({"eta0": float("nan")}, "eta0"),
        ({"forget": 0.0}, "forget"),
        ({"forget": 1.1}, "forget"),
        ({"optimizer": "sgd", "forget": 0.99}, "forget.*expected 1 with optimizer='sgd'"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"power": -0.5}, "power"),
        ({"power": float("inf")}, "power"),
        ({"l1": -1.0}, "l1"),
        ({"l1": float("inf")}, "l1"),
        ({"l2": float("nan")}, "l2"),
        ({"intercept_eta": -0.1}, "intercept_eta"),
        ({"intercept_eta": float("nan")}, "intercept_eta"),
        ({"clip_gradient": 0.0}, "clip_gradient"),
        ({"clip_z": -1.0}, "clip_z"),
        ({"bits": 3}, r"bits.*expected an integer 4 \.\. 24; got 3"),
        ({"bits": 25}, "bits"),
        ({"bits": 8.5}, "bits"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(wrong, says):
    with pytest.raises(DeclarationError, match=says):
        Linear(**wrong)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("loss", ["log", "squared"])
def test_plain_steps_have_the_bits_of_the_general_ones(loss, missing):
    """Without adagrad and penalties the steps are taken several at once; the least penalty there is takes them one by one."""
    rng = np.random.default_rng(3)
    xs, ys = rng.normal(size=(500, 11)) * 10.0 ** rng.integers(-3, 4, 11), (rng.random(500) < 0.3).astype(float)
    xs[rng.random(xs.shape) < missing] = np.nan
    cs = rng.integers(23, 39, (500, 2))
    spec = Linear(loss=loss, optimizer="sgd", eta0=0.01, bits=4)
    plain, general = (learnt(spec.with_(l2=l2), xs, ys, cs) for l2 in (0.0, 5e-324))
    assert plain[1].tobytes() == general[1].tobytes()
    assert plain[0].weights.tobytes() == general[0].weights.tobytes()
    assert np.count_nonzero(plain[0].weights) > 20
