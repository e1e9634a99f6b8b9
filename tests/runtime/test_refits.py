"""Refits in a replay: the same plans and bits for any batches and restarts, and what goes wrong leaves the served model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.core.clock import VirtualClock
from headwater.core.errors import Fatal
from headwater.following.notices import PLANS
from headwater.log.protocol import Chunk
from headwater.planning.ledger import Ledger
from headwater.planning.rungs import Trees
from headwater.runtime.checkpointing import Checkpointer, restore
from headwater.runtime.fold import Fold
from headwater.runtime.marks import Refit
from headwater.runtime.refitting import RefitsAtOnce, jobs_report, upkeep_of
from headwater.store.checkpoint import Checkpoints
from headwater.testing import LocalRun
from headwater.testing.events import Seen, batch_of, split

pytest.importorskip("lightgbm")
MINUTE = 60_000


class Ask(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    a: hw.Field[float | None]
    b: hw.Field[float]
    shop: hw.Field[str]


class Told(hw.Event, key="id_", lateness="1h"):
    id_: hw.Field[str]
    shop: hw.Field[str]
    y: hw.Field[float]


def app_of(update=None, **more):
    slow = hw.LightGBM(trees=6, num_leaves=4, min_data_in_leaf=5, window=400, refit_every=100)
    learner = hw.Fast(slow=slow, update=update, block=16, bits=8, decide_every=48)
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="1h")
    features = [Ask.a, Ask.b, hw.category(Ask.shop)]
    return hw.App(
        "a", models=[hw.Model("m", on=Ask, features=features, label=label, learner=learner, baseline_by=Told.shop, **more)]
    )


def seen(n, *, turn=None, every_ms=MINUTE, label=None, seed=0):
    """What only trees can see: whether two numbers have the same sign; it turns round at `turn`."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        a, b, shop = rng.normal(), rng.normal(), f"s{rng.integers(4)}"
        y = np.sign(a * b) * (1 if i < (turn or n) else -1) + 0.2 * rng.normal() if label is None else label
        yield Seen(i * every_ms, Ask(id_=str(i), a=None if i % 17 == 0 else a, b=b, shop=shop))
        yield Seen(i * every_ms + 1000, Told(id_=str(i), shop=shop, y=y))


def walked(app, rows, sizes=(10**6,), restart_at=(), folder=None, refits=None):
    """(fold, refits) after all rows, in batches of those sizes; the fold saved, dropped and restored after some batches."""
    fold, refits = Fold(app), refits or RefitsAtOnce(app)
    refits.attach(fold)
    for number, part in enumerate(split(batch_of(rows), sizes)):
        refits.take(fold.step(Chunk(fold.seq, part)))
        if number in restart_at:
            store = Checkpoints(folder / str(number))
            saver = Checkpointer(fold, store)
            saver.save()
            saver.wait()
            fold = restore(app, store)
            store.close()
            refits.attach(fold)
    return fold, refits


APP = app_of()
ROWS = list(seen(700, turn=400))


@pytest.fixture(scope="module")
def whole():
    return walked(APP, ROWS)


def test_the_planner_fits_once_there_are_labels_and_again_after_the_world_has_turned(whole):
    _, refits = whole
    fits = [(at, plan.why) for _, at, _, plan in refits.plans if plan.action == "fit"]
    assert fits[0][0] < 600
    assert "first model" in fits[0][1]
    assert any(at > 800 for at, _ in fits)
    report = jobs_report(refits.ledger)
    assert report["served"] == report["updates"] == len(fits)
    assert report["gained_loss"] > 0


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=5), restart=st.integers(0, 6))
def test_any_batches_and_any_restart_give_the_same_bits_and_plans(whole, tmp_path_factory, sizes, restart):
    folder = tmp_path_factory.mktemp("restart")
    fold, refits = walked(APP, ROWS, tuple(sizes), restart_at=(restart,), folder=folder)
    assert fold.state_hash() == whole[0].state_hash()
    assert [(at, plan.why) for _, at, _, plan in refits.plans] == [(at, plan.why) for _, at, _, plan in whole[1].plans]


