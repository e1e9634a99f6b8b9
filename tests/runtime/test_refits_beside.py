"""A running learner refits beside serving: marks in the log, a ledger, and a crash at any place leaves what is served."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.core import crashpoints
from headwater.core.clock import SystemClock
from headwater.core.errors import CorruptData
from headwater.following.notices import PLANS, Notices
from headwater.learning.forest import Forest
from headwater.log.control import control_events
from headwater.log.open import open_log
from headwater.planning.ledger import FILE_NAME, Ledger
from headwater.planning.plans import Evidence
from headwater.planning.upkeep import Order
from headwater.planning.windows import Window
from headwater.registry.artifact import Artifacts
from headwater.registry.catalog import Catalog
from headwater.runtime.export import export
from headwater.runtime.fitter import carry_out
from headwater.runtime.fitting import FitProcess
from headwater.runtime.fold import Fold
from headwater.runtime.learner import Learner
from headwater.runtime.marks import PLANNED, REFIT, REFITS, refits_in
from headwater.runtime.places import FOLLOWING, PLANNING, STATE
from headwater.runtime.rebuild import rebuild
from headwater.runtime.refitting import plans_said
from headwater.runtime.replay import replay
from headwater.testing.events import batch_of

from .conftest import DEADLINE_S, settings, until
from .test_refits import ROWS, app_of

pytest.importorskip("lightgbm")
BUDGET = hw.Planner(budget="1 cores")
STEPS = hw.Planner(budget="1 cores", methods=("steps", "full"))


class Crash(BaseException):
    """Stops a learner dead."""


@dataclass
class Life:
    """A learner on a folder, in this process."""

    folder: Path
    app: hw.App
    log: object = None
    learner: Learner | None = None
    hash: str = ""
    seq: int = 0

    def __enter__(self):
        made = settings(self.folder)
        self.log = open_log(made.log_url)
        self.learner = Learner(self.app, self.log, made)
        return self

    def __exit__(self, *_):
        self.learner.close()
        self.log.close()

    def send(self, first, last=2**20):
        self.log.append(batch_of(ROWS).slice(first, min(last, len(ROWS))))

    def run_until(self, true, what):
        """Let it run as a process would, until something holds."""
        stop, failed = threading.Event(), []

        def run():
            try:
                self.learner.run(stop)
            except BaseException as error:  # noqa: BLE001 - a crash point's too
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            until(lambda: failed or true(), what, 2 * DEADLINE_S)
        finally:
            stop.set()
            thread.join()
        return failed

    @property
    def upkeep(self):
        return self.learner._refits.upkeeps["m"]

    @property
    def forest(self):
        """The trees that serve."""
        arrays = self.learner.fold.models["m"].learner.snapshot()
        return Forest(**{name: arrays[f"learner.forest.{name}"] for name in Forest._fields})

    def fit_first(self):
        """Labels, and a first fit that serves."""
        self.send(0, 600)
        assert self.run_until(lambda: self.upkeep.rungs.trees is not None, "the first fit serves") == []

    def owe(self):
        """From now on waiting has cost much, whatever the losses say."""
        planner = self.upkeep.planner
        planner.probe.owed, planner.probe.n_points, planner._scale = 1e9, 10, 0.1
        planner._n_failed, planner._since = 0, 99

    def jobs(self, kind="fit"):
        with Ledger(self.folder / PLANNING / FILE_NAME, read_only=True) as ledger:
            return ledger.jobs(kind)

    def marks(self, kind=REFIT):
        return [mark for chunk in self.log.read(0) for mark in control_events(chunk.batch) if mark.kind == kind]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """One life: labels, a first fit, more labels after it."""
    life = Life(tmp_path_factory.mktemp("beside") / "state", app_of(BUDGET, versions=hw.every_labels(200)))
    with life:
        life.send(0, 600)
        assert life.run_until(lambda: life.learner.fold.seq > 600 and life.marks(), "a fit is taken over") == []
        life.send(600)
        end = life.log.bounds()[1]
        assert life.run_until(lambda: life.learner.fold.seq >= end, "all is learnt") == []
    with life:  # after a restart
        life.run_until(lambda: life.learner.fold.seq >= life.log.bounds()[1], "what was appended last is learnt")
        life.hash, life.seq = life.learner.fold.state_hash(), life.learner.fold.seq
    return life


def test_a_fit_is_a_mark_in_the_log_a_job_on_the_ledger_and_a_plan_that_says_why(lived):
    with closing(open_log(settings(lived.folder).log_url, readonly=True)) as log:
        marks = [mark for chunk in log.read(0) for mark in control_events(chunk.batch)]
    assert [mark.kind for mark in marks][:2] == [PLANNED, REFIT]
    served = [job for job in lived.jobs() if job.outcome == "served"]
    refits = [mark for mark in marks if mark.kind == REFIT]
    assert [mark.body["core_s"] for mark in refits] == [job.core_s for job in served]
    assert all(job.core_s > 0 and job.estimate_core_s > 0 and job.model == "m" for job in served)
    said = plans_said(lived.folder)
    assert next(plan["why"] for plan in said if plan["action"] == "fit") == refits[0].body["why"] == served[0].why
    assert (lived.folder / "registry" / REFITS / f"{refits[0].body['sha256']}.safetensors").exists()


def test_what_the_fast_layer_takes_is_charged_too(lived):
    assert sum(job.core_s for job in lived.jobs("fast")) > 0
    assert sum(job.core_s for job in lived.jobs("start")) > 0
    assert sum(job.gained_loss for job in lived.jobs("gain")) != 0


def test_a_replay_of_the_exported_log_gives_the_live_state(lived, tmp_path):
    with closing(open_log(settings(lived.folder).log_url, readonly=True)) as log:
        done = export(log, tmp_path)
    again = replay(lived.app, done.files, batch=77, restarts=1, fitted=refits_in(lived.folder / "registry"))
    assert again.fold.seq == lived.seq
    assert again.fold.state_hash() == lived.hash
    assert again.ledger is None


def test_a_version_after_the_refit_is_rebuilt_from_log_and_files(lived):
    url = settings(lived.folder).log_url
    with Catalog(lived.folder / "registry", read_only=True) as catalog, closing(open_log(url, readonly=True)) as log:
        newest = catalog.list("m")[-1]
        assert newest.seq > 600
        fitted = refits_in(lived.folder / "registry")
        assert rebuild(lived.app, log, newest, catalog.artifacts, fitted=fitted).is_same


def test_a_lost_file_is_told_by_its_name(lived):
    with closing(open_log(settings(lived.folder).log_url, readonly=True)) as log:
        fold = Fold(lived.app)
        fold.fitted = refits_in(lived.folder / "elsewhere")
        with pytest.raises(CorruptData, match="a refit's file is missing or altered"):
            deque(map(fold.step, log.read(0)))


def test_a_crash_between_fit_and_mark_is_a_lost_job_and_the_next_life_fits_again(tmp_path):
    life = Life(tmp_path / "state", app_of(BUDGET))
    with life:
        life.send(0, 600)

        def crash(batch):
            raise Crash

        life.learner._refits._append = crash
        failed = life.run_until(lambda: False, "it crashes")
        assert isinstance(failed[0], Crash)
        assert life.marks() == []
    with life:
        assert [job.outcome for job in life.jobs()] == ["lost"]
        assert "learner.forest.roots" not in life.learner.fold.models["m"].learner.snapshot()
        life.send(600)
        assert life.run_until(life.marks, "another fit is taken over") == []
    assert [job.outcome for job in life.jobs()][:2] == ["lost", "served"]


def test_a_crash_right_after_the_mark_keeps_what_was_fitted(tmp_path):
    life = Life(tmp_path / "state", app_of(BUDGET))

    def die(name):
        if name == "refit.marked":
            raise Crash

    with life:
        life.send(0, 600)
        crashpoints.arm(die)
        try:
            assert isinstance(life.run_until(lambda: False, "it crashes")[0], Crash)
        finally:
            crashpoints.arm(None)
        assert len(life.marks()) == 1
    with life:
        life.learner.catch_up()
        state = life.learner.fold.models["m"].learner.snapshot()
        assert "learner.forest.roots" in state
        assert life.upkeep.rungs.trees.sha256 == life.marks()[0].body["sha256"]


READY = """import sys, time; print('{"ready": true, "core_s": 0.0}', flush=True); sys.stdin.readline(); """
HANGS, DIES = READY + "time.sleep(600)", READY + "sys.exit(9)"
BURNS = READY + "from headwater.runtime.fitter import set_alarm; set_alarm(0.1)\nwhile True: pass"


class Hurried(SystemClock):
    """An hour passes whenever it is told."""

    ahead = 0.0

    def monotonic_s(self):
        return super().monotonic_s() + self.ahead


@pytest.mark.parametrize(
    ("program", "outcome", "why"),
    [
        (HANGS, "stopped", "did not end"),
        (BURNS, "stopped", "had taken the 0.1 core-seconds that were reserved"),
        (DIES, "failed", "its process ended with code 9"),
    ],
)
def test_a_fit_that_never_ends_or_dies_is_ended_charged_and_told(tmp_path, program, outcome, why):
    clock = Hurried()
    process = FitProcess(tmp_path, tmp_path, clock, lambda: None, [sys.executable, "-c", program])
    try:
        process.begin({"limit_core_s": 0.1})
        assert process.is_busy
        clock.ahead = 3600.0 if program == HANGS else 0.0
        answer = until(process.poll, "it is given up")
        assert answer["outcome"] == outcome
        assert why in answer["failure"]
        assert answer["core_s"] >= (0.1 if program == BURNS else 0.0)
        assert not process.is_busy
        process.begin({"limit_core_s": 0.1})  # a new process
        assert process.is_busy
    finally:
        process.close()


def test_an_app_whose_fit_never_ends_says_so_and_goes_on_with_the_model_it_has(tmp_path):
    life = Life(tmp_path / "state", app_of(BUDGET))
    with life:
        process = life.learner._refits._process
        process._command, process._clock = [sys.executable, "-c", HANGS], Hurried()
        life.send(0, 600)

        def is_said():
            process._clock.ahead += 1.0
            return any(plan["action"] == "refuse" for plan in plans_said(life.folder))

        assert life.run_until(is_said, "the fit is given up") == []
        life.send(600)
        end = life.log.bounds()[1]
        assert life.run_until(lambda: life.learner.fold.seq >= end, "all is learnt") == []
        assert life.marks() == []
        assert life.learner.fold.metrics()["m"]["overall"]["live"]["n"] > 500
    (refused,) = [plan for plan in plans_said(life.folder) if plan["action"] == "refuse"]
    assert "it did not end" in refused["why"]
    assert "The served model stays." in refused["why"]
    assert [job.outcome for job in life.jobs()] == ["stopped"]
    assert any("the last 1 fits failed" in plan["why"] for plan in plans_said(life.folder))


def test_plans_are_followed_like_any_stream(lived):
    with closing(Notices(lived.folder / FOLLOWING)) as notices:
        first, end = notices.stream(PLANS).bounds()
        assert end - first == len(plans_said(lived.folder))


# more trees, beside serving


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The folder of a life that has had a first fit, and ended."""
    life = Life(tmp_path_factory.mktemp("fitted") / "state", app_of(STEPS, versions=hw.every_labels(200)))
    with life:
        life.fit_first()
    return life


