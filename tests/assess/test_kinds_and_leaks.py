"""What columns are taken for, and which of them know the label."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.assess.choices import Choices
from headwater.assess.encoding import prepare
from headwater.core.errors import Fatal

from .conftest import moments, save

N = 4000
CHOICES = Choices(label="label", time="ts")


def found(tmp_path, y, choices=CHOICES, **columns):
    rng = np.random.default_rng(9)
    table = {"ts": moments(N), "other": rng.normal(size=N).round(6).tolist(), **columns, "label": list(y)}
    return prepare(save(tmp_path / "t.csv", table), choices)


@pytest.fixture
def y():
    return np.random.default_rng(3).integers(0, 2, N)


def test_kinds(tmp_path, y):
    rng = np.random.default_rng(1)
    words = np.array(["red", "green", "blue", "heavy", "light", "small", "big", "round"])
    made = found(
        tmp_path, y,
        user_id=rng.integers(100, 200, N), zip=[f"0{i % 90:04d}" for i in range(N)], userId=rng.integers(1, 9, N),
        row_id=range(N), token=[f"t{i}" for i in range(N)], city=rng.choice(["ulm", "bonn"], N), fixed=[7] * N,
        flag=rng.integers(0, 2, N), age=rng.integers(18, 90, N), seen=moments(N), nothing=[""] * N,
        remark=[" ".join(rng.choice(words, 6)) + f" {i}" for i in range(N)],
    )  # fmt: skip
    assert {name: kind.name for name, kind in made.kinds.items()} == {
        "other": "number", "user_id": "category", "zip": "category", "userId": "category", "row_id": "identifier",
        "token": "identifier", "city": "category", "fixed": "constant", "flag": "number", "age": "number", "seen": "time",
        "nothing": "empty", "remark": "text",
    }  # fmt: skip
    assert made.kinds["user_id"].why == "integers named like ids"


def test_integers_that_behave_like_ids(tmp_path):
    """Each of 100 places has its own rate, and neighbours have nothing in common."""
    rng = np.random.default_rng(2)
    rates = rng.permutation(np.linspace(0.05, 0.95, 100))
    place = rng.integers(0, 100, 4 * N)
    smooth = rng.integers(1, 101, 4 * N)
    y = (rng.random(4 * N) < 0.5 * rates[place] + 0.5 * smooth / 100).astype(int)
    table = {"ts": moments(4 * N), "place": 7000 + 13 * place, "smooth": smooth, "label": y}
    made = prepare(save(tmp_path / "t.csv", table), CHOICES)
    assert (made.kinds["place"].name, made.kinds["place"].why) == ("category", "integers that behave like ids")
    assert made.kinds["smooth"].name == "number"


def test_what_the_user_says_wins(tmp_path, y):
    ages = np.random.default_rng(1).integers(18, 90, N)
    made = found(tmp_path, y, Choices("label", "ts", category=("age",), text=("city",)), age=ages, city=["a b", "c"] * (N // 2))
    assert (made.kinds["age"].name, made.kinds["city"].name) == ("category", "text")


def leaks(made):
    return [leak.column for leak in made.leaks]


def test_a_copy_of_the_label_in_any_coding(tmp_path, y):
    rng = np.random.default_rng(5)
    made = found(
        tmp_path, y, delay=np.where(y == 1, 40.0, 3.0) + rng.normal(size=N), state=np.where(y == 1, "lost", "won"),
        closed_at=np.where(y == 1, "", rng.integers(1, 99, N).astype(str)), hint=y + 2 * rng.normal(size=N),
    )  # fmt: skip
    assert sorted(leaks(made)) == ["closed_at", "delay", "state"]
    assert made.encoded.names == ("other", "hint")


def test_kept_columns_are_features(tmp_path, y):
    made = found(tmp_path, y, Choices("label", "ts", keep=("copy",)), copy=y)
    assert leaks(made) == []
    assert "copy" in made.encoded.names


def test_an_outcome_by_name_needs_to_tell_something(tmp_path, y):
    rng = np.random.default_rng(6)
    half = np.where(rng.random(N) < 0.5, y, rng.integers(0, 2, N))
    made = found(tmp_path, y, strong_correct=half, weak=half, correct_by_chance=rng.integers(0, 2, N))
    assert leaks(made) == ["strong_correct"]
    assert "name speaks of an outcome (correct)" in made.leaks[0].why


def test_long_runs_of_equal_labels_make_no_leak(tmp_path):
    """A clock, a run's number, and a mean of the last labels tell nearly all rows, but not the first of a run."""
    y = (np.arange(N) // 80) % 2
    recent = np.convolve(y, np.ones(3), "full")[:N] - y
    made = found(tmp_path, y, clock=np.arange(N) * 1.5, run=np.arange(N) // 80 * 1.5, recent=recent)
    assert leaks(made) == []


def test_regression(tmp_path):
    rng = np.random.default_rng(7)
    y = np.cumsum(rng.normal(size=N)).round(4)
    made = found(
        tmp_path, y, in_cents=(100 * y).round(2), yesterday=np.r_[0, y[:-1]], near=y + 30 * rng.normal(size=N),
    )  # fmt: skip
    assert made.encoded.task == "regression"
    assert leaks(made)[0] == "in_cents"
    assert not {"yesterday", "near"} & set(leaks(made))


def test_several_classes(tmp_path):
    rng = np.random.default_rng(8)
    y = rng.integers(0, 4, N)
    made = found(tmp_path, [f"class {c}" for c in y], code=[f"k{c}" for c in y], two=y // 2, hint=y + rng.normal(size=N))
    assert made.encoded.task == "multiclass"
    assert leaks(made) == ["code"]


def test_nothing_left(tmp_path, y):
    with pytest.raises(Fatal, match=r"no column is left.*--keep"):
        found(tmp_path, y, Choices("label", "ts", drop=("other",)), copy=y)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ([0, 1], "binary", ("0", "1")), ([2, 1], "binary", ("1", "2")), (["no", "yes"], "binary", ("no", "yes")),
        (["ok", "fraud"], "binary", ("ok", "fraud")), ([1, 2, 3], "multiclass", ("1", "2", "3")),
        ([0.5, 1.0, 2.5], "regression", ()),
    ],
)  # fmt: skip
def test_tasks(tmp_path, values, task, classes):
    encoded = found(tmp_path, [values[i % len(values)] for i in range(N)], seen=np.arange(N)).encoded
    assert (encoded.task, encoded.classes) == (task, classes)


def test_of_two_unknown_texts_the_rarer_one_is_asked_for(tmp_path):
    encoded = found(tmp_path, ["b" if i % 3 else "a" for i in range(N)], seen=np.arange(N)).encoded
    assert encoded.classes == ("b", "a")
    assert encoded.y.mean() == pytest.approx(1 / 3, abs=1e-3)
