"""The first start on an earlier release's state directory may be killed at any step: the next one ends what it began."""

from __future__ import annotations

import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.formats.freeze import APP, END, FROZEN, MINUTE_MS, START_MS, settings_of

from headwater.app import App
from headwater.core import crashpoints
from headwater.core.clock import VirtualClock
from headwater.faults.sandbox import survives
from headwater.faults.telling import told
from headwater.log.open import open_log
from headwater.runtime.checkpointing import restore
from headwater.runtime.declared import load_app
from headwater.runtime.learner import Learner
from headwater.runtime.places import STATE
from headwater.runtime.supervisor import claim_state
from headwater.store.checkpoint import Checkpoints

EARLIER = ("state-2-early.tar.xz", "state-3.tar.xz")  # nothing signed or sealed; rows without checksums
MOST = 16  # steps of a start


@pytest.fixture(scope="module")
def app():
    return load_app(APP)


def start(app: App, place: Path, arm: Callable[[str], None] | None = None) -> None:
    """Open everything, as a learner does, and close it."""
    settings, clock = settings_of(place), VirtualClock((START_MS + END * MINUTE_MS) * 1000)
    crashpoints.arm(arm)
    try:
        claim_state(place, app)
        with closing(open_log(settings.log_url, clock=clock)) as log, closing(Learner(app, log, settings, clock)):
            crashpoints.arm(None)
    finally:
        crashpoints.arm(None)


def seen(app: App, place: Path) -> dict[str, Any]:
    """What lies there: the state, and all that others are told."""
    with closing(Checkpoints(place / STATE, readonly=True)) as store:
        state = restore(app, store).state_hash()
    return {"state": state, **told(settings_of(place))}


def killed_at(number: int) -> Callable[[str], None]:
    """Have the process killed at the step of this number."""
    left = number

    def act(_: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return act


@pytest.mark.parametrize("name", EARLIER)
def test_a_first_start_that_is_killed_is_ended_by_the_next(app, tmp_path, name):
    frozen, calm = tmp_path / "frozen", tmp_path / "calm"
    with tarfile.open(FROZEN / name) as archive:
        archive.extractall(frozen, filter="data")
    shutil.copytree(frozen, calm)
    steps: list[str] = []
    start(app, calm, steps.append)
    assert "database.upgrading" in steps
    assert len(steps) <= MOST
    wanted = seen(app, calm)
    for number, step in enumerate(steps):
        place = tmp_path / f"{number}"
        shutil.copytree(frozen, place)
        assert not survives(partial(start, app, place, killed_at(number)), deadline_s=60), step
        start(app, place)
        assert seen(app, place) == wanted, step
