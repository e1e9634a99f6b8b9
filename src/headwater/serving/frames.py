"""What a model's process and its owner say to each other: a length-limited head and raw bytes, nothing that can run.

A frame is the head's length (u32), the head (MessagePack) and as many bytes as the head says. Numbers travel as they lie in
memory: float64 and int64 of one machine.
"""

from __future__ import annotations

import socket
import struct
import time

import msgspec

_LENGTH = struct.Struct("<I")
_MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = (1 << 30) + (1 << 20)
MAX_REASON = 300


class Ask(msgspec.Struct):
    """What is to be done: load a state, score rows, or learn a block; `bytes` follow.

    Attributes:
        do: "load": the body is a packed state. "score": numbers float64[n, d], then categories int64[n, k]. "learn": the
            same, then labels float64[n]; a state is said. "state": nothing; a state is said.
    """

    do: str
    n: int = 0
    d: int = 0
    k: int = 0
    bytes: int = 0


class Said(msgspec.Struct):
    """What came of it; `bytes` follow: scores as float64, or a packed state.

    Attributes:
        error: What was raised, in words; "" where all went well.
        shape: Of the scores.
        pid: The process, said once at its start.
    """

    error: str = ""
    shape: tuple[int, ...] = ()
    pid: int = 0
    bytes: int = 0


class Broken(Exception):  # noqa: N818 - what is so
    """The other side is gone, is late, or says what is no frame; the message says which."""


_encode = msgspec.msgpack.Encoder().encode
_asks, _saids = msgspec.msgpack.Decoder(Ask).decode, msgspec.msgpack.Decoder(Said).decode


def send(to: socket.socket, head: Ask | Said, *parts: bytes | memoryview, until_s: float | None = None) -> None:
    """Send one frame; `until_s` is on the monotonic clock, None waits as long as it takes."""
    head.bytes = sum(len(part) for part in parts)
    text = _encode(head)
    try:
        for part in (_LENGTH.pack(len(text)) + text, *parts):
            if part:
                to.settimeout(_left(until_s))
                to.sendall(part)
    except TimeoutError:
        raise Broken("it did not take its work in time") from None
    except OSError as error:
        raise Broken("its process ended") from error


def receive_ask(source: socket.socket) -> tuple[Ask, bytearray] | None:
    """The next thing to do; None where nobody asks any more."""
    try:
        head = _asks(_head(source, None))
        return head, _exactly(source, _bounded(head.bytes), None)
    except Broken:
        return None


def receive_said(source: socket.socket, until_s: float | None = None) -> tuple[Said, bytearray]:
    """The answer.

    Raises:
        Broken: There is none in time, or none.
    """
    try:
        head = _saids(_head(source, until_s))
    except msgspec.MsgspecError as error:
        raise Broken("it said what is no answer") from error
    return head, _exactly(source, _bounded(head.bytes), until_s)


def _head(source: socket.socket, until_s: float | None) -> bytearray:
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size, until_s))
    if length > _MAX_HEAD_BYTES:
        raise Broken("it said what is no answer")
    return _exactly(source, length, until_s)


def _bounded(n: int) -> int:
    if not 0 <= n <= MAX_BODY_BYTES:
        raise Broken("it said more than it may")
    return n


def _exactly(source: socket.socket, n: int, until_s: float | None) -> bytearray:
    data, at = bytearray(n), 0
    into = memoryview(data)
    try:
        while at < n:
            source.settimeout(_left(until_s))
            got = source.recv_into(into[at:])
            if not got:
                raise Broken("its process ended")
            at += got
    except TimeoutError:
        raise Broken("it did not answer in time") from None
    except OSError as error:
        raise Broken("its process ended") from error
    return data


def _left(until_s: float | None) -> float | None:
    if until_s is None:
        return None
    left = until_s - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
