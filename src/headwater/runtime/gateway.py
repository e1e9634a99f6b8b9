"""The gateway process: ingest and serving on one port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket

from headwater.app import App
from headwater.core.clock import SystemClock
from headwater.core.errors import Retryable
from headwater.following.cursors import Cursors
from headwater.following.notices import Notices
from headwater.following.streams import Streams
from headwater.ingest.door import Door
from headwater.ingest.limits import Limits as IngestLimits
from headwater.log.open import open_log
from headwater.log.wake import ring
from headwater.runtime.consumers import consumers
from headwater.runtime.descriptors import connections
from headwater.runtime.guarding import guarding
from headwater.runtime.isolating import guarded, lanes_of, teller
from headwater.runtime.places import BELLS, FOLLOWING, NEXT, VIEW
from headwater.runtime.served import served
from headwater.runtime.settings import Settings
from headwater.serving.answerer import ViewAnswerer
from headwater.serving.gateway import Gateway
from headwater.serving.limits import Limits
from headwater.serving.nursery import Nursery
from headwater.serving.options import Options
from headwater.serving.server import Running, serve
from headwater.store.view import ViewReader

_HISTORY_MS = 86_400_000


def run_gateway(
    app: App, settings: Settings, ready: Callable[[Running], None], *, listening: socket | None = None, beside: bool = False,
    nursery: Nursery | None = None,
) -> None:  # fmt: skip
    """Serve until stopped.

    Args:
        app: The app.
        settings: Where and how.
        ready: Called once it accepts.
        listening: A socket to accept from; None binds one.
        beside: Serve what a learner publishes that is beside the running one.
        nursery: Forks the processes of models that run apart; None has them run here.

    Raises:
        CannotListen: The port is in use.
        ConfigError: See `guarding`, `connections`.
    """
    with gateway_of(app, settings, beside=beside, nursery=nursery) as gateway:
        serve(gateway, settings.server.host, settings.server.port, ready=ready, listening=listening)


@contextmanager
def gateway_of(
    app: App, settings: Settings, *, beside: bool = False, nursery: Nursery | None = None
) -> Iterator[Gateway]:  # fmt: skip
    """The gateway of an installation, as an ASGI app that nobody serves yet; see `run_gateway`."""
    folder, server, opens = settings.state_dir, settings.server, guarding(settings)
    log = open_log(settings.log_url, dedupe_for_ms=settings.log.dedupe_for_ms)
    view = ViewReader((folder / NEXT if beside else folder) / VIEW)
    clock = SystemClock()
    notices, cursors = Notices(folder / FOLLOWING), Cursors(folder / FOLLOWING)
    streams = Streams(log, app.streams, notices)

    def lag() -> int:
        try:
            with view.open() as published:
                return log.bounds()[1] - published.meta.seq
        except Retryable:
            return 0  # the learner has not started: the disk is the only bound

    def wake() -> None:
        ring(folder / BELLS)

    def event_time() -> int:
        """Now, in a live app; where history is being sent (the newest event is days old), history's own now."""
        now_ms = clock.now_us() // 1000
        try:
            with view.open() as published:
                newest = published.meta.time_ms
        except Retryable:
            return now_ms
        return newest if newest and now_ms - newest > _HISTORY_MS else now_ms

    limits = IngestLimits(
        max_event_bytes=server.max_event_bytes, max_body_bytes=server.max_body_bytes,
        max_waiting_events=server.max_waiting_events, max_lag_events=server.max_lag_events, lag=lag, linger_ms=server.linger_ms,
    )  # fmt: skip
    door = Door(log, app.streams, clock=clock, limits=limits, on_append=wake)
    lanes = lanes_of(app, settings, nursery, teller(notices, clock, wake))
    apart = guarded(lanes)
    answerer = ViewAnswerer(app.plan, served(app), view, app.fingerprint(), lanes)
    names = frozenset(name.strip() for name in server.hosts.split(",") if name.strip())
    limited = Limits(body_bytes=server.max_body_bytes, hosts=names, connections=connections(Limits().connections))
    options = Options(
        limits=limited, streams=app.streams,
        keys=opens.keys, token=opens.token, anonymous=opens.anonymous,
        log_end=lambda: log.bounds()[1], event_time=event_time, clock=clock, following=streams, bells=folder / BELLS,
        consumers=lambda: consumers(cursors, streams),
        guarded=(lambda: {name: lane.status() for name, lane in apart.items()}) if apart else None,
    )  # fmt: skip
    try:
        yield Gateway(door, answerer, options)
    finally:
        for lane in apart.values():
            lane.close()
        if nursery is not None:
            nursery.close()
        log.close()
        view.close()
        notices.close()
        cursors.close()
