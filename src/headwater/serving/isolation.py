"""A learner in a process of its own, with the calls of `BlockLearner`, and a deadline for each."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.learning.protocol import LearnerState
from headwater.registry.artifact import decode, encode
from headwater.serving.frames import Ask, Broken, receive_said, send
from headwater.serving.nursery import Nursery


class ModelFailed(Exception):  # noqa: N818 - what happened
    """A model did not do what it was asked to; the message says how it failed."""


class IsolatedLearner:
    """A `BlockLearner` whose process is started at the first call, killed when it fails, and started again by the next call.

    What it was given to load, or said after its last block, is kept here: a new process goes on from there. One thread at a
    time calls it.

    Args:
        nursery: Forks its processes.
        model: Its name.
        deadline_s: For learning a block, loading or telling a state; for scoring, unless `score_many` is told otherwise.
    """

    def __init__(self, nursery: Nursery, model: str, deadline_s: float) -> None:
        self._nursery, self._model, self._deadline_s = nursery, model, deadline_s
        self._socket: socket.socket | None = None
        self._process = -1
        self._packed: bytes | None = None
        self._is_stale = False  # the process has not heard of the state yet

    def score_many(self, xs: Floats, cs: Ints, deadline_s: float | None = None) -> Floats:
        """See `BlockLearner.score_many`.

        Raises:
            ModelFailed: It raised, died, took too long or gave another shape.
        """
        ask = Ask("score", *_shape(xs, cs))
        shape, data = self._ask(ask, deadline_s or self._deadline_s, _raw(xs, np.float64), _raw(cs, np.int64))
        if shape != (xs.shape[0],) or len(data) != 8 * xs.shape[0]:
            raise ModelFailed(f"it gave scores of shape {shape}, expected {(xs.shape[0],)}")
        return np.frombuffer(data, np.float64)

    def learn_block(self, xs: Floats, cs: Ints, ys: Floats) -> None:
        """See `BlockLearner.learn_block`. Where it fails, the state is as it was before.

        Raises:
            ModelFailed: As `score_many`.
        """
        self.packed()  # from which a process that fails is followed by another
        ask = Ask("learn", *_shape(xs, cs))
        parts = (_raw(xs, np.float64), _raw(cs, np.int64), _raw(ys, np.float64))
        try:
            self._packed = bytes(self._ask(ask, self._deadline_s, *parts)[1])
        except ModelFailed:
            self.kill()  # it may have learnt half of the block
            raise

    def packed(self) -> bytes:
        """The whole state as bytes (see `registry.artifact.encode`)."""
        if self._packed is None:
            self._packed = bytes(self._ask(Ask("state"), self._deadline_s)[1])
        return self._packed

    def load_packed(self, packed: bytes, deadline_s: float | None = None) -> None:
        """Go on from a state; its process hears of it now.

        Raises:
            ModelFailed: As `score_many`.
        """
        self._packed, self._is_stale = None, False
        until_s = time.monotonic() + (deadline_s or self._deadline_s)
        self._say(Ask("load"), until_s, packed)
        self._packed = packed

    def keep(self, packed: bytes) -> None:
        """Go on from a state; its process hears of it with the next call."""
        self._packed, self._is_stale = packed, True

    def state(self) -> LearnerState:
        """See `BlockLearner.state`."""
        artifact = decode(self.packed(), self._model)
        return LearnerState(artifact.header, artifact.arrays)

    def load(self, state: LearnerState) -> None:
        """See `BlockLearner.load`."""
        self.keep(encode(state.arrays, state.header))

    def kill(self) -> None:
        """End its process at once, whatever that does."""
        if self._socket is not None:
            self._socket.close()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
        self._socket = None

    def _ask(self, ask: Ask, deadline_s: float, *parts: memoryview | bytes) -> tuple[tuple[int, ...], bytearray]:
        until_s = time.monotonic() + deadline_s
        if self._packed is not None and (self._socket is None or self._is_stale):
            self._say(Ask("load"), until_s, self._packed)
            self._is_stale = False
        return self._say(ask, until_s, *parts)

    def _say(self, ask: Ask, until_s: float, *parts: memoryview | bytes) -> tuple[tuple[int, ...], bytearray]:
        """One question and its answer, by a fresh process if need be."""
        try:
            if self._socket is None:
                self._socket, self._process = self._nursery.fork(self._model)
            send(self._socket, ask, *parts, until_s=until_s)
            said, data = receive_said(self._socket, until_s)
        except Broken as error:
            self.kill()
            raise ModelFailed(str(error)) from error
        if said.error:
            raise ModelFailed(f"it raised {said.error}")
        return said.shape, data


def _shape(xs: Floats, cs: Ints) -> tuple[int, int, int]:
    return xs.shape[0], xs.shape[1], cs.shape[1]


def _raw(array: Floats | Ints, dtype: type) -> memoryview:
    return np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data