def again(life, folder):
    """It goes on, in a folder of its own."""
    return Life(Path(shutil.copytree(life.folder, folder / "state")), life.app)


@pytest.fixture(scope="module")
def climbed(fitted, tmp_path_factory):
    """It goes on with steps, to an end of the log at which all is learnt."""
    life = again(fitted, tmp_path_factory.mktemp("steps"))
    with life:
        life.owe()
        life.send(600)
        served = lambda: len(life.marks()) > 1 and life.upkeep.rungs.trees is not None  # noqa: E731
        assert life.run_until(served, "steps are taken over") == []
        life.run_until(lambda: life.learner.fold.seq >= life.log.bounds()[1], "all is learnt")
        life.hash, life.seq = life.learner.fold.state_hash(), life.learner.fold.seq
    return life


def test_steps_are_a_mark_with_a_whole_forest_and_a_job_of_their_own(climbed):
    with climbed:
        first, steps = (refits_in(climbed.folder / "registry")(mark.body["sha256"]) for mark in climbed.marks()[:2])
        assert (first["roots"].size, steps["roots"].size) == (6, 8)
        np.testing.assert_array_equal(steps["values"][: first["values"].size], first["values"])
        assert climbed.marks()[1].body["why"].startswith("More trees: waiting has cost")
        served = [job for job in climbed.jobs() if job.outcome == "served"][:2]
        assert [job.method for job in served] == ["full", "steps"]
        assert served[1].rows <= 700 - served[0].rows  # the labels since
        assert climbed.upkeep.rungs.ladder.methods["steps"].costs.knows  # after a restart
        assert climbed.upkeep.rungs.trees.n == climbed.forest.roots.size


