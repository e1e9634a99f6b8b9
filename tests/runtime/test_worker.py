"""The worker in this process: it is woken, it stops, and it does not go on with a consumer that broke."""

from __future__ import annotations

import threading
from contextlib import closing

import numpy as np
import pytest

import headwater as hw
from headwater.core.batch import Text, frame, single
from headwater.core.errors import WrongState
from headwater.following import Cursors, Notices
from headwater.log import open_log, ring
from headwater.runtime.places import BELLS, FOLLOWING
from headwater.runtime.worker import Worker

from .conftest import START_MS, settings, until


class Question(hw.Event, key="key"):
    key: hw.Field[str]
    x: hw.Field[float]


class Outcome(hw.Event, key="key"):
    key: hw.Field[str]
    y: hw.Field[float]


def made_app():
    label = hw.label(Outcome.y > 0, join=Outcome.key, on=Question.key, within="1d")
    return hw.App("working", models=[hw.Model("m", on=Question, features=[Question.x], label=label)])


def send(folder, first, n):
    """Append questions, as another process would: and ring."""
    with closing(open_log(settings(folder).log_url)) as log:
        rows = [Question(key=f"q{first + i}", x=1.0) for i in range(n)]
        ids = Text.of([row.key for row in rows])
        log.append(single(Question.schema, frame(Question.schema, rows), np.full(n, START_MS, np.int64), ids))
    ring(folder / BELLS)


class Running:
    """A worker in a thread; `ok` is what its `run` returned."""

    def __init__(self, app, folder):
        self.worker, self.ok = Worker(app, settings(folder)), None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        self.ok = self.worker.run()
        self.worker.close()

    def stop(self):
        self.worker.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


def place(folder, name):
    with closing(Cursors(folder / FOLLOWING, read_only=True)) as cursors:
        return cursors.of(name).next


def test_it_is_woken_by_what_comes_and_goes_on_where_it_stopped(tmp_path):
    app, seen = made_app(), []
    app.on("_plans", name="keep")(lambda notice: seen.append(notice.id))
    send(tmp_path, 0, 1)
    with closing(Notices(tmp_path / FOLLOWING)) as notices:
        running = Running(app, tmp_path)
        for n in range(3):
            notices.append("_plans", f"p{n}", n, {})
            ring(tmp_path / BELLS)
            until(lambda n=n: len(seen) == n + 1, "it is told")
        running.stop()
        assert running.ok
        assert place(tmp_path, "keep") == 3
        notices.append("_plans", "p3", 3, {})
        again = Running(app, tmp_path)
        until(lambda: len(seen) == 4, "it is told")
        again.stop()
    assert seen == [f"p{n}" for n in range(4)]


def test_a_function_that_exits_breaks_the_worker_and_not_its_cursor(tmp_path):
    app, others = made_app(), []

    @app.on(Question)
    def leaves(event: Question) -> None:
        raise SystemExit(event.key)

    app.on(Question, name="other")(lambda event: others.append(event.key))
    send(tmp_path, 0, 2)
    running = Running(app, tmp_path)
    running.thread.join(30)
    assert running.ok is False
    assert place(tmp_path, "leaves") == 0


def test_the_stop_waits_for_the_call_under_way(tmp_path):
    app, begun, may_end = made_app(), threading.Event(), threading.Event()

    @app.on(Question)
    def slow(event: Question) -> None:
        begun.set()
        may_end.wait(30)

    send(tmp_path, 0, 2)
    running = Running(app, tmp_path)
    assert begun.wait(30)
    stopper = threading.Thread(target=running.stop)
    stopper.start()
    until(running.worker._stop.is_set, "it was told to stop")
    may_end.set()
    stopper.join(30)
    assert running.ok
    assert place(tmp_path, "slow") >= 1


def test_without_a_log_there_is_nothing_to_read(tmp_path):
    with pytest.raises(WrongState, match="nothing to read here yet"):
        Worker(made_app(), settings(tmp_path))
