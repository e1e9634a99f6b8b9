"""A running learner refits beside serving: marks in the log, a ledger, and a crash at any place leaves what is served."""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import headwater as hw
from headwater.core import crashpoints
from headwater.core.clock import SystemClock
from headwater.core.errors import CorruptData
from headwater.following.notices import PLANS, Notices
from headwater.log.control import control_events
from headwater.log.open import open_log
from headwater.planning.ledger import FILE_NAME, Ledger
from headwater.registry.catalog import Catalog
from headwater.runtime.export import export
from headwater.runtime.fitting import FitProcess
from headwater.runtime.fold import Fold
from headwater.runtime.learner import Learner
from headwater.runtime.marks import PLANNED, REFIT, REFITS, refits_in
from headwater.runtime.places import FOLLOWING, PLANNING
from headwater.runtime.rebuild import rebuild
from headwater.runtime.refitting import plans_said
from headwater.runtime.replay import replay
from headwater.testing.events import batch_of

from .conftest import DEADLINE_S, settings, until
from .test_refits import ROWS, app_of

pytest.importorskip("lightgbm")
BUDGET = hw.Planner(budget="1 cores")


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