def test_a_replay_of_the_exported_log_follows_the_marks_of_steps(climbed, tmp_path):
    with closing(open_log(settings(climbed.folder).log_url, readonly=True)) as log:
        done = export(log, tmp_path)
    again = replay(climbed.app, done.files, batch=77, restarts=1, fitted=refits_in(climbed.folder / "registry"))
    assert (again.fold.seq, again.fold.state_hash()) == (climbed.seq, climbed.hash)


def test_a_version_after_steps_is_rebuilt_from_log_and_files(climbed):
    registry, url = climbed.folder / "registry", settings(climbed.folder).log_url
    with Catalog(registry, read_only=True) as catalog, closing(open_log(url, readonly=True)) as log:
        newest = catalog.list("m")[-1]
        assert rebuild(climbed.app, log, newest, catalog.artifacts, fitted=refits_in(registry)).is_same


def test_steps_that_are_killed_leave_the_model_and_the_ladder_as_they_were(fitted, tmp_path):
    life = again(fitted, tmp_path)
    with life:
        before, trees = life.forest, life.upkeep.rungs.trees
        life.learner._refits._process.close()
        life.learner._refits._process._command = [sys.executable, "-c", DIES]
        life.owe()
        life.send(600)
        assert life.run_until(lambda: len(life.jobs()) > 1, "steps have died") == []
        job = life.jobs()[-1]
        assert (job.method, job.outcome) == ("steps", "failed")
        assert len(life.marks()) == 1
    with life:
        life.learner.catch_up()
        assert all(np.array_equal(a, b) for a, b in zip(life.forest, before, strict=True))
        assert life.upkeep.rungs.trees == trees