LADDERS = {
    names: app_of(hw.Planner(budget="50% of a core", methods=names)) for names in [("steps", "full"), ("window", "full")]
}


TURNED = list(seen(900, turn=500))


@pytest.fixture(scope="module", params=LADDERS, ids="-".join)
def climbed(request):
    return LADDERS[request.param], *walked(LADDERS[request.param], TURNED)


def fits_of(refits):
    return [(job.method, job.outcome, job.rows, job.core_s) for job in refits.ledger.jobs("fit")]


@settings(max_examples=3, deadline=None)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=5), restart=st.integers(0, 6))
def test_methods_are_chosen_alike_for_any_batches_and_restarts(climbed, tmp_path_factory, sizes, restart):
    app, whole, refits = climbed
    fold, again = walked(app, TURNED, tuple(sizes), restart_at=(restart,), folder=tmp_path_factory.mktemp("restart"))
    assert fold.state_hash() == whole.state_hash()
    assert fits_of(again) == fits_of(refits)


def test_steps_add_a_quarter_of_the_trees_and_the_older_ones_stay():
    app = LADDERS["steps", "full"]
    fold, refits = walked(app, ROWS)
    (full, *steps), made = refits.ledger.jobs("fit"), refits._forests["m"]
    assert (full.method, {job.method for job in steps}) == ("full", {"steps"})
    assert refits.upkeeps["m"].rungs.trees.n == made.roots.size == 6 + 2 * len(steps)
    before, _ = walked(app, ROWS[:800])
    old = before.models["m"].learner.snapshot()["learner.forest.values"]
    new = fold.models["m"].learner.snapshot()["learner.forest.values"]
    np.testing.assert_array_equal(new[: old.size], old)


@pytest.mark.parametrize(("trees", "leaves", "there_are_steps"), [(60, 31, True), (120, 63, False)])
def test_steps_need_room_for_the_leaves_of_all_trees(trees, leaves, there_are_steps):
    spec = hw.Fast(slow=hw.LightGBM(trees=trees, num_leaves=leaves), update=hw.Planner(methods=("steps", "full")))
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="1h")
    rungs = upkeep_of(hw.Model("m", on=Ask, features=[Ask.b], label=label, learner=spec), Ledger()).rungs
    rungs.learn(np.arange(300) % 2.0)
    rungs.trees = Trees(trees)
    prices, _ = rungs.prices(300, 300)
    assert ("steps" in prices) is there_are_steps


def test_steps_that_fail_leave_the_model_and_are_charged(monkeypatch):
    def broken(*_):
        raise ValueError("no more trees today")

    monkeypatch.setattr("headwater.learning.boosted.Grown.fit", broken)
    app = LADDERS["steps", "full"]
    fold, refits = walked(app, ROWS)
    assert ("steps", "failed") in [(job.method, job.outcome) for job in refits.ledger.jobs("fit")]
    assert refits.upkeeps["m"].rungs.trees.n == fold.models["m"].learner.snapshot()["learner.forest.roots"].size == 6
    assert any("no more trees today" in plan.why and "served model stays" in plan.why for *_, plan in refits.plans)


def test_a_window_is_tried_chosen_and_may_wait():
    _, refits = walked(LADDERS["window", "full"], TURNED)
    jobs = refits.ledger.jobs("fit")
    assert {"waits", "served"} == {job.outcome for job in jobs}
    assert any(job.method == "window" and job.rows in {100, 200} for job in jobs)
    assert any("as many more would bring" in plan.why for *_, plan in refits.plans)


def test_the_answer_is_the_folds_own_and_needs_no_library(whole):
    run = LocalRun(APP)
    run.log.append(batch_of(ROWS))
    run.catch_up()
    assert run.state_hash() == whole[0].state_hash()
    run.send(Ask(id_="new", a=1.0, b=2.0, shop="s1"), time=701 * MINUTE)
    pending = run.fold.models["m"].pending
    live = pending.rows[pending.order()[-1], 4]
    assert run.predict("m", id_="new")["predictions"][0] == {"id_": "new", "score": live, "stored": True}
    told = [json.loads(bytes(plan["data"])) for plan in run.follow(PLANS)]
    assert [plan["action"] for plan in told].count("fit") == jobs_report(run.refits.ledger)["updates"]
    assert told[0]["model"] == "m"


