"""The event lane against River, scikit-learn and LightGBM themselves, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from river import compose, dummy, forest, linear_model, optim, preprocessing, tree
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPRegressor

import headwater as hw
from headwater.core.batch import Frame, column
from headwater.core.clock import VirtualClock
from headwater.core.errors import CorruptData, DeclarationError, Fatal
from headwater.learning import protocol
from headwater.learning.protocol import LearnerState
from headwater.learning.river import _dumps, _loads
from headwater.log.protocol import Chunk
from headwater.registry.catalog import Catalog
from headwater.runtime.fold import Fold
from headwater.runtime.profiling import profile
from headwater.runtime.publishing import Publisher
from headwater.runtime.rebuild import rebuild
from headwater.runtime.served import served
from headwater.runtime.versions import Registrar
from headwater.serving.answerer import ViewAnswerer
from headwater.serving.protocol import Question
from headwater.store.memory_view import MemoryView
from headwater.testing import LocalRun
from headwater.testing.events import Seen, batch_of, split
from headwater.testing.learner_conformance import CATEGORIES, NUMBERS, examples

MINUTE = 60_000


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    a: hw.Field[float | None]
    b: hw.Field[float]
    shop: hw.Field[str]


class Told(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    y: hw.Field[float]


def app_of(learner, features=None, **more):
    features = features or [Ask.a, Ask.b]
    value = Told.y > 0 if learner.loss == "log" else Told.y
    label = hw.label(value, join=Told.id_, on=Ask.id_, within="1h", missing=more.pop("missing", hw.UNKNOWN))
    return hw.App("a", models=[hw.Model("m", on=Ask, features=features, label=label, learner=learner, **more)])


def stream(n, seed=0):
    """(a, b, shop, y), where the label follows its question at once."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        a, b = rng.normal(), 10 + 5 * rng.normal()
        yield a, b, f"s{rng.integers(4)}", a + 0.1 * (b - 10) + 0.5 * rng.normal()


def seen(n):
    for i, (a, b, shop, y) in enumerate(stream(n)):
        yield Seen(i * MINUTE, Ask(id_=str(i), a=a, b=b, shop=shop))
        yield Seen(i * MINUTE, Told(id_=str(i), y=y))


def folded(app, n, sizes=(10**6,), rows=None):
    fold, judged = Fold(app), []
    for part in split(batch_of(list(rows or seen(n))), sizes):
        judged += fold.step(Chunk(fold.seq, part)).judged.get("m", [])
    return fold, np.concatenate(judged)


def test_a_block_of_one_is_rivers_own_progressive_validation():
    model = preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(0.05))
    _, judged = folded(app_of(hw.River(model, block=1)), 300)
    expected = []
    for a, b, _, y in stream(300):
        x = {"ask.a": a, "ask.b": b}
        expected.append(model.predict_one(x))
        model.learn_one(x, y)
    np.testing.assert_array_equal(judged[:, 5], expected)


def test_blocks_are_learnt_whole_and_scores_wait_for_them():
    model = tree.HoeffdingTreeClassifier(grace_period=20)
    features = [Ask.a, Ask.b, hw.category(Ask.shop)]
    fold, judged = folded(app_of(hw.River(model, block=50), features), 325, sizes=(7,))
    mine, waiting, expected = model.clone(), [], []
    hashes = fold.models["m"].pending.rows[fold.models["m"].pending.order()][:, -1]
    assert len(set(hashes)) == 4
    for a, b, shop, y in stream(325):
        x = {"ask.a": a, "ask.b": b, "category(ask.shop)": shop}
        expected.append(mine.predict_proba_one(x).get(True, 0.0) if mine.n_nodes else 0.5)
        waiting.append((x, y > 0))
        if len(waiting) == 50:
            for each, label in waiting:
                mine.learn_one(each, label)
            waiting = []
    np.testing.assert_allclose(judged[:, 5], expected, rtol=0, atol=1e-12)
    assert fold.models["m"].learner.counts.tolist() == [300, 0, 0, 25]


def test_sklearn_learns_what_partial_fit_would():
    estimator = SGDRegressor(eta0=0.01, learning_rate="constant", random_state=0)
    _, judged = folded(app_of(hw.SklearnPartialFit(estimator, block=32, standardize=False)), 200)
    expected = []
    rows = np.array([[a, b, 0.0, 0.0] for a, b, _, _ in stream(200)])
    ys = np.array([y for *_, y in stream(200)])
    for start in range(0, 200, 32):
        block = slice(start, start + 32)
        expected += list(estimator.predict(rows[block]) if start else np.zeros(32))
        estimator.partial_fit(rows[block], ys[block])
    np.testing.assert_allclose(judged[:, 5], expected, rtol=1e-12)


