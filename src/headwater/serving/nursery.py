"""A process that forks the ones that run models: so a model that hangs, dies or eats memory takes nobody with it.

Code that is not ours and not compiled here (River, scikit-learn, LightGBM, a user's own class) may do anything to the
process that calls it. The nursery is forked before its owner starts threads or opens files, has the app loaded, and then
only waits; a model's process is its fork, ready in milliseconds. They share no memory that anybody writes to, and speak
`frames` over a socket pair. When the owner ends, however it does, the nursery and all it forked end too.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from headwater.core.batch import Floats
from headwater.learning.protocol import BlockLearner, LearnerState
from headwater.registry.artifact import decode, encode
from headwater.serving.frames import MAX_REASON, Ask, Broken, Said, receive_ask, receive_said, send

_PR_SET_PDEATHSIG = 1
_START_S = 10.0
Starts = Mapping[str, Callable[[], BlockLearner]]


def can_isolate() -> bool:
    """Whether models can have processes of their own here: on Linux, and while no other thread holds locks."""
    return sys.platform == "linux" and threading.active_count() == 1


class Nursery:
    """Forks processes that run models.

    Args:
        starts: Model -> a function that makes its learner; called in the model's process.
        memory_bytes: What a model may take beyond what it shares.

    Make it while `can_isolate`: a fork does not go on with its owner's other threads, nor let go of their locks.
    """

    def __init__(self, starts: Starts, memory_bytes: int) -> None:
        self._mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        if os.fork() == 0:
            _never_return(lambda: _wait(theirs, starts, memory_bytes))
        theirs.close()

    def fork(self, model: str) -> tuple[socket.socket, int]:
        """A fresh process for a model: the socket to it, and a descriptor of the process.

        Raises:
            Broken: It cannot be had.
        """
        mine, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                socket.send_fds(self._mine, [model.encode()], [theirs.fileno()])
            hello, _ = receive_said(mine, time.monotonic() + _START_S)
            return mine, os.pidfd_open(hello.pid)
        except (OSError, Broken) as error:
            mine.close()
            raise Broken(f"no process can be had for it ({error})") from error

    def close(self) -> None:
        """End it, and with it every model's process."""
        self._mine.close()


def _never_return(work: Callable[[], None]) -> None:
    """What a fork does: nothing of its parent's is cleaned up twice."""
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def _wait(orders: socket.socket, starts: Starts, memory_bytes: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # its owner's to hear
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    _let_go_of_all_but(orders.fileno())
    orders.settimeout(None)
    while True:
        name, descriptors, _, _ = socket.recv_fds(orders, 1 << 16, 1)
        if not name:
            return
        if os.fork() == 0:
            orders.close()
            _never_return(lambda: _run(descriptors[0], starts[name.decode()], memory_bytes))  # noqa: B023 - called at once
        os.close(descriptors[0])


def _let_go_of_all_but(kept: int) -> None:
    """Let go of what was inherited: a socket or pipe that stays open here would never seem to end elsewhere.

    Its number leads nowhere from now on, and is not closed: a library may hold it. Arrow does, of a pipe for signals, and ends
    the process where it cannot close that at the next fork.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what a model prints is seen
    for name in {path.name for path in Path("/proc/self/fd").iterdir()} - {str(kept), str(nothing)}:
        if int(name) > 2:  # noqa: PLR2004 - stderr stays
            os.dup2(nothing, int(name))


def _run(descriptor: int, start: Callable[[], BlockLearner], memory_bytes: int) -> None:
    """What a model's process does until nobody asks any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # the nursery ends with its owner
    _bound(memory_bytes)
    with socket.socket(fileno=descriptor) as owner:
        send(owner, Said(pid=os.getpid()))
        learner = None
        while (asked := receive_ask(owner)) is not None:
            try:
                learner = learner or start()
                said, body = _done(learner, *asked)
            except Exception as error:  # noqa: BLE001 - whatever a model raises is told
                said, body = Said(error=f"{type(error).__name__}: {error}"[:MAX_REASON]), b""
            send(owner, said, body)


def _bound(memory_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _done(learner: BlockLearner, ask: Ask, body: bytearray) -> tuple[Said, bytes]:
    if ask.do == "load":
        state = decode(bytes(body), "model")
        learner.load(LearnerState(state.header, state.arrays))
        return Said(), b""
    if ask.do in {"score", "learn"}:
        n, d, k = ask.n, ask.d, ask.k
        xs = np.frombuffer(body, np.float64, n * d).reshape(n, d)
        cs = np.frombuffer(body, np.int64, n * k, 8 * n * d).reshape(n, k)
        if ask.do == "score":
            scores: Floats = np.ascontiguousarray(learner.score_many(xs, cs), np.float64)
            return Said(shape=scores.shape), scores.tobytes()
        learner.learn_block(xs, cs, np.frombuffer(body, np.float64, n, 8 * n * (d + k)))
    state_now = learner.state()
    return Said(), encode(state_now.arrays, state_now.header)