def test_label_lags_become_features_and_others_of_the_same_name_are_taken_as_they_are():
    model = app_of().models["m"]
    names = [f.name for f in model.numbers]
    assert names[:2] == ["ask.a", "ask.b"]
    assert [names.index(name) for name in model.learner.lag_names] == [2, 3, 4, 5, 6, 7]
    assert len(hw.Model("m", on=Ask, features=[Ask.b], label=model.label, learner=hw.Fast(lags=False)).numbers) == 1
    assert (
        len(hw.Model("m", on=Ask, features=[Ask.b, hw.last(model.label.value)], label=model.label, learner=hw.Fast()).numbers)
        == 4
    )


def test_another_budget_needs_no_other_state():
    assert app_of(hw.Planner(budget="1% of a core")).fingerprint() == APP.fingerprint()


def test_a_person_asks_and_gets_a_refit_where_the_mark_stands():
    run = LocalRun(app_of(hw.manual()))
    run.log.append(batch_of(ROWS[:800]))
    run.catch_up()
    assert jobs_report(run.refits.ledger)["updates"] == 0
    run.control("model.ask_refit", model="m")
    (fit,) = run.refits.ledger.jobs("fit")
    assert fit.why == "Refit: a person has asked for it."
    run.control("model.ask_refit", model="nobody")
    assert jobs_report(run.refits.ledger)["updates"] == 1


def test_a_mark_without_its_file_is_an_error_that_says_what_to_do():
    fold = Fold(APP)
    mark = Refit(APP.models["m"], "0" * 64, 10, 0.1, "why", 5).mark(0, VirtualClock())
    with pytest.raises(Fatal, match=r"its file is not at hand.*--state"):
        fold.step(Chunk(0, mark))
    changed = app_of(versions=hw.every_labels(7))
    Fold(changed).step(Chunk(0, mark))  # fitted for another declaration: left alone


# what goes wrong: a plan says so, and the served model stays


def plans(update=None, rows=None, cost=None):
    app = app_of(update)
    refits = RefitsAtOnce(app, **({} if cost is None else {"cost": cost}))
    fold, _ = walked(app, ROWS if rows is None else rows, refits=refits)
    assert np.isfinite(fold.metrics()["m"]["overall"]["live"]["log_loss"])
    return [plan for *_, plan in refits.plans], refits


def test_a_budget_of_zero_refuses_every_fit():
    told, refits = plans(hw.Planner(budget="0% of a core"))
    assert any("the budget is zero" in plan.why for plan in told)
    assert jobs_report(refits.ledger)["updates"] == 0


def test_a_budget_smaller_than_one_update_says_so():
    told, refits = plans(hw.Planner(budget="0.0001% of a core"))
    assert any("never saves up more than" in plan.why and "served model stays" in plan.why for plan in told)
    assert jobs_report(refits.ledger)["updates"] == 0


def test_a_cost_that_explodes_is_ended_charged_and_backed_off_until_it_is_known():
    """Ten times what it was in the middle: fits are ended at what they reserved, and then one reserves enough."""
    n, usual_s = 0, 0.1

    def cost(work):
        nonlocal n
        n += 1
        return usual_s if n <= 6 else 10 * usual_s

    told, refits = plans([hw.Planner(budget="50% of a core"), hw.every_labels(100)], list(seen(1500)), cost)
    fits = refits.ledger.jobs("fit")
    outcomes = [job.outcome for job in fits]
    assert outcomes[:7] == ["served"] * 6 + ["stopped"]
    after = outcomes[6:].index("served") + 6
    assert after <= 9
    assert set(outcomes[after:]) == {"served"}
    assert all(job.core_s == job.estimate_core_s for job in fits if job.outcome == "stopped")
    assert fits[after].core_s == pytest.approx(10 * usual_s)
    assert any("that were reserved" in plan.why and "served model stays" in plan.why for plan in told)
    assert any("the last 1 fits failed" in plan.why for plan in told)