def test_a_learner_that_dies_while_steps_are_under_way_goes_on_from_the_trees_that_serve(fitted, tmp_path):
    life = again(fitted, tmp_path)
    with life:
        trees = life.upkeep.rungs.trees

        def crash(batch):
            raise Crash

        life.learner._refits._append = crash
        life.owe()
        life.send(600, 1200)
        assert isinstance(life.run_until(lambda: False, "it crashes")[0], Crash)
    with life:
        assert [(job.method, job.outcome) for job in life.jobs()] == [("full", "served"), ("steps", "lost")]
        assert life.upkeep.rungs.trees == trees
        life.owe()
        life.send(1200)
        assert life.run_until(lambda: len(life.marks()) > 1, "other steps are taken over") == []
        assert life.jobs()[-1].method == "steps"


def test_trees_of_another_declaration_are_not_gone_on_from(fitted, tmp_path):
    life = again(fitted, tmp_path)
    kept = life.folder / PLANNING / "m.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "recipe": "another"}))
    with life:
        assert life.upkeep.rungs.trees is None


def job_of(life, **more):
    """A job as the learner says it, for examples that it has saved."""
    refits = life.learner._refits
    order = Order(600, 0, 250, "full", Evidence(0, 0, 0, 0, 250, 250, None, 0), 10.0, "why", **more)
    return refits._said("m", order)


def test_the_process_tries_windows_and_may_say_that_one_waits(fitted, tmp_path):
    life = again(fitted, tmp_path)
    windows = Window("all", 0, 250), Window("half", 125, 125)
    with life:
        tries, waits = (job_of(life, windows=windows, worth=worth) for worth in (1e9, -1.0))
        grows = job_of(life, more=2, after="0" * 64)
    state, files = life.folder / STATE, Artifacts(life.folder / "registry" / REFITS)
    made = carry_out(state, files, tries)
    assert made["outcome"] == "served"
    assert made["rows"] in {250, 125}
    assert files.get(made["sha256"]).arrays["roots"].size == 6
    waited = carry_out(state, files, waits)
    assert (waited["outcome"], waited["rows"]) == ("waits", 0)
    assert "labels are few" in waited["failure"]
    lost = carry_out(state, files, grows)
    assert (lost["outcome"], lost["failure"][:11]) == ("failed", "CorruptData")
