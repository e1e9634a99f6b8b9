"""Models that hang, die, eat memory or talk nonsense: there is an answer all the same, and the process lives."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from headwater.core.errors import Untrusted
from headwater.core.seals import Seal
from headwater.evaluation.prequential import _no_change
from headwater.learning.protocol import LearnerState
from headwater.registry.artifact import encode
from headwater.serving.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from headwater.serving.frames import Ask, Broken, Said, receive_ask, receive_said, send
from headwater.serving.guarded import GuardedLane
from headwater.serving.isolation import IsolatedLearner, ModelFailed
from headwater.serving.lanes import as_block, sealed, unpack
from headwater.serving.nursery import Nursery
from headwater.serving.unchanged import no_change

XS, CS = np.array([[0.25], [0.5]]), np.zeros((2, 0), np.int64)
WAYS = {
    "raises": lambda: 1 / 0,
    "hangs": lambda: time.sleep(60),
    "exits": lambda: os._exit(3),
    "leaves": sys.exit,
    "dies": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "eats memory": lambda: bytearray(8 << 30),
    "gives a wrong shape": lambda: np.zeros(7),
    "gives no numbers": lambda: np.array([0.5, np.nan]),
    "gives words": lambda: ["a", "b"],
}


class Moody:
    """Scores its first number plus what it learnt; a state whose mood is a way of failing makes it fail."""

    def __init__(self):
        self.mood, self.sum = "", 0.0

    def score_many(self, xs, cs):
        return WAYS[self.mood]() if self.mood else xs[:, 0] + self.sum

    def learn_block(self, xs, cs, ys):
        self.sum += float(ys.sum())
        if ys[0] > 1:
            raise ArithmeticError("half of the block is learnt")

    def state(self):
        return LearnerState({"mood": self.mood}, {"sum": np.array([self.sum])})

    def load(self, state):
        self.mood, self.sum = state.header["mood"], float(state.arrays["sum"][0])


def state(mood="", total=0.0):
    return encode({"sum": np.array([total])}, {"mood": mood})


@pytest.fixture(scope="module")
def nursery():
    made = Nursery({"m": Moody}, 1 << 30)
    yield made
    made.close()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def lane(nursery):
    """A lane whose breaker has a clock of its own, and what it told when it opened."""
    told = []
    made = GuardedLane("m", "log", lambda: IsolatedLearner(nursery, "m", 10.0), 1.0, None, lambda *said: told.append(said))
    made.told = told
    yield made
    made.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_fails_is_answered_for_by_its_last_good_state(lane, way):
    good, bad = as_block(state(total=0.125)), as_block(state(way))
    assert lane.score(good, 10, XS, CS)[1:] == (10, "")
    for seq in (20, 30, 40, 50):
        said = lane.score(bad, seq, XS, CS)
        assert said.scores.tolist() == [0.375, 0.625]
        assert said.seq == 10  # the state that answers, by its own name
        assert said.degraded == "the model fails: its last good state answers"
    ((model, reason, seq),) = lane.told  # one incident, not one an answer
    assert (model, seq) == ("m", 40)
    assert lane.status()["breaker"] != CLOSED
    assert lane.status()["degraded_answers"] == 4
    assert reason == lane.breaker.reason


def test_with_no_good_state_the_model_says_nothing(lane):
    said = lane.score(as_block(state("raises")), 20, XS, CS)
    assert said.scores is None
    assert said.seq == 20
    assert said.degraded == 'the model fails: "no change" answers'
    assert lane.breaker.reason == "it raised ZeroDivisionError: division by zero"  # for operators, not for callers


def test_it_is_believed_again_once_it_answers_well(nursery):
    clock, told = Clock(), []
    lane = GuardedLane("m", "log", lambda: IsolatedLearner(nursery, "m", 10.0), 1e9, None, lambda *s: told.append(s), clock)
    lane.score(as_block(state()), 1, XS, CS)
    for seq in range(2, 6):
        lane.score(as_block(state("raises")), seq, XS, CS)
    mended = as_block(state(total=0.25))
    assert lane.score(mended, 6, XS, CS).degraded  # the breaker is open: nobody looks
    clock.now = 1.0
    assert lane.score(mended, 7, XS, CS)[1:] == (7, "")
    assert lane.breaker.state == CLOSED
    assert len(told) == 1
    lane.close()


def test_a_state_that_is_not_ours_never_reaches_the_model(nursery):
    ours, theirs = Seal(b"o" * 32), Seal(b"t" * 32)
    lane = GuardedLane("m", "log", lambda: IsolatedLearner(nursery, "m", 10.0), 1.0, ours, lambda *_: None)
    assert lane.score(sealed(state(), "m", ours), 1, XS, CS).scores.tolist() == [0.25, 0.5]
    for block in (sealed(state(total=0.5), "m", theirs), sealed(state(total=0.5), "n", ours), as_block(state(total=0.5))):
        said = lane.score(block, 2, XS, CS)
        assert said.scores.tolist() == [0.25, 0.5]
        assert said.degraded
        assert "was not written by this installation" in lane.breaker.reason
    with pytest.raises(Untrusted):
        unpack(as_block(state()), "m", ours)
    lane.close()


def test_a_block_that_fails_half_way_leaves_the_state_before_it(nursery):
    learner = IsolatedLearner(nursery, "m", 10.0)
    learner.learn_block(XS, CS, np.array([0.5, 0.5]))
    before = learner.packed()
    with pytest.raises(ModelFailed, match="half of the block"):
        learner.learn_block(XS, CS, np.array([2.0, 0.0]))
    assert learner.packed() == before
    assert learner.score_many(XS, CS).tolist() == [1.25, 1.5]
    learner.kill()


def test_a_model_that_is_kept_busy_says_nothing_to_others(lane):
    lane.score(as_block(state()), 1, XS, CS)
    lane._deadline_s = 0.01
    with lane._lock:
        found = []
        other = threading.Thread(target=lambda: found.append(lane.score(as_block(state()), 2, XS, CS)))
        other.start()
        other.join()
    assert found[0].scores is None
    assert found[0].degraded == 'the model is busy with other questions: "no change" answers'


def test_the_processes_of_an_owner_that_is_gone_are_gone():
    read, write = os.pipe()
    owner = os.fork()
    if owner == 0:
        nursery = Nursery({"m": Moody}, 1 << 30)
        learner = IsolatedLearner(nursery, "m", 10.0)
        learner.score_many(XS, CS)
        said = Path(f"/proc/self/fdinfo/{learner._process}").read_text()
        os.write(write, said.split("Pid:")[1].split()[0].encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    pid = int(os.read(read, 20))
    os.waitpid(owner, 0)
    ended = os.pidfd_open(pid) if Path(f"/proc/{pid}").exists() else None
    if ended is not None:
        assert select.select([ended], [], [], 10)[0], "the model's process outlived its owner"
    os.close(read)


def test_the_breaker_opens_after_failures_in_a_row_and_waits_longer_each_time():
    clock = Clock()
    breaker = Breaker(clock, failures=2, pause_s=1.0, longest_s=3.0)
    assert not breaker.failed("a")
    breaker.succeeded()
    assert not breaker.failed("b")
    assert breaker.state == CLOSED
    assert breaker.failed("c")
    for pause in (1.0, 2.0, 3.0, 3.0):
        assert breaker.state == OPEN
        assert not breaker.allows()
        clock.now += pause - 0.001
        assert breaker.state == OPEN
        clock.now += 0.002
        assert breaker.state == HALF_OPEN
        assert not breaker.failed("d")  # open already: said once
    clock.now += 10
    breaker.succeeded()
    assert breaker.state == CLOSED
    assert breaker.n_opened == 1


@pytest.fixture
def pair():
    """Both ends of a socket pair."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_a_frame_comes_as_it_was_sent(pair):
    mine, theirs = pair
    send(mine, Ask("score", 1, 2, 3), b"xyz")
    assert receive_ask(theirs) == (Ask("score", 1, 2, 3, 3), bytearray(b"xyz"))
    send(theirs, Said(shape=(2,)), b"", b"1234")
    assert receive_said(mine) == (Said(shape=(2,), bytes=4), bytearray(b"1234"))
    theirs.close()
    with pytest.raises(Broken, match="its process ended"):
        receive_said(mine, time.monotonic() + 5)


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\xff\xff\xff\xff", b"\x03\0\0\0abc", b"\x01\0\0\0\xc0", b"\x14\0\0\0\x81\xa5bytes\xcf" + b"\xff" * 12],
)
def test_what_is_no_frame_is_broken_and_claims_nothing(pair, rubbish):
    mine, theirs = pair
    mine.sendall(rubbish)
    mine.close()
    with pytest.raises(Broken):
        receive_said(theirs)


def test_no_change_is_the_folds_own():
    outcomes = np.array([[10.0, 2.0], [4.0, 3.0], [14.0, 5.0]])
    last = np.array([0.0, 1.0, np.nan])
    for loss in ("log", "squared"):
        expected = [_no_change.py_func(outcomes, base, float(loss == "squared")) for base in last]
        assert no_change(outcomes, last, loss).tolist() == expected