def test_a_cost_beyond_what_is_ever_saved_up_is_ended_until_the_plan_says_never():
    told, refits = plans([hw.Planner(budget="0.2% of a core"), hw.every_labels(100)], list(seen(1500)), lambda _: 1e4)
    jobs = refits.ledger.jobs("fit")
    assert {job.outcome for job in jobs} == {"stopped"}
    assert "never saves up more than 1.2" in told[-1].why
    bucket = refits.upkeeps["m"].planner.bucket
    assert all(job.core_s <= bucket.depth for job in jobs)


def plain(n, turn):
    """What any learner can see: the sign of a number; it turns round at `turn`."""
    rng = np.random.default_rng(1)
    for i in range(n):
        b = rng.normal()
        yield Seen(i * MINUTE, Ask(id_=str(i), a=None, b=b, shop="s"))
        yield Seen(i * MINUTE + 1000, Told(id_=str(i), shop="s", y=b if i < turn else -b))


def test_a_drift_sensor_asks_for_a_refit_after_the_break_and_the_plan_says_so():
    pytest.importorskip("river")
    _, refits = plans(hw.on_drift(hw.ADWIN), list(plain(900, turn=600)))
    fits = [(at, plan.why) for _, at, _, plan in refits.plans if plan.action == "fit"]
    assert "first model" in fits[0][1]
    assert any(1200 < at < 1500 and why == "Refit: adwin has alarmed." for at, why in fits)


def test_a_metric_that_gets_bad_asks_for_a_refit_and_the_plan_says_so():
    _, refits = plans(hw.when(hw.metric("accuracy", over=100) < 0.7), list(plain(900, turn=600)))
    fits = [(at, plan.why) for _, at, _, plan in refits.plans if plan.action == "fit"]
    assert any(at > 1200 and why == "Refit: accuracy over 100 labels < 0.7." for at, why in fits)
    assert all(at < 600 or at > 1200 for at, why in fits if "accuracy" in why)


def test_labels_that_stop_bring_no_plan_and_no_harm():
    rows = ROWS[:900] + [row for row in seen(900) if row.event.__class__ is Ask][450:]
    _, refits = plans(rows=rows)
    assert all(at <= 900 for _, at, _, _ in refits.plans)


def test_a_fit_that_fails_is_charged_and_the_next_one_waits(monkeypatch):
    def broken(*_):
        raise ValueError("no trees today")

    monkeypatch.setattr("headwater.learning.slow_fit.Boosted.fit", broken)
    told, refits = plans()
    assert any("ValueError: no trees today" in plan.why and "served model stays" in plan.why for plan in told)
    assert {job.outcome for job in refits.ledger.jobs("fit")} == {"failed"}
    assert refits.ledger.spent() > 0
    assert any("fits failed; the next try comes" in plan.why for plan in told)


def test_a_clock_that_jumps_ahead_fills_the_bucket_and_no_more():
    rows = ROWS[:500] + [Seen(row.time_ms + 50 * 365 * 1440 * MINUTE, row.event) for row in ROWS[500:]]
    _, refits = plans(rows=rows)
    bucket = refits.upkeeps["m"].planner.bucket
    assert bucket.level <= bucket.depth


def test_a_window_with_one_class_is_refused():
    told, refits = plans(rows=list(seen(500, label=1.0)))
    assert any(plan.action == "refuse" and "one class only" in plan.why for plan in told)
    assert jobs_report(refits.ledger)["updates"] == 0


def test_rules_alone_refit_by_the_calendar_alone():
    _, refits = plans(hw.every("3h"))
    whys = [job.why for job in refits.ledger.jobs("fit")]
    assert len(whys) >= 3
    assert all("3h have passed" in why for why in whys[1:])


def test_every_job_is_on_the_ledger():
    _, refits = plans()
    kinds = {job.kind for job in refits.ledger.jobs()}
    assert kinds == {"fast", "fit", "gain"}
    days = refits.ledger.days()
    assert sum(day.core_s for day in days) == pytest.approx(refits.ledger.spent())
    assert sum(day.gained_loss for day in days) == pytest.approx(refits.ledger.gained())
