"""How much one client may ask of the gateway. Every bound has a value; none is infinite."""

from __future__ import annotations

from dataclasses import dataclass, field

from headwater.serving.admission import Bounds

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on requests; the defaults suit one machine.

    Attributes:
        body_bytes: Longest body; a longer one is refused with 413 as soon as that is known.
        drain_bytes: How much of a refused body is read and thrown away so that its sender can hear the refusal.
        body_s: Longest time for a whole body to arrive; then 408.
        head_bytes: Longest request line and headers together; then 431.
        head_s: Longest time for them to arrive; then the connection is closed.
        headers: Most headers; then 431.
        rows: Most rows in one question.
        inline_bytes: Larger bodies are answered in a thread, so that they do not hold up others.
        inline_arrow_bytes: The same for Arrow bodies, which are read twenty times as fast.
        hosts: Names besides the loopback ones under which the gateway may be called, without port.
        pending_rows: Most predicted rows that wait to become events.
        linger_s: How long a predicted row waits for others to share a commit with.
        connections: Most open connections.
        idle_s: How long an idle connection is kept.
        grace_s: How long requests in flight may take to finish when the server stops.
        write_s: In each such time a client must take 64 KiB of its answer, or all; else the connection is given up.
        stream_bytes: Longest answer to a follower of a stream, about, in bytes of its columns; JSON takes a few times that.
        stream_bytes_out: Answers to followers that are still being sent, in bytes; beyond it others are asked to come back.
        stream_reads: Most answers to followers that are made at once.
        waiting: Most followers that wait for an event.
        wait_s: Longest time that a follower may ask to wait.
        events: What the lane of events may take in.
        predictions: What the lane of predictions may take in.
    """

    body_bytes: int = 8 << 20
    drain_bytes: int = 64 << 20
    body_s: float = 10.0
    head_bytes: int = 32 << 10
    head_s: float = 10.0
    headers: int = 64
    rows: int = 100_000
    inline_bytes: int = 64 << 10
    inline_arrow_bytes: int = 256 << 10
    hosts: frozenset[str] = frozenset()
    pending_rows: int = 100_000
    linger_s: float = 0.002
    connections: int = 4096
    idle_s: float = 60.0
    grace_s: float = 10.0
    write_s: float = 15.0
    stream_bytes: int = 1 << 20
    stream_bytes_out: int = 128 << 20
    stream_reads: int = 4
    waiting: int = 512
    wait_s: float = 60.0
    events: Bounds = field(default_factory=Bounds)
    predictions: Bounds = field(default_factory=Bounds)