def test_sklearn_numbers_are_standardised_by_what_was_learnt():
    spec = hw.SklearnPartialFit(SGDClassifier(loss="log_loss", random_state=0), block=16)
    learner, seen_ = spec.start(NUMBERS, CATEGORIES), []
    for number in range(5):
        xs, cs, ys = examples(spec, 16, seed=number)
        learner.learn_block(xs, cs, ys)
        seen_.append(xs)
    whole = np.concatenate(seen_)
    count, mean, squares = learner.state().arrays["stats"]
    np.testing.assert_allclose(mean, np.nanmean(whole, axis=0), rtol=1e-12)
    np.testing.assert_allclose(squares / count, np.nanvar(whole, axis=0), rtol=1e-12)


def test_lightgbm_is_refitted_on_the_window():
    gbm = pytest.importorskip("lightgbm")
    spec = hw.LightGBM(loss="squared", refit_every=50, window=120, trees=8)
    _, judged = folded(app_of(spec, [Ask.a, Ask.b]), 300, sizes=(33,))
    xs = np.array([[a, b] for a, b, _, _ in stream(300)])
    ys = np.array([y for *_, y in stream(300)])
    expected = [np.zeros(50)]
    for end in range(50, 300, 50):
        start = max(0, end - 120)
        booster = gbm.train(spec.params(), gbm.Dataset(xs[start:end], ys[start:end], params=spec.params()), 8)
        expected.append(booster.predict(xs[end : end + 50]))
    np.testing.assert_allclose(judged[:, 5], np.concatenate(expected), rtol=1e-12)


def test_a_window_with_one_kind_of_label_is_not_fitted():
    pytest.importorskip("lightgbm")
    spec = hw.LightGBM(refit_every=20, window=40, trees=3, min_data_in_leaf=2)
    learner, (xs, cs, ys) = spec.start(NUMBERS, CATEGORIES), examples(spec, 20, seed=0)
    learner.learn_block(xs, cs, np.ones(20))
    assert learner.score_many(xs, cs).tolist() == [0.5] * 20
    learner.learn_block(xs, cs, ys)
    assert np.unique(learner.score_many(xs, cs)).size > 1


def test_expiries_as_negatives_fill_blocks_too():
    """One question lets many others expire at once: more than a block has."""
    rows = [Seen(i * 1000, Ask(id_=str(i), a=float(i % 2), b=1.0, shop="")) for i in range(150)]
    rows.append(Seen(100 * 3_600_000, Ask(id_="last", a=0.0, b=1.0, shop="")))
    app = app_of(hw.River(linear_model.LogisticRegression(), block=64), missing=hw.NEGATIVE)
    whole, judged = folded(app, 0, rows=rows)
    assert whole.models["m"].learner.counts.tolist() == [128, 0, 0, 22]
    fold, _ = folded(app, 0, sizes=(13,), rows=rows)
    assert fold.state_hash() == whole.state_hash()
    assert len(judged) == 150


def test_a_number_beyond_measurement_is_refused_and_counted():
    rows = []
    for i, a in enumerate([1.0, 1e200, None, 2.0, 3.0, 4.0]):
        rows += [Seen(i, Ask(id_=str(i), a=a, b=1.0, shop="")), Seen(i, Told(id_=str(i), y=1.0))]
    fold, judged = folded(app_of(hw.River(linear_model.LinearRegression(), block=2)), 0, rows=rows)
    assert fold.models["m"].learner.counts.tolist() == [4, 1, 0, 1]
    assert np.isfinite(judged[:, 5]).all()


class Wild:
    """Scores that are no numbers."""

    loss, block, bits = "log", 4, 8

    def __init__(self, score):
        self.score = score

    def describe(self):
        return {"learner": "wild"}

    def start(self, numbers, categories):
        return self

    def score_many(self, xs, cs):
        return self.score(xs)

    def learn_block(self, xs, cs, ys):
        pass

    def state(self):
        return LearnerState()

    def load(self, state):
        pass


@pytest.mark.parametrize("wrong", [{"loss": "hinge"}, {"block": 0}, {"block": 1.5}, {"bits": 53}], ids=str)
def test_a_learner_of_ones_own_is_checked_where_it_is_declared(wrong):
    learner = Wild(lambda xs: np.zeros(len(xs)))
    vars(learner).update(wrong)
    with pytest.raises(DeclarationError, match=rf"Wild\.{next(iter(wrong))}: an option is out of range"):
        app_of(learner)


def test_a_score_that_is_no_number_is_half_and_counted():
    fold, judged = folded(app_of(Wild(lambda xs: np.full(len(xs), np.nan))), 10)
    assert judged[:, 5].tolist() == [0.5] * 10
    assert fold.metrics()["m"]["questions"]["blocked_weights"] == 10
    _, judged = folded(app_of(Wild(lambda xs: np.full(len(xs), 7.0))), 10)
    assert judged[:, 5].tolist() == [1.0] * 10


