"""One story with real processes: events and questions go on while the learner, then the gateway, is killed."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.core.batch import Text
from headwater.core.errors import WrongState
from headwater.core.hashing import combine, hash_text
from headwater.evaluation.prequential import SCORES
from headwater.ingest.client import Client, Totals
from headwater.learning.kernels import score_rows
from headwater.log.open import open_log
from headwater.log.protocol import Chunk
from headwater.registry.catalog import Catalog
from headwater.runtime.checkpointing import late_rows, restore
from headwater.runtime.export import export
from headwater.runtime.fold import Fold
from headwater.runtime.places import STATE
from headwater.runtime.rebuild import rebuild
from headwater.runtime.replay import replay
from headwater.runtime.runfile import RUN_FILE, running
from headwater.runtime.supervisor import Supervisor
from headwater.store.checkpoint import Checkpoints

from .conftest import SPEC, arrival, departure, events, lives, log_end, settings, until

N_FLIGHTS = 1200


@dataclass
class Story:
    """What the clients saw.

    Attributes:
        sent: Events handed to the client.
        totals: The door's verdicts.
        samples: (flight, seq, score) of answers from stored vectors.
        failures: Questions without an answer.
        told: What the supervisor said of its processes.
        pids: Before and after each kill.
        parents: The processes that the supervisor started, likewise.
    """

    folder: Path
    sent: int = 0
    totals: Totals = field(default_factory=Totals)
    samples: list[tuple[str, int, float]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    pids: list[dict[str, int]] = field(default_factory=list)
    parents: list[dict[str, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def ask(story: Story, url: str) -> None:
    """Ask for flights that were sent, again and again."""
    i = 0
    with Client(url, patience_s=60) as client:
        while not story.stop.wait(0.002):
            i = (i + 7) % max(1, story.sent // 2)
            try:
                answer = client.predict("late", {"flight_id": f"f{i}"}, record=False)
            except Exception as error:  # noqa: BLE001 - every unanswered question counts
                story.failures.append(error)
                return
            (one,) = answer["predictions"]
            if one["stored"]:
                story.samples.append((f"f{i}", int(answer["version"].partition("@")[2]), one["score"]))


def kill(supervisor: Supervisor, role: str) -> None:
    """SIGKILL a process, and wait until its successor is ready."""
    before = supervisor.children[role].pid
    os.kill(before, signal.SIGKILL)
    folder = supervisor.settings.state_dir
    until(lambda: (now := running(folder)) and now.processes[role].pid != before, f"another {role}")


def note(made: Story, supervisor: Supervisor) -> None:
    made.pids.append({child.role: child.pid for child in supervisor.children.values()})
    made.parents.append({child.role: child.process.pid for child in supervisor.children.values()})


@pytest.fixture(scope="module")
def story(app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("story") / "state"
    made = Story(folder)
    rows = events(N_FLIGHTS)
    rows[900:900] = [rows[3], departure(3, carrier="??"), departure(9, id="bad", distance="far"), arrival(2, 1.0, id="old")]
    supervisor = Supervisor(app, str(SPEC), settings(folder), lambda role, what: made.told.append((role, what)))
    with supervisor:
        asker = threading.Thread(target=ask, args=(made, supervisor.url), daemon=True)
        asker.start()
        with Client(supervisor.url) as client:
            for n, part in enumerate(rows[at : at + 60] for at in range(0, len(rows), 60)):
                note(made, supervisor)
                if n in {10, 20}:
                    kill_one = threading.Thread(target=kill, args=(supervisor, "learner" if n == 10 else "gateway"))
                    kill_one.start()
                more = client.send(None, part)
                for name in ("accepted", "duplicate", "quarantined"):
                    setattr(made.totals, name, getattr(made.totals, name) + getattr(more, name))
                made.totals.end = more.end
                made.totals.n_retries += more.n_retries
                made.sent += len(part)
                if n in {10, 20}:
                    kill_one.join()
            end = log_end(folder)
            until(lambda: client.get("/status")["gateway"]["seq"] == end, "all is learnt")
            until(lambda: client.get("/status")["learner"]["sources"]["default"]["applied"] == 2 * N_FLIGHTS, "and said")
        note(made, supervisor)
        made.stop.set()
        asker.join()
        assert running(folder).processes["learner"].restarts == 1
    return made


def test_each_process_is_started_again_alone(story):
    assert [role for role, _ in story.told] == ["learner", "gateway"]
    assert all("signal 9" in what for _, what in story.told)
    first, between, last = story.pids[0], story.pids[15], story.pids[-1]
    assert first["gateway"] == between["gateway"] != last["gateway"]
    assert first["learner"] != between["learner"] == last["learner"]


def test_a_killed_learner_has_its_successor_from_a_process_that_had_everything_loaded(story):
    first, between, last = story.parents[0], story.parents[15], story.parents[-1]
    assert first["learner"] == between["learner"] == last["learner"]
    assert first["gateway"] != last["gateway"]


def test_no_question_stays_without_an_answer(story):
    assert story.failures == []
    assert len(story.samples) > 50


def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(app, story):
    assert story.totals.n == story.sent == 2 * N_FLIGHTS + 4
    assert story.totals.quarantined == 2  # a conflict, and a wrong type
    with closing(open_log(settings(story.folder).log_url, readonly=True)) as log:
        counts, end = log.counts()["default"], log.bounds()[1]
    assert counts.accepted == 2 * N_FLIGHTS + 1  # and the late one
    assert counts.quarantined == 2
    assert counts.duplicate >= 1  # also resent requests whose answer died with the gateway
    assert end == counts.accepted + counts.quarantined
    with closing(Checkpoints(story.folder / STATE, readonly=True)) as store:
        assert len(late_rows(store)) == 1


def test_the_state_is_saved_and_is_that_of_a_replay_of_the_exported_log(app, story, tmp_path):
    with closing(Checkpoints(story.folder / STATE)) as store:
        saved = restore(app, store)
    assert saved.seq == log_end(story.folder)
    with closing(open_log(settings(story.folder).log_url, readonly=True)) as log:
        done = export(log, tmp_path)
    assert sorted(done.files) == ["_dead", "arrival", "departure"]
    again = replay(app, done.files)
    assert again.fold.state_hash() == saved.state_hash()
    assert again.counts == {"in": 2 * N_FLIGHTS + 3, "applied": 2 * N_FLIGHTS, "duplicate": 0, "late": 1, "quarantined": 2}


def test_every_answer_is_the_folds_score_bit_for_bit(app, story):
    samples = sorted(set(story.samples), key=lambda s: s[1])
    fold, same, at = Fold(app), 0, 0
    with closing(open_log(settings(story.folder).log_url, readonly=True)) as log:
        for chunk in log.read(0):
            start = 0
            while start < chunk.batch.n:
                stop = chunk.batch.n
                if at < len(samples) and samples[at][1] < chunk.seq + stop:
                    stop = samples[at][1] - chunk.seq
                if stop > start:
                    fold.step(Chunk(chunk.seq + start, chunk.batch.slice(start, stop)))
                    start = stop
                while at < len(samples) and samples[at][1] == fold.seq:
                    same += score(fold, samples[at][0]) == samples[at][2]
                    at += 1
    assert same == at == len(samples)


def score(fold: Fold, flight: str) -> Any:
    model = fold.models["late"]
    row = model.pending.rows[model.pending.find(combine([hash_text(Text.of([flight]))]))]
    first = SCORES + model.n_experts
    xs, cs = row[:, first : first + model.n_numbers].copy(), row[:, first + model.n_numbers :].astype(np.int64)
    out = np.empty(1)
    score_rows(model.learner.weights, model.learner.stats, xs, cs, model.learner.params, out)
    return out[0]


def test_every_version_can_be_made_again(app, story):
    with (
        Catalog(story.folder / "registry", read_only=True) as catalog,
        closing(open_log(settings(story.folder).log_url, readonly=True)) as log,
    ):
        versions = catalog.list("late")
        assert len(versions) == N_FLIGHTS // 100 or len(versions) == N_FLIGHTS // 100 - 1
        for version in versions[::4]:
            assert rebuild(app, log, version, catalog.artifacts).is_same


def test_nothing_is_left_of_a_stopped_one(story):
    assert not (story.folder / RUN_FILE).exists()
    assert not any(lives(pid) for pids in story.pids + story.parents for pid in pids.values())


def test_a_restart_continues_where_it_stopped(app, story):
    before = log_end(story.folder)
    supervisor = Supervisor(app, str(SPEC), settings(story.folder))
    with supervisor:
        assert supervisor.children["learner"].facts["seq"] == before
        with pytest.raises(WrongState, match="in use"):
            Supervisor(app, str(SPEC), settings(story.folder)).start()
        with Client(supervisor.url) as client:
            client.send(None, [departure(N_FLIGHTS + i) for i in range(10)])
    assert supervisor.saved_seq() == log_end(story.folder) == before + 10


def test_a_killed_parent_of_the_learner_takes_nothing_with_it(app, story):
    before = log_end(story.folder)
    with Supervisor(app, str(SPEC), settings(story.folder)) as supervisor:
        learner = supervisor.children["learner"]
        worker, parent = learner.pid, learner.process.pid
        with Client(supervisor.url) as client:
            client.send(None, [departure(N_FLIGHTS + 100 + i) for i in range(10)])
        os.kill(parent, signal.SIGKILL)
        until(
            lambda: (now := running(story.folder)) and now.processes["learner"].pid not in {worker, parent}, "another learner"
        )
        assert not lives(worker)  # two never write to one state
        assert learner.process.pid != parent
        with Client(supervisor.url) as client:
            until(lambda: client.get("/status")["gateway"]["seq"] == before + 10, "all is learnt")
    assert supervisor.saved_seq() == log_end(story.folder) == before + 10
