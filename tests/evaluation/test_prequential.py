"""The sequential heart: score first, judge, learn; labels late, early, twice, corrected, missing or for nobody."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.app import once
from headwater.testing.events import Seen

from .conftest import DAY, HOUR, MINUTE, Ask, Oracle, Told, folded, make_app

CORRECTION, BY_EXPIRY = 1, 2


def ask(time, id_="q", x=1.0, c="a"):
    return Seen(time, Ask(id_=id_, x=x, c=c))


def told(time, id_="q", y=1.0):
    return Seen(time, Told(id_=id_, y=y))


@st.composite
def logs(draw):
    """Up to 150 rows, some late, double, corrected, null, for nobody. Small searches find too little: a seed is drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids, gap = draw(st.sampled_from([3, 12, 60])), draw(st.sampled_from([MINUTE, 10 * MINUTE, 40 * MINUTE]))
    now, rows = 20 * HOUR, []
    for _ in range(draw(st.integers(0, 150))):
        now += int(rng.integers(gap))
        time = now - (int(rng.integers(80 * MINUTE)) if rng.random() < 0.2 else 0)
        id_ = f"q{rng.integers(ids)}"
        if rng.random() < 0.5:
            rows.append(ask(time, id_, [None, -1.0, 0.25, 3.0][rng.integers(4)], "abc"[rng.integers(3)]))
        else:
            rows.append(told(time, id_, [None, 0.0, 0.0, 1.0, 1.0][rng.integers(5)]))
    return rows


apps = st.builds(
    make_app, loss=st.sampled_from(["log", "squared"]), missing=st.sampled_from([hw.UNKNOWN, hw.NEGATIVE]),
    within=st.sampled_from(["30m", "3h", "12h"]),
    versions=st.sampled_from([hw.every("2h", utc_offset="+1h"), hw.every_labels(3), once(after=5)]),
    twins=st.fixed_dictionaries({}, optional={
        "nightly": st.just(hw.every("1d", utc_offset="-5h")), "frozen": st.sampled_from([once(after=0), once(after=4)]),
        "often": st.sampled_from([hw.every_labels(1), hw.every_labels(2)]),
    }),
)  # fmt: skip