def test_a_learner_that_fails_says_which_and_what_to_do():
    with pytest.raises(Fatal, match=r"Wild: a learner could not score \(ZeroDivisionError: .*LearnerConformance"):
        folded(app_of(Wild(lambda xs: 1 / 0)), 3)
    with pytest.raises(Fatal, match="other scores than it was asked for; expected shape"):
        folded(app_of(Wild(lambda xs: np.zeros(99))), 3)


def test_answers_twins_and_versions_are_the_lanes_own():
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    app = app_of(hw.River(model, block=5), versions=hw.every_labels(10), twins={"seldom": hw.every_labels(20)})
    run = LocalRun(app)
    for row in seen(46):
        run.send(row.event, time=row.time_ms)
    due = [d for effect in run.effects for d in effect.due]
    assert [(d.name, d.seq) for d in due if not d.name] == [("", 20), ("", 40), ("", 60), ("", 80)]
    assert sorted(due[0].arrays) == ["header", "learner.pickle"]
    run.send(Ask(id_="new", a=1.0, b=2.0, shop="x"), time=50 * MINUTE)
    pending = run.fold.models["m"].pending
    live, seldom, _ = pending.rows[pending.order()[-1], 4:7]
    assert run.predict("m", id_="new")["predictions"][0] == {"id_": "new", "score": live, "stored": True}
    assert run.predict("m", id_="other", a=1.0, b=2.0, shop="x", time=50 * MINUTE)["predictions"][0]["score"] == live
    assert live not in (seldom, 0.5)
    with pytest.raises(Fatal, match="cannot say what each feature adds"):
        run.predict("m", id_="new", explain=True)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hw.River(preprocessing.StandardScaler()), "no model that can answer.*got StandardScaler"),
        (lambda: hw.River("forest"), "no model that can answer"),
        (lambda: hw.River(forest.ARFClassifier()), "draws without a seed.*got ARFClassifier"),
        (lambda: hw.River(preprocessing.StandardScaler() | forest.ARFRegressor()), "draws without a seed.*got ARFRegressor"),
        (lambda: hw.River(compose.FuncTransformer(lambda x: x) | linear_model.LinearRegression()), "cannot be kept"),
        (lambda: hw.River(dummy.NoChangeClassifier(), block=0), r"hw\.River\.block.*expected an integer 1 \.\. 1,000,000"),
        (lambda: hw.River(dummy.NoChangeClassifier(), bits=64), r"hw\.River\.bits"),
        (lambda: hw.SklearnPartialFit(LogisticRegression()), "cannot learn as it goes.*got LogisticRegression"),
        (lambda: hw.SklearnPartialFit(3), "cannot learn as it goes"),
        (lambda: hw.SklearnPartialFit(SGDClassifier()), "draws without a seed.*got random_state=None"),
        (lambda: hw.Model("m", on=Ask, features=[Ask.a], label=hw.label(Told.y, join=Told.id_, on=Ask.id_, within="1h"),
                          learner=Perceptron()), r"learner is something else; expected hw\.Linear"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_cannot_repeat_its_bits_is_refused(make, says):
    with pytest.raises(DeclarationError, match=says):
        make()


@pytest.mark.parametrize("wrong", [{"loss": "hinge"}, {"refit_every": 0}, {"window": 10}, {"trees": 0}, {"num_leaves": 1}])
def test_lightgbms_options_are_checked(wrong):
    pytest.importorskip("lightgbm")
    with pytest.raises(DeclarationError, match=r"hw\.LightGBM\."):
        hw.LightGBM(**wrong)


def test_a_missing_library_says_what_to_install():
    with pytest.raises(DeclarationError, match=r"hw\.X: this learner needs.*expected no_such.*Install headwater\[x\]"):
        protocol.library("no_such.part", "x", "hw.X")


def test_a_river_state_with_anything_foreign_in_it_is_refused():
    learner = hw.River(dummy.NoChangeClassifier()).start(("a",), ())
    for thing in (os.system, eval, subprocess.Popen, hashlib.sha256):
        data = np.frombuffer(pickle.dumps(thing), np.uint8)
        with pytest.raises(CorruptData, match="is no part of a River model"):
            learner.load(LearnerState(arrays={"pickle": data}))
    roundabout = [(b"random", b"_os.system"), (b"numpy", b"testing.break_cycles"), (b"river.base.base", b"inspect.getsource")]
    for module, name in roundabout:  # from a harmless module to one that is not
        words = [pickle.SHORT_BINUNICODE + bytes([len(word)]) + word for word in (module, name)]
        stack = b"".join([pickle.PROTO + b"\x04", *words, pickle.STACK_GLOBAL, pickle.STOP])
        with pytest.raises(CorruptData, match="is no part of a River model"):
            learner.load(LearnerState(arrays={"pickle": np.frombuffer(stack, np.uint8)}))
    with pytest.raises(CorruptData, match="cannot be read back"):
        learner.load(LearnerState(arrays={"pickle": np.zeros(3, np.uint8)}))


def test_an_estimator_that_keeps_more_than_data_is_refused():
    spec = hw.SklearnPartialFit(MLPRegressor(hidden_layer_sizes=(2,), random_state=0), block=4)
    learner = spec.start(NUMBERS, CATEGORIES)
    learner.learn_block(*examples(spec, 4, seed=0))
    learner.state()
    learner._estimator.surprise_ = open  # what a foreign estimator might keep
    with pytest.raises(Fatal, match=r"cannot be saved; .*got builtin_function_or_method"):
        learner.state()


_LEARN = """
import hashlib
import json
import numpy as np
from river import compose, preprocessing, tree
from headwater.learning.river import River
encoder = compose.SelectType(str) | preprocessing.OneHotEncoder()
spec = River(compose.SelectType(float) + encoder | tree.HoeffdingTreeClassifier(grace_period=10))
learner, rng = spec.start(("a",), ("shop",)), np.random.default_rng(0)
for _ in range(4):
    learner.learn_block(rng.normal(size=(32, 1)), rng.integers(0, 9, (32, 1)), rng.integers(0, 2, 32).astype(float))
print(spec.describe()["model"], hashlib.sha256(learner.state().arrays["pickle"]).hexdigest())
"""


def test_rivers_bits_do_not_follow_pythons_hash_seed(capsys):
    """One-hot encoders keep sets of texts, whose order in memory is another in each process."""
    another = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    there = subprocess.run(
        [sys.executable, "-c", _LEARN],
        env={**os.environ, "PYTHONHASHSEED": another},
        capture_output=True,
        text=True,
        check=True,
    )
    exec(_LEARN, {})
    here = capsys.readouterr().out
    assert here == there.stdout
    assert len(here.split()) == 2


def test_one_set_in_two_places_stays_one():
    shared = {"b", "a"}
    first, second, other = _loads(_dumps([shared, shared, frozenset(shared)]))
    assert first is second
    assert first == other == shared


def test_whoever_reads_the_view_answers_with_the_folds_bits():
    """A gateway has only the view: what it reads there becomes the same learner, block after block."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    app = app_of(hw.River(model, block=10))
    fold, view = Fold(app), MemoryView()
    publisher = Publisher(fold, view, VirtualClock(), resume=False)
    answerer = ViewAnswerer(app.plan, served(app), view, app.fingerprint())
    row = Frame(1, {name: column(spec, [value]) for (name, value), spec in zip(
        {"id_": "new", "a": 0.5, "b": 12.0, "shop": "s1"}.items(), Ask.schema.fields, strict=True)})  # fmt: skip
    scores = set()
    for part in split(batch_of(list(seen(60))), (17,)):
        fold.step(Chunk(fold.seq, part))
        publisher.publish()
        answer = answerer.answer("m", Question(row, frozenset({"id_", "a", "b", "shop"})))
        assert answer.score.tolist() == fold.models["m"].learner.scores(np.array([[0.5, 12.0]]), np.zeros((1, 0))).tolist()
        assert answer.seq == fold.seq
        scores |= set(answer.score.tolist())
    assert len(scores) >= 5


def test_a_version_is_made_again_from_the_log_byte_for_byte(tmp_path):
    model = preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=10)
    app = app_of(hw.River(model, block=7), versions=hw.every_labels(20))
    run, catalog = LocalRun(app), Catalog(tmp_path)
    for row in seen(65):
        run.send(row.event, time=row.time_ms)
    registrar = Registrar(app, catalog)
    made = [registrar.register(due) for effect in run.effects for due in effect.due]
    assert len(made) == 3
    for version in made:
        assert rebuild(app, run.log, version, catalog.artifacts).is_same
    catalog.close()


def test_a_profile_charges_a_lane_for_scoring_and_learning(tmp_path):
    rows = [json.dumps({"stream": row.event.schema.stream, "id": f"{i}", "source": "x", "time": row.time_ms,
                        **{f.name: getattr(row.event, f.name) for f in row.event.schema.fields}})
            for i, row in enumerate(seen(40))]  # fmt: skip
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(rows))
    told = profile(app_of(hw.River(linear_model.LogisticRegression(), block=4)), {}, mixed=[path]).report()
    assert told["events"] == 80
    assert told["stages"]["learn"]["us_per_event"] > told["stages"]["metric"]["us_per_event"]
