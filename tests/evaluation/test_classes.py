"""Several classes: the compiled walk is its description in plain Python, and its metrics are scikit-learn's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, recall_score

import headwater as hw
from headwater.core.batch import frame
from headwater.learning.classes import OTHER
from headwater.learning.linear import base_of
from headwater.learning.softmax import SoftmaxState, learn_classes, score_classes
from headwater.learning.vectors import category_matrix
from headwater.log.protocol import Chunk
from headwater.runtime.fold import Fold
from headwater.testing.events import Seen, batch_of, split

from .conftest import HOUR, MINUTE, Ask

N_CLASSES = 3  # declared: logs have five, and a sixth comes late


class Seems(hw.Event, key="id_", lateness="2h"):
    id_: hw.Field[str]
    kind: hw.Field[str | None]
    code: hw.Field[int | None]


def make_app(*, value: Any = Seems.kind, classes: int = N_CLASSES, **options: Any) -> hw.App:
    label = hw.label(value, join=Seems.id_, on=Ask.id_, within="3h")
    learner = hw.Softmax(classes=classes, eta0=0.5, bits=6)
    twins = {"often": hw.every_labels(2), "frozen": hw.once(after=4)}
    features: list[Any] = [Ask.x, hw.category(Ask.c)]
    options = {"learner": learner, "twins": twins, **options}
    return hw.App("a", models=[hw.Model("m", on=Ask, features=features, label=label, **options)])


def ask(time, id_="q", x=1.0, c="a"):
    return Seen(time, Ask(id_=id_, x=x, c=c))


def told(time, id_="q", kind: str | None = "sun", code=None):
    return Seen(time, Seems(id_=id_, kind=kind, code=code))


def folded(app, rows, sizes=(10**9,)):
    fold, judged = Fold(app), []
    for part in split(batch_of(rows), sizes):
        judged += fold.step(Chunk(fold.seq, part)).judged.get("m", [])
    return fold, np.concatenate(judged) if judged else np.zeros((0, 5 + len(app.models["m"].experts)))


class Oracle:
    """Dictionaries and lists, one event at a time; labels in the order of the log, distributions kept with the questions."""

    def __init__(self, app):
        self.model, self.counts = app.models["m"], Counter()
        self.spec, self.k = self.model.learner, self.model.learner.width
        self.state = SoftmaxState(self.spec.linear(), 1, self.k)
        copy = self.state.copy()
        self.twins = {"often": copy, "frozen": copy}
        self.numbers: dict[str, int] = {}
        self.after: dict[int | None, Counter[int]] = {}
        self.waiting: dict[str, dict[str, Any]] = {}
        self.last = None
        self.judged: list[list[float]] = []
        self.verdicts: list[tuple[dict[str, Any], int]] = []
        self.high = {"ask": -(2**62), "seems": -(2**62)}

    def fold(self, rows):
        for seq, (time, event, _) in enumerate(rows):
            schema = event.schema
            if time < self.high[schema.stream] - schema.lateness_ms:
                continue
            self.high[schema.stream] = max(self.high[schema.stream], time)
            if self.counts["labelled"] >= self.counts["next"] + 2:
                self.counts["next"] = self.counts["labelled"] // 2 * 2
                self.twins["often"] = self.state.copy()
            if schema.stream == "ask":
                if self.counts["scored"] == 4 and not self.counts["froze"]:
                    self.counts["froze"] = 1
                    self.twins["frozen"] = self.state.copy()
                self.ask(seq, time, event)
            else:
                self.told(seq, time, event)

    def ask(self, seq, time, event):
        x = np.array([[np.nan if event.x is None else event.x]])
        c = category_matrix(self.model.categories, frame(Ask.schema, [event]), np.array([time]), base_of(1), self.spec.bits)
        said = [self.line(copy, x, c) for copy in (self.state.copy(), *self.twins.values())]
        self.waiting[event.id_] = {
            "seq": seq, "time": time, "x": x, "c": c, "said": [*said, self.no_change()], "base": self.last and self.last[2],
            "label": None,
        }  # fmt: skip
        self.counts["scored"] += 1

    def line(self, copy, x, c):
        p = np.zeros((1, 1 + len(self.numbers)))
        score_classes(copy["weights"], copy["stats"], copy["met"], x, c, self.state.params, p)
        met = {i for i in range(p.size) if copy["met"][i]}
        new = 1.0 / (2 + copy["met"].sum())
        return int(p.argmax()) if met else None, {i: p[0, i] for i in met}, new

    def no_change(self):
        state = self.number(self.last[2]) if self.last else None
        seen = self.after.get(state, Counter())
        total = sum(seen.values()) + len(self.numbers) + 2
        shares = {i: (seen[i] + 1) / total for i in range(1 + len(self.numbers))}
        best = max(sorted(seen), key=lambda i: seen[i]) if seen else None
        return best, shares, 1 / total

    def number(self, kind):
        if kind in self.numbers:
            return self.numbers[kind]
        return 0 if len(self.numbers) == self.k - 1 else None

    def told(self, seq, time, event):
        question = self.waiting.get(event.id_)
        if event.kind is None:
            self.counts["null_labels"] += 1
            return
        if event.kind == "":
            self.counts["refused"] += 1
        elif question is None or time > question["time"] + 3 * HOUR:
            self.counts["unmatched_labels"] += 1
        else:
            y = self.number(event.kind)
            if y is None:
                y = self.numbers[event.kind] = 1 + len(self.numbers)
            self.counts["beyond_classes"] += y == 0
            if question["label"] == y:
                self.counts["repeated"] += 1
            else:
                self.settle(question, y, seq)
        if self.last is None or (time, seq) > self.last[:2]:
            self.last = (time, seq, event.kind)

    def settle(self, question, y, seq):
        first = question["label"] is None
        if first:
            self.counts["labelled"] += 1
            state = None if question["base"] is None else self.number(question["base"])
            if question["base"] is not None:
                question["said"][-1] = (state, *question["said"][-1][1:])
            self.after.setdefault(state, Counter())[y] += 1
        self.counts["corrected"] += not first
        question["label"] = y
        scores = [p.get(y, new) for _, p, new in question["said"]]
        self.judged.append([question["seq"], question["time"], y, not first, seq, *scores])
        s = self.state
        learn_classes(
            s.weights,
            s.squares,
            s.stats,
            s.met,
            s.counts,
            question["x"],
            question["c"],
            np.array([y]),
            s.params,
            np.zeros((1, self.k)),
        )


@st.composite
def logs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids, gap = draw(st.sampled_from([3, 12, 60])), draw(st.sampled_from([MINUTE, 10 * MINUTE]))
    now, rows = 20 * HOUR, []
    n = draw(st.integers(0, 150))
    kinds = ["sun", "rain", "rain", "snow", "fog", "hail", "", None]
    for i in range(n):
        now += int(rng.integers(gap))
        time = now - (int(rng.integers(80 * MINUTE)) if rng.random() < 0.2 else 0)
        id_ = f"q{rng.integers(ids)}"
        if rng.random() < 0.5:
            rows.append(ask(time, id_, [None, -1.0, 0.25, 3.0][rng.integers(4)], "abc"[rng.integers(3)]))
        else:
            rows.append(told(time, id_, "new" if i > 0.8 * n and rng.random() < 0.2 else kinds[rng.integers(len(kinds))]))
    return rows


@settings(max_examples=40)
@given(logs(), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.sampled_from([2, 3, 10]))
def test_the_fold_is_its_description_in_plain_python(rows, sizes, classes):
    app = make_app(classes=classes)
    (fold, judged), oracle = folded(app, rows, tuple(sizes)), Oracle(app)
    oracle.fold(rows)
    expected = np.array(oracle.judged, np.float64).reshape(-1, judged.shape[1])
    assert judged[:, :5].tolist() == expected[:, :5].tolist()
    assert judged[:, 5:].tobytes() == expected[:, 5:].tobytes()
    model = fold.models["m"]
    assert model.learner.weights.tobytes() == oracle.state.weights.tobytes()
    assert model.learner.names == list(oracle.numbers)
    assert model.learner.met.tolist() == oracle.state.met.tolist()
    questions = model.report()["questions"]
    for name in ("scored", "labelled", "corrected", "repeated", "unmatched_labels", "null_labels", "refused", "beyond_classes"):
        assert questions[name] == oracle.counts[name], name


def stream(n=1500, seed=0):
    """Kinds that depend on x and c and take turns; each label comes a few questions later."""
    rng = np.random.default_rng(seed)
    rows, names = [], ["sun", "rain", "snow", "fog"]
    for i in range(n):
        x, c = float(rng.normal()), "abc"[rng.integers(3)]
        kind = names[int(np.argmax(np.array([x, -x, x * x - 1, 0.3]) + 0.3 * rng.gumbel(size=4)))]
        rows.append((i * MINUTE, ask(i * MINUTE, f"q{i}", x, c)))
        rows.append((i * MINUTE + int(rng.integers(1, 20 * MINUTE)), told(0, f"q{i}", kind)))
    rows.sort(key=lambda row: row[0])
    return [Seen(time, row.event) for time, row in rows]


def test_the_metrics_are_scikit_learns():
    """Distributions as the ring kept them (nothing expires), against the labels: River is the learner's own oracle."""
    app, rows = make_app(classes=10), stream()
    app.models["m"].label.__class__  # noqa: B018
    label = hw.label(Seems.kind, join=Seems.id_, on=Ask.id_, within="30d")
    app = hw.App(
        "a", models=[hw.Model("m", on=Ask, features=app.models["m"].features, label=label, learner=hw.Softmax(classes=10))]
    )
    fold, judged = folded(app, rows, (97,))
    model = fold.models["m"]
    ring, k = model.pending.rows[model.pending.order()], model.learner.spec.width
    y, report = ring[:, 2].astype(int), model.report()
    for e, name in enumerate(["live", "no_change"]):
        said, p = ring[:, 4 + e * (1 + k)], ring[:, 5 + e * (1 + k) : 5 + e * (1 + k) + k]
        got = report["overall"][name]
        chosen = np.clip(p[np.arange(y.size), y], 1e-15, None)
        two = np.column_stack([1 - chosen, chosen])
        assert got["log_loss"] == pytest.approx(log_loss(np.ones(y.size), two, labels=[0, 1]), rel=1e-9)
        assert got["accuracy"] == pytest.approx(accuracy_score(y, said.astype(int)))
        assert got["mean_recall"] == pytest.approx(recall_score(y, said.astype(int), average="macro", labels=np.unique(y)))
        assert got["n"] == 1500
    assert report["overall"]["live"]["accuracy"] > report["overall"]["no_change"]["accuracy"] + 0.2
    np.testing.assert_array_equal(np.sort(judged[:, 5]), np.sort(ring[np.arange(y.size), 5 + y]))
    by_class = {one["label"]: one for one in report["classes"]}
    assert {name: one["labels"] for name, one in by_class.items()} == Counter(
        r.event.kind for r in rows if hasattr(r.event, "kind")
    )
    assert sum(one["right"] for one in by_class.values()) / 1500 == pytest.approx(report["overall"]["live"]["accuracy"])
    assert sum(one["recent_labels"] for one in by_class.values()) == 1500


