"""What every learner of the event lane must do, as tests to inherit.

    class TestMyLearner(LearnerConformance):
        def make_spec(self):
            return MyLearner(block=16)

`make_spec` gives a `learning.protocol.LearnerSpec`; it is called again wherever a fresh one is wanted, and must give equals.
A block of at most 64 keeps the suite quick and lets it see several.
"""

# ruff: noqa: PLR2004 - these are tests: bare numbers are their point
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from headwater.app import AnyFeature, App, Model, every_labels
from headwater.core.batch import Batch, Floats, Ints
from headwater.core.errors import Fatal
from headwater.core.event import Event, Field
from headwater.evaluation.labels import label
from headwater.features.aggregates import category, mean
from headwater.learning.protocol import BlockLearner, LearnerSpec, LearnerState
from headwater.log.protocol import Chunk
from headwater.registry.artifact import decode, encode
from headwater.runtime.checkpointing import Checkpointer, restore
from headwater.runtime.fold import Fold
from headwater.runtime.local import LocalRun
from headwater.store.checkpoint import Checkpoints
from headwater.testing.events import Seen, batch_of, split

MINUTE_MS = 60_000
NUMBERS, CATEGORIES = ("a", "b", "mean(c)"), ("shop",)
Example = tuple[Floats, Ints, Floats]


class Asked(Event, stream="conformance_asked", key="id_", lateness="1h"):
    id_: Field[str]
    a: Field[float | None]
    b: Field[float | None]
    shop: Field[str]


class Told(Event, stream="conformance_told", key="id_", lateness="1h"):
    id_: Field[str]
    shop: Field[str]
    y: Field[float | None]