@settings(max_examples=150)
@given(apps, logs(), st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_the_fold_is_its_description_in_plain_python(app, rows, sizes):
    done, oracle = folded(app, rows, tuple(sizes)), Oracle(app)
    oracle.fold(rows)
    assert [(d.name, d.seq, d.time_ms) for d in done.due] == oracle.due
    expected = np.array(oracle.judged).reshape(-1, done.judged.shape[1])
    assert done.judged.tobytes() == expected.tobytes()
    assert done.fold.models["m"].learner.weights.tobytes() == oracle.state.weights.tobytes()
    questions = done.questions
    assert {k: v for k, v in questions.items() if k not in ("pending", "refused", "blocked_weights")} == {
        k: oracle.counts[k] for k in questions if k not in ("pending", "refused", "blocked_weights")
    }
    assert questions["pending"] == sum(q.label is None for q in oracle.ring)
    assert (
        sum(c["late"] for c in done.fold.counts().values()) == oracle.counts["late"] == sum(len(e.late) for e in done.effects)
    )


def test_a_question_is_scored_before_its_label_is_learnt():
    done = folded(make_app(), [ask(0, "a"), told(1, "a"), ask(2, "b"), told(3, "b")])
    first, second = done.judged[:, 5]
    assert first == 0.5
    assert second > 0.5


def test_a_duplicate_has_no_effect_and_a_correction_replaces_and_is_learnt_once_more():
    rows = [ask(0, "a"), ask(1, "b"), told(2, "a", 1.0)]
    once_, twice = folded(make_app(), rows), folded(make_app(), [*rows, told(3, "a", 1.0), told(4, "a", 1.0)])
    assert twice.questions == {**once_.questions, "repeated": 2}
    assert twice.fold.models["m"].learner.weights.tobytes() == once_.fold.models["m"].learner.weights.tobytes()
    corrected = folded(make_app(), [*rows, told(3, "a", 0.0)])
    assert corrected.judged[:, 3].tolist() == [0, CORRECTION]
    straight = folded(make_app(), [*rows[:2], told(2, "a", 0.0)])
    for expert, values in corrected.fold.metrics()["m"]["overall"].items():
        assert values == pytest.approx(straight.fold.metrics()["m"]["overall"][expert], nan_ok=True)
    assert corrected.fold.models["m"].learner.counts[0] == 2


def test_a_missing_label_is_unknown_or_negative_as_declared():
    rows = [ask(0, "a"), ask(3 * HOUR + 2 * HOUR, "b"), ask(3 * HOUR + 2 * HOUR + 1, "c")]
    unknown, negative = folded(make_app(), rows), folded(make_app(missing=hw.NEGATIVE), rows)
    assert (unknown.questions["expired"], unknown.questions["labelled"], len(unknown.judged)) == (1, 0, 0)
    assert (negative.questions["expired"], negative.questions["labelled"]) == (1, 1)
    assert negative.judged[0, [0, 2, 3, 4]].tolist() == [0, 0.0, BY_EXPIRY, 2]


def test_many_questions_expire_at_once():
    """More judged rows than the batch has rows."""
    rows = [ask(i, f"q{i}") for i in range(3000)]
    done = folded(make_app(missing=hw.NEGATIVE), [*rows, ask(9 * HOUR, "end")], (3000, 1))
    assert (done.questions["expired"], len(done.judged), done.questions["pending"]) == (3000, 3000, 1)


def test_a_label_may_come_until_its_own_streams_lateness_has_passed():
    """An outcome with a time within bounds, held up in the log by less than its stream's 2 h, finds its question."""
    held_up = [ask(0, "a"), ask(4 * HOUR + 59 * MINUTE, "b"), told(2 * HOUR, "a")]
    assert folded(make_app(), held_up).questions["labelled"] == 1
    assert folded(make_app(missing=hw.NEGATIVE), held_up).judged[0, 2:4].tolist() == [1.0, 0.0]


def test_a_label_after_the_time_allowed_or_for_nobody_is_unmatched():
    done = folded(
        make_app(), [ask(0, "a"), told(3 * HOUR, "a"), ask(HOUR, "b"), told(4 * HOUR + 1, "b"), told(4 * HOUR + 1, "nobody")]
    )
    assert (done.questions["labelled"], done.questions["unmatched_labels"]) == (1, 2)


def test_a_label_before_its_question_is_unmatched():
    assert folded(make_app(), [told(0, "a"), ask(0, "a")]).questions["unmatched_labels"] == 1


def test_a_null_is_no_label():
    done = folded(make_app(), [ask(0, "a"), told(1, "a", None)])
    assert (done.questions["null_labels"], done.questions["pending"]) == (1, 1)


@pytest.mark.parametrize("missing", [hw.UNKNOWN, hw.NEGATIVE])
def test_a_superseded_question_gets_no_label_not_even_a_negative_one(missing):
    rows = [ask(0, "a"), ask(1, "a"), told(2, "a", 1.0), ask(9 * HOUR, "end")]
    done = folded(make_app(missing=missing), rows)
    assert done.judged[:, [0, 2]].tolist() == [[1, 1.0]]
    assert (done.questions["superseded"], done.questions["expired"]) == (1, 1)


def test_labels_that_the_loss_cannot_take_are_refused_and_counted():
    class Soft(hw.Event, key="id_", stream="told"):
        id_: hw.Field[str]
        y: hw.Field[float | None]

    label = hw.label(Soft.y, join=Soft.id_, on=Ask.id_, within="3h")
    app = hw.App("a", models=[hw.Model("m", on=Ask, features=[Ask.x], label=label)])
    done = folded(
        app, [ask(0, "a"), *(Seen(1, Soft(id_="a", y=y)) for y in (15.0, -1.0, float("inf"))), Seen(2, Soft(id_="a", y=0.25))]
    )
    assert (done.questions["refused"], done.questions["labelled"]) == (3, 1)
    assert all(math.isfinite(v) for v in done.fold.metrics()["m"]["overall"]["live"].values() if not math.isnan(v))


def test_a_stream_may_label_itself():
    """Next-step prediction: an event is first the outcome of the one before, then a question of its own."""

    class Tick(hw.Event, key="name"):
        name: hw.Field[str]
        x: hw.Field[float]

    label = hw.label(Tick.x, join=Tick.name, on=Tick.name, within="1d")
    app = hw.App("a", models=[hw.Model("m", on=Tick, features=[Tick.x], label=label, learner=hw.Linear(loss="squared"))])
    done = folded(app, [Seen(i, Tick(name="n", x=float(i % 4))) for i in range(20)], (3,))
    assert done.judged[:, 0].tolist() == list(range(19))
    assert done.judged[:, 2].tolist() == [float(i % 4) for i in range(1, 20)]
    assert done.judged[1:, -1].tolist() == [float(i % 4) for i in range(1, 19)]  # no change: the last value
    assert (done.questions["superseded"], done.questions["unmatched_labels"]) == (19, 1)


def long_log(seed, n=400):
    """Questions over four days with labels at random delays."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        time, x = int(i * 15 * MINUTE), float(rng.normal())
        rows.append(ask(time, f"q{i}", x, str(rng.choice(list("abc")))))
        if rng.random() < 0.8:
            rows.append(told(time + int(rng.integers(1, 170)) * MINUTE, f"q{i}", float(x + rng.normal() > 0)))
    return sorted(rows, key=lambda row: row.time_ms)


TWINS = {"nightly": hw.every("1d", utc_offset="-5h"), "frozen": once(after=100), "often": hw.every_labels(37)}


@pytest.mark.parametrize("sizes", [(1,), (7,), (256,), (5, 90, 1)], ids=str)
def test_twins_and_versions_are_published_at_the_same_places_in_any_split(sizes):
    app, rows = make_app(twins=TWINS, versions=hw.every("12h")), long_log(0)
    whole, parts = folded(app, rows), folded(app, rows, sizes)
    assert [(d.name, d.seq, d.time_ms) for d in parts.due] == [(d.name, d.seq, d.time_ms) for d in whole.due]
    for mine, theirs in zip(whole.due, parts.due, strict=True):
        assert {k: v.tobytes() for k, v in mine.arrays.items()} == {k: v.tobytes() for k, v in theirs.arrays.items()}
    assert parts.fold.state_hash() == whole.fold.state_hash()


def test_calendars_ring_before_the_first_question_of_a_new_day():
    rows, app = long_log(1), make_app(twins={"nightly": hw.every("1d", utc_offset="-5h")}, versions=hw.every("1d"))
    due = folded(app, rows).due
    for name, offset in (("nightly", 5 * HOUR), ("", 0)):
        days = [(r.time_ms - offset) // DAY for r in rows]
        asked = [i for i, r in enumerate(rows) if isinstance(r.event, Ask)]
        expected = [j for i, j in pairwise(asked) if days[i] < days[j]]
        assert [d.seq for d in due if d.name == name] == expected
    assert min(d.time_ms for d in due) >= 5 * HOUR  # the first question only starts the calendar


def test_a_question_exactly_at_midnight_belongs_to_the_new_day():
    rows = [ask(DAY - 1, "a"), ask(DAY, "b"), ask(DAY + 1, "c"), ask(3 * DAY + 5, "d")]
    assert [(d.seq, d.time_ms) for d in folded(make_app(), rows).due] == [(1, DAY), (3, 3 * DAY + 5)]  # a missed day rings once


def test_once_is_before_the_question_of_that_number():
    done = folded(
        make_app(twins={"frozen": once(after=2)}),
        [ask(0, "a"), told(1, "a"), ask(2, "b"), told(3, "b"), ask(4, "c"), told(5, "c")],
    )
    assert [(d.name, d.seq) for d in done.due] == [("frozen", 4)]
    scores = done.judged[:, 6]
    assert scores[:2].tolist() == [0.5, 0.5]
    assert scores[2] == done.judged[2, 5]  # the live weights of that moment


def test_every_n_labels_is_before_the_next_event():
    rows = [ask(i, f"q{i}") for i in range(5)] + [told(10 + i, f"q{i}") for i in range(5)]
    assert [(d.name, d.seq) for d in folded(make_app(twins={"t": hw.every_labels(2)}), rows).due] == [("t", 7), ("t", 9)]


@pytest.mark.parametrize("other", [hw.every_labels(1), hw.every_labels(3)])
def test_a_twins_moments_do_not_depend_on_other_twins(other):
    """A label stops the walk for one rule; calendars and numbers of questions must not ring there."""
    rows = long_log(2)
    alone = {name: TWINS[name] for name in ("nightly", "frozen")}
    without, with_ = folded(make_app(twins=alone), rows), folded(make_app(twins={**alone, "often": other}), rows)
    assert [(d.name, d.seq) for d in without.due] == [(d.name, d.seq) for d in with_.due if d.name != "often"]
    assert without.judged[:, 5:8].tobytes() == with_.judged[:, 5:8].tobytes()


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 700))
def test_poisoned_future_labels_change_no_earlier_score(seed, cut):
    """No look-ahead: every label from a place in the log on is flipped, and nothing scored before it moves."""
    rows = long_log(seed % 50)
    cut = min(cut, len(rows))
    poisoned = rows[:cut] + [
        r._replace(event=r.event.replace(y=1.0 - r.event.y)) if isinstance(r.event, Told) else r for r in rows[cut:]
    ]
    app = make_app(twins=TWINS, missing=hw.NEGATIVE)
    true, false = folded(app, rows), folded(app, poisoned)
    scores = [{int(j[0]): j[5:].tobytes() for j in done.judged} for done in (true, false)]
    both = scores[0].keys() & scores[1].keys()
    early = [seq for seq in both if seq < cut]
    assert all(scores[0][seq] == scores[1][seq] for seq in early)
    if cut < 100:
        assert any(scores[0][seq] != scores[1][seq] for seq in both if seq >= cut)  # the poison does work
    prefix = [folded(app, log[:cut]).fold.state_hash() for log in (rows, poisoned)]
    assert prefix[0] == prefix[1]