def test_recent_metrics_forget_blocks_of_a_thousand_labels():
    rows = [
        row
        for i in range(11_500)
        for row in (ask(i * 1000, f"q{i}"), told(i * 1000 + 1, f"q{i}", "sun" if i < 5000 else "rain"))
    ]
    fold, _ = folded(make_app(), rows, (4096,))
    one, two = fold.metrics()["m"]["classes"]
    assert (one["label"], one["labels"], one["recent_labels"]) == ("sun", 5000, 3000)
    assert (two["label"], two["labels"], two["recent_labels"]) == ("rain", 6500, 6500)
    assert fold.metrics()["m"]["recent"]["live"]["n"] == 9500


def test_a_class_beyond_the_declared_number_is_one_of_the_others_and_said_to_be():
    rows = [row for i, kind in enumerate("abcdeed") for row in (ask(2 * i, f"q{i}"), told(2 * i + 1, f"q{i}", kind))]
    fold, judged = folded(make_app(classes=3), rows)
    assert judged[:, 2].tolist() == [1, 2, 3, 0, 0, 0, 0]
    report = fold.metrics()["m"]
    assert report["questions"]["beyond_classes"] == 4
    assert [one["label"] for one in report["classes"]] == [OTHER, "a", "b", "c"]


def test_a_question_keeps_what_was_said_when_it_was_asked():
    """A class that came up between question and label had the probability of something new: 1 / (2 + labels learnt)."""
    rows = [ask(0, "a"), ask(1, "b"), told(2, "a", "sun"), told(3, "b", "rain"), ask(4, "c"), told(5, "c", "fog")]
    _, judged = folded(make_app(), rows)
    assert judged[:, 5].tolist() == [0.5, 0.5, 0.25]