class LearnerConformance:
    """Inherit, and say how a declaration is made."""

    def make_spec(self) -> LearnerSpec:
        """A fresh declaration of the learner under test."""
        raise NotImplementedError

    @pytest.fixture
    def spec(self) -> LearnerSpec:
        return self.make_spec()

    @pytest.fixture
    def start(self) -> Callable[[], BlockLearner]:
        """Makes learners that have learnt nothing, each by a declaration of its own."""
        return lambda: self.make_spec().start(NUMBERS, CATEGORIES)

    # one learner

    def test_it_is_declared_as_a_learner(self, spec: LearnerSpec) -> None:
        assert isinstance(spec, LearnerSpec)
        assert spec.loss in {"log", "squared"}
        assert 1 <= spec.block <= 64, "give the suite a small block"
        assert 1 <= spec.bits <= 52
        assert spec.describe() == self.make_spec().describe()

    def test_scores_are_numbers_of_its_loss_before_and_after_learning(
        self, spec: LearnerSpec, start: Callable[[], BlockLearner]
    ) -> None:
        learner, (xs, cs, _) = start(), examples(spec, 50, seed=1)
        for _ in range(2):
            scores = np.asarray(learner.score_many(xs, cs))
            assert scores.shape == (50,)
            assert scores.dtype == np.float64
            assert np.isfinite(scores).all()
            assert spec.loss != "log" or ((scores >= 0) & (scores <= 1)).all()
            learn(learner, spec, 5)
        assert np.asarray(learner.score_many(xs[:0], cs[:0])).shape == (0,)

    def test_it_learns(self, spec: LearnerSpec, start: Callable[[], BlockLearner]) -> None:
        learner, (xs, cs, _) = start(), examples(spec, 50, seed=1)
        before, state = learner.score_many(xs, cs), packed(learner)
        learn(learner, spec, 10)
        assert packed(learner) != state
        assert not np.array_equal(learner.score_many(xs, cs), before)

    def test_a_row_is_scored_by_itself(self, spec: LearnerSpec, start: Callable[[], BlockLearner]) -> None:
        """Alone, in pairs, backwards, among others: the same bits."""
        learner, (xs, cs, _) = start(), examples(spec, 61, seed=2)
        learn(learner, spec, 4)
        whole = np.asarray(learner.score_many(xs, cs))
        for size in (1, 2, 7):
            parts = [learner.score_many(xs[i : i + size], cs[i : i + size]) for i in range(0, 61, size)]
            assert np.concatenate(parts).tobytes() == whole.tobytes()
        assert np.asarray(learner.score_many(xs[::-1].copy(), cs[::-1].copy()))[::-1].tobytes() == whole.tobytes()

    def test_scoring_changes_nothing(self, spec: LearnerSpec, start: Callable[[], BlockLearner]) -> None:
        asked, silent = start(), start()
        xs, cs, _ = examples(spec, 40, seed=3)
        for number in range(4):
            asked.score_many(xs, cs)
            learn_one_block(asked, spec, number)
            learn_one_block(silent, spec, number)
            state = packed(asked)
            asked.score_many(xs, cs)
            assert packed(asked) == state
        assert packed(asked) == packed(silent)

    def test_two_learners_of_one_declaration_share_nothing(self, spec: LearnerSpec) -> None:
        first, second = (spec.start(NUMBERS, CATEGORIES) for _ in range(2))
        state = packed(second)
        learn(first, spec, 3)
        assert packed(second) == state

    def test_equal_examples_give_equal_bits(self, spec: LearnerSpec, start: Callable[[], BlockLearner]) -> None:
        first, second, (xs, cs, _) = start(), start(), examples(spec, 30, seed=4)
        assert packed(first) == packed(second)
        for number in range(6):
            learn_one_block(first, spec, number)
            learn_one_block(second, spec, number)
            assert packed(first) == packed(second)
        assert first.score_many(xs, cs).tobytes() == second.score_many(xs, cs).tobytes()

    @pytest.mark.parametrize("blocks", [0, 1, 5])
    def test_saved_and_loaded_it_goes_on_with_the_same_bits(
        self, spec: LearnerSpec, start: Callable[[], BlockLearner], blocks: int
    ) -> None:
        learner, again, (xs, cs, _) = start(), start(), examples(spec, 30, seed=5)
        learn(learner, spec, blocks)
        learn_one_block(again, spec, 9)  # what was there before must be gone
        saved = packed(learner)
        again.load(unpacked(saved))
        assert packed(again) == saved
        for number in range(10, 14):
            assert again.score_many(xs, cs).tobytes() == learner.score_many(xs, cs).tobytes()
            learn_one_block(learner, spec, number)
            learn_one_block(again, spec, number)
            assert packed(again) == packed(learner)

    def test_a_state_is_a_copy(self, spec: LearnerSpec, start: Callable[[], BlockLearner]) -> None:
        learner = start()
        learn(learner, spec, 2)
        state = learner.state()
        before = encode(state.arrays, state.header)
        learn(learner, spec, 2)
        assert encode(state.arrays, state.header) == before

    def test_missing_numbers_and_unseen_categories_are_scored_and_learnt(
        self, spec: LearnerSpec, start: Callable[[], BlockLearner]
    ) -> None:
        learner, (xs, cs, ys) = start(), examples(spec, spec.block, seed=6)
        xs[:] = np.nan
        learner.learn_block(xs, cs, ys)
        unseen = np.full((1, 1), (1 << spec.bits) - 1)
        for x in (np.full((1, 3), np.nan), np.full((1, 3), 1e9), np.full((1, 3), -1e9), np.zeros((1, 3))):
            assert np.isfinite(learner.score_many(x, unseen)).all()
        learn(learner, spec, 3)
        assert np.isfinite(learner.score_many(np.full((1, 3), np.nan), unseen)).all()

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
    def test_a_label_that_is_none_is_refused_and_nothing_of_its_block_learnt(
        self, spec: LearnerSpec, start: Callable[[], BlockLearner], wrong: float
    ) -> None:
        learner, (xs, cs, ys) = start(), examples(spec, spec.block, seed=7)
        learn(learner, spec, 2)
        before = packed(learner)
        ys[-1] = wrong
        with pytest.raises(Fatal):
            learner.learn_block(xs, cs, ys)
        assert packed(learner) == before

    def test_one_kind_of_label_only_is_no_trouble(self, spec: LearnerSpec, start: Callable[[], BlockLearner]) -> None:
        learner, (xs, cs, ys) = start(), examples(spec, spec.block, seed=8)
        learner.learn_block(xs, cs, np.ones_like(ys))
        assert np.isfinite(learner.score_many(xs, cs)).all()

    # in the fold

    @pytest.mark.parametrize("sizes", [(1,), (7,), (64, 3), (100,)], ids=str)
    def test_any_split_of_the_log_gives_the_same_scores_and_state(self, sizes: tuple[int, ...]) -> None:
        app, batch = self._app(), events(self.make_spec())
        whole, judged = folded(app, [batch])
        fold, others = folded(self._app(), list(split(batch, sizes)))
        assert others == judged
        assert fold.state_hash() == whole.state_hash()
        assert whole.models["m"].report()["overall"]["live"]["n"] > 2 * self.make_spec().block

    @pytest.mark.parametrize("every", [29])
    def test_any_restart_gives_the_same_state(self, every: int, tmp_path: Path) -> None:
        app, batch = self._app(), events(self.make_spec())
        whole, _ = folded(app, [batch])
        fold = Fold(app)
        for part in split(batch, (every,)):
            store = Checkpoints(tmp_path)
            fold = restore(self._app(), store)
            saver = Checkpointer(fold, store)
            saver.gather(fold.step(Chunk(fold.seq, part)))
            saver.save()
            saver.wait()
            store.close()
        assert fold.state_hash() == whole.state_hash()

    def test_an_answer_has_the_bits_of_the_folds_score(self) -> None:
        """Asked before it is sent, an event is answered with the score that the fold then gives it."""
        run, spec = LocalRun(self._app()), self.make_spec()
        asked, sent = 0, list(rows(3 * spec.block + 150))

        def send(first: int, last: int) -> None:
            if first < last:
                run.log.append(batch_of(sent[first:last], first=first))
                run.catch_up()

        for at, row in enumerate(sent):
            if isinstance(row.event, Asked) and at % 5 == 1:
                send(run.seq, at)
                fields = {f: getattr(row.event, f) for f in ("id_", "a", "b", "shop")}
                said = run.predict("m", time=row.time_ms, **fields)["predictions"][0]["score"]
                send(at, at + 1)
                pending = run.fold.models["m"].pending
                assert pending.rows[pending.order()[-1], 4] == said
                asked += 1
        assert asked > 5

    def _app(self) -> App:
        spec = self.make_spec()
        value = Told.y > 0 if spec.loss == "log" else Told.y
        features: list[AnyFeature] = [Asked.a, Asked.b, mean(Told.y, by=Told.shop, half_life="1h"), category(Asked.shop)]
        said = label(value, join=Told.id_, on=Asked.id_, within="2h")
        twin = every_labels(spec.block + 1)
        return App("conformance", models=[Model("m", Asked, features, said, learner=spec, twins={"seldom": twin})])


