"""A learner of the fast layer is killed while it learns and a refit is under way: nothing can be told from what was not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lightgbm")

# A process of its own: it forks learners, and pytest may have threads.
_SCRIPT = """
import json, sys, time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import headwater as hw
from headwater.faults.processes import LEARNER, Processes
from headwater.log.control import control_events
from headwater.log.open import open_log
from headwater.planning.ledger import FILE_NAME, Ledger
from headwater.runtime.checkpointing import restore
from headwater.runtime.fold import Fold
from headwater.runtime.marks import REFIT, refits_in
from headwater.runtime.places import PLANNING, STATE
from headwater.runtime.warm import warm
from headwater.store.checkpoint import Checkpoints
from headwater.testing.events import batch_of
from runtime.test_refits import app_of, seen

app, batch = app_of([hw.Planner(budget="1 cores"), hw.every_labels(100)]), batch_of(list(seen(1300)))
warm(app)


def until(true, what):
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends, f"{what}; {processes.printed(LEARNER)}"
        time.sleep(0.002)


with Processes(app, Path(sys.argv[2])) as processes:
    where = processes.settings
    planning = where.state_dir / PLANNING / "m.json"

    def append(first, last):
        with closing(open_log(where.log_url)) as log:
            log.append(batch.slice(first, last))

    def marks():
        with closing(open_log(where.log_url, readonly=True)) as log:
            return [mark.body for chunk in log.read(0) for mark in control_events(chunk.batch) if mark.kind == REFIT]

    def is_under_way():
        return planning.exists() and json.loads(planning.read_text())["under_way"] is not None

    append(0, 600)
    processes.start(LEARNER)
    until(is_under_way, "a refit is under way")
    processes.kill(LEARNER)
    append(600, 1600)
    processes.start(LEARNER)
    until(marks, "a fit is taken over")
    append(1600, batch.n)
    until(lambda: len(marks()) > 1, "another fit is taken over")
    wrong = processes.stop(LEARNER)

with closing(Checkpoints(where.state_dir / STATE, readonly=True)) as store:
    saved = restore(app, store)
fold = Fold(app)
fold.fitted = refits_in(where.registry_dir)
with closing(open_log(where.log_url, readonly=True)) as log:
    end = log.bounds()[1]
    for chunk in log.read(0):
        fold.step(chunk)
with Ledger(where.state_dir / PLANNING / FILE_NAME, read_only=True) as ledger:
    fits = [[job.outcome, job.core_s, job.estimate_core_s] for job in ledger.jobs("fit")]
print(json.dumps({
    "wrong": wrong, "end": end, "saved": [saved.seq, saved.state_hash()], "folded": [fold.seq, fold.state_hash()],
    "fits": fits, "marks": len(marks()),
}))
"""


def test_a_learner_killed_while_a_refit_is_under_way_leaves_the_state_of_an_undisturbed_fold(tmp_path):
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tests), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert told["saved"] == told["folded"]
    assert told["saved"][0] == told["end"]
    outcomes = [outcome for outcome, *_ in told["fits"]]
    assert outcomes.count("lost") == 1
    assert outcomes.count("served") == told["marks"] >= 2
    lost = told["fits"][outcomes.index("lost")]
    assert lost[1] == lost[2]  # nobody knows what it took: no more than was reserved