def test_a_correction_takes_the_first_verdict_back():
    rows = [ask(0, "a"), told(1, "a", "sun"), ask(2, "b"), told(3, "b", "rain")]
    straight, _ = folded(make_app(), [*rows[:3], told(3, "b", "sun")])
    corrected, judged = folded(make_app(), [*rows, told(4, "b", "sun")])
    assert judged[:, 3].tolist() == [0, 0, 1]
    for expert, values in corrected.metrics()["m"]["overall"].items():
        assert values == pytest.approx(straight.metrics()["m"]["overall"][expert])


@pytest.mark.parametrize("bad", ["", "x" * 257, OTHER])
def test_a_text_that_names_no_class_is_refused_and_counted(bad):
    fold, judged = folded(make_app(), [ask(0, "a"), told(1, "a", bad), told(2, "a", "x" * 256)])
    assert fold.metrics()["m"]["questions"]["refused"] == 1
    assert fold.models["m"].learner.names == ["x" * 256]
    assert len(judged) == 1


@pytest.mark.parametrize("name", ["naïve ☔", "a\tb\nc\0", 'q"\\', "[red]", "\u202e", " "])
def test_names_may_have_any_characters(name):
    fold, _ = folded(make_app(), [ask(0, "a"), told(1, "a", name)], (1,))
    assert fold.models["m"].learner.names == [name]
    fold.models["m"].restore({**fold.models["m"].learner.arrays(), **fold.models["m"].arrays()})
    assert fold.models["m"].learner.names == [name]