def examples(spec: LearnerSpec, n: int, seed: int) -> Example:
    """Vectors of three numbers, some missing, and a category; labels that depend on them."""
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(n, 3)) * [1.0, 100.0, 0.1] + [0.0, 500.0, 0.0]
    cs = rng.integers(0, min(5, 1 << spec.bits), (n, 1))
    z = xs @ [1.0, 0.01, -5.0] - 5.0 + (cs[:, 0] == 1)
    xs[rng.random(xs.shape) < 0.1] = np.nan
    ys = (z + rng.normal(size=n) > 0).astype(np.float64) if spec.loss == "log" else z + 0.1 * rng.normal(size=n)
    return xs, cs, ys


def learn_one_block(learner: BlockLearner, spec: LearnerSpec, number: int) -> None:
    learner.learn_block(*examples(spec, spec.block, seed=100 + number))


def learn(learner: BlockLearner, spec: LearnerSpec, blocks: int) -> None:
    for number in range(blocks):
        learn_one_block(learner, spec, number)


def packed(learner: BlockLearner) -> bytes:
    """A learner's state as bytes."""
    state = learner.state()
    return encode(state.arrays, state.header)


def unpacked(data: bytes) -> LearnerState:
    """The other way round."""
    artifact = decode(data)
    return LearnerState(artifact.header, artifact.arrays)


def rows(n: int) -> Iterator[Seen]:
    """Questions whose labels come some events later, never, twice or corrected; shops that are new."""
    rng = np.random.default_rng(0)
    waiting: list[tuple[str, str, float]] = []
    for i in range(n):
        if waiting and rng.random() < 0.5:
            id_, shop, y = waiting.pop(int(rng.integers(len(waiting))))
            yield Seen(i * MINUTE_MS, Told(id_=id_, shop=shop, y=None if rng.random() < 0.05 else y))
            if rng.random() < 0.1:
                waiting.append((id_, shop, y * rng.choice([1.0, -1.0])))
            continue
        a, b, shop = rng.normal(), 100 * rng.normal(), f"s{int(rng.integers(3 + i // 50))}"
        missing = rng.random() < 0.1
        yield Seen(i * MINUTE_MS, Asked(id_=f"q{i}", a=None if missing else a, b=b, shop=shop))
        if rng.random() < 0.9:
            waiting.append((f"q{i}", shop, float(a + 0.01 * b + rng.normal())))


def events(spec: LearnerSpec) -> Batch:
    """A log long enough for several blocks."""
    return batch_of(list(rows(8 * spec.block + 40)))


def folded(app: App, parts: list[Batch]) -> tuple[Fold, bytes]:
    """The fold, and the judged rows as bytes."""
    fold, judged = Fold(app), b""
    for part in parts:
        effects = fold.step(Chunk(fold.seq, part))
        judged += b"".join(p.tobytes() for p in effects.judged.get("m", []))
    return fold, judged
