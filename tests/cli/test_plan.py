"""plan, apply: what they say before anything is changed, and what they refuse."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from headwater.cli import main
from headwater.core.batch import Text, single
from headwater.log.open import open_log
from headwater.runtime.changes import remember
from headwater.runtime.checkpointing import Checkpointer
from headwater.runtime.declared import load_app
from headwater.runtime.fold import Fold
from headwater.runtime.places import STATE
from headwater.runtime.settings import Settings
from headwater.runtime.warm import _frame
from headwater.store.checkpoint import Checkpoints

APPS = Path(__file__).parent.parent / "runtime" / "apps"


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """A state directory with a saved fold of the small app, whose log holds a few events."""
    folder, app = tmp_path_factory.mktemp("plan") / "state", load_app(APPS / "small.py")
    with closing(open_log(Settings(state_dir=folder).log_url)) as log, closing(Checkpoints(folder / STATE)) as store:
        for schema in app.streams.values():
            log.append(
                single(
                    schema, _frame(schema, 3), np.arange(3, dtype=np.int64), Text.of([f"{schema.stream}{i}" for i in range(3)])
                )
            )
        fold = Fold(app)
        saver = Checkpointer(fold, store)
        for chunk in log.read(0):
            saver.gather(fold.step(chunk))
        saver.save()
        saver.wait()
    remember(folder / STATE, app)
    return folder


def test_the_plan_says_what_becomes_of_everything(done, folded):
    out = done("plan", str(APPS / "changed.py"), "--state", folded)
    lines = {tuple(line.split()[:2]): line for line in out.splitlines()}
    assert "kept" in lines["model", "late"]
    assert "backfilled" in lines["model", "better"]
    assert "are folded from 6 events of the log" in out
    found = done("plan", str(APPS / "changed.py"), "--state", folded, "--json")
    assert found["has_changed"]
    assert (found["events"], found["cut"]) == (6, 0)
    assert {p["fate"] for p in found["parts"]} == {"kept", "backfilled"}


def test_an_app_that_is_the_same_needs_nothing(done, folded):
    assert "has not changed" in done("plan", str(APPS / "small.py"), "--state", folded)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_without_a_state_or_a_running_app_the_next_step_is_said(command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main.run([command, str(APPS / "changed.py"), "--state", str(tmp_path / "none")])
    assert "headwater run" in " ".join(capsys.readouterr().err.split())