def test_whole_numbers_are_classes_too_and_keep_their_digits():
    big = 2**62 + 1
    rows = [
        row
        for i, code in enumerate([7, -3, big, big - 1])
        for row in (ask(2 * i, f"q{i}"), told(2 * i + 1, f"q{i}", None, code))
    ]
    fold, judged = folded(make_app(value=Seems.code, classes=5), rows)
    assert fold.models["m"].learner.names == ["7", "-3", str(big), str(big - 1)]
    assert judged[:, 2].tolist() == [1, 2, 3, 4]


def test_no_change_repeats_the_last_class():
    rows = [
        row for i in range(200) for row in (ask(2 * i, f"q{i}"), told(2 * i + 1, f"q{i}", "sun" if i // 50 % 2 else "rain"))
    ]
    fold, _ = folded(make_app(), rows)
    same = fold.metrics()["m"]["overall"]["no_change"]
    assert same["accuracy"] == 196 / 200
    assert same["log_loss"] < 0.25


def test_what_cannot_work_is_refused_when_it_is_declared():
    for make, says in (
        (lambda: make_app(value=Seems.code > 1), "does not name a class; expected a field of type str or int"),
        (lambda: make_app(learner=hw.Linear()), "a text is given as a label.*learner=hw.Softmax"),
        (lambda: hw.Softmax(classes=1), r"hw\.Softmax\.classes.*2 \.\. 200; got 1"),
        (lambda: hw.Softmax(classes=200, bits=16), r"hw\.Softmax\.bits.*got 200 \* 2\^16"),
        (lambda: hw.Softmax(eta0=-1.0), r"hw\.Softmax\.eta0"),
        (lambda: hw.Softmax(optimizer="ftrl"), r"hw\.Softmax\.optimizer: .*'adagrad' or 'sgd'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(hw.DeclarationError, match=says):
            make()

    class Diagnosis(hw.Event, key="id_"):
        id_: hw.Field[str]
        name: hw.Field[str] = hw.Field(personal=True)

    label = hw.label(Diagnosis.name, join=Diagnosis.id_, on=Ask.id_, within="3h")
    with pytest.raises(hw.DeclarationError, match="names of classes are shown, and this field is personal"):
        hw.Model("m", on=Ask, features=[Ask.x], label=label, learner=hw.Softmax())
    label = hw.label(Seems.kind, join=Seems.id_, on=Ask.id_, within="3h", missing=hw.NEGATIVE)
    with pytest.raises(hw.DeclarationError, match="a missing label names no class"):
        hw.Model("m", on=Ask, features=[Ask.x], label=label, learner=hw.Softmax())
