"""What a child process of the supervisor runs: `python -m headwater.runtime.process ROLE APP SETTINGS`.

It says on stdout that it is ready, as one JSON line, and stops when its stdin ends: a supervisor that dies takes its
children with it, however it dies. Imports and kernels, the long part of a start, are loaded by all roles at once; each
then waits for its line on stdin, which a gateway gets when the learner is ready. The learner is forked from what is loaded
by then, so that one that is killed is followed by another without loading it again (see `forking`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from headwater.app import App
from headwater.core.errors import HeadwaterError, Untrusted
from headwater.core.personal import has_personal
from headwater.runtime.changes import remembered
from headwater.runtime.declared import load_app
from headwater.runtime.forking import in_fork
from headwater.runtime.marks import refits_in
from headwater.runtime.places import FOLLOWING, STATE
from headwater.runtime.settings import Settings
from headwater.runtime.warm import warm
from headwater.runtime.watchdog import tell_when_asked
from headwater.telemetry.logs import configure

EXIT_ERROR = 3
_YIELD = 10  # a backfill gives way to those who serve
_TELL_S = 0.5


_voice: IO[str] = sys.stdout


def take_stdout() -> None:
    """Keep stdout for the supervisor; what anybody else prints, such as the user's file, goes to stderr."""
    global _voice  # noqa: PLW0603 - a process has one stdout
    _voice = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def say(**facts: Any) -> None:
    """One line to the supervisor."""
    print(json.dumps({"pid": os.getpid(), **facts}), file=_voice, flush=True)


def when_stdin_ends(stop: Callable[[], None], leave: Callable[[], None] | None = None) -> None:
    """Call `stop` once the supervisor closes our stdin or is gone; `leave` when it says so."""

    def watch() -> None:
        while said := os.read(0, 4096):  # sys.stdin would be locked when the interpreter ends
            if leave is not None and b"leave" in said:
                leave()
        stop()

    threading.Thread(target=watch, daemon=True, name="stdin").start()


def learner(app: App, settings: Settings, options: dict[str, Any]) -> int:
    from headwater.runtime.learner import Learner  # noqa: F401, PLC0415 - only this role needs it; its forks find it loaded

    del options
    warm(app)
    if not os.read(0, 4096):
        return 0  # the supervisor is gone
    return in_fork(lambda: learn(app, settings), lambda number: say(role="learner", killed=number))


def learn(app: App, settings: Settings) -> int:
    from headwater.log.open import open_log  # noqa: PLC0415 - only this role needs it
    from headwater.runtime.isolating import nursery_for  # noqa: PLC0415
    from headwater.runtime.learner import Learner  # noqa: PLC0415

    nursery = nursery_for(app, settings.learner.model_memory_mb)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    when_stdin_ends(stop.set)
    log = open_log(settings.log_url, dedupe_for_ms=settings.log.dedupe_for_ms)
    learner = Learner(app, log, settings, nursery=nursery)
    say(role="learner", ready=True, seq=learner.fold.seq)
    try:
        learner.run(stop)
    finally:
        learner.close()
        log.close()
    return 0


def backfill(app: App, settings: Settings, options: dict[str, Any]) -> int:
    """Folds a changed app beside the running one; see `backfill`."""
    from headwater.log.open import open_log  # noqa: PLC0415
    from headwater.runtime.backfill import seed  # noqa: PLC0415
    from headwater.runtime.isolating import nursery_for  # noqa: PLC0415
    from headwater.runtime.learner import Learner  # noqa: PLC0415
    from headwater.runtime.trust import Trust  # noqa: PLC0415

    del options
    warm(app)
    if not os.read(0, 4096):
        return 0
    os.nice(_YIELD)
    nursery = nursery_for(app, settings.learner.model_memory_mb)
    stop, told_s = threading.Event(), 0.0
    when_stdin_ends(stop.set)
    log = open_log(settings.log_url, dedupe_for_ms=settings.log.dedupe_for_ms)
    before = remembered(settings.state_dir / STATE)
    assert before is not None, "a backfill follows a state"

    def tell(done: int, of: int) -> None:
        nonlocal told_s
        if stop.is_set():
            raise SystemExit(0)
        if time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            say(role="backfill", progress=[done, of])

    try:
        seed(app, log, settings.state_dir, before, tell, Trust.of(settings.registry_dir), refits_in(settings.registry_dir))
        learner = Learner(app, log, settings, on_level=lambda seq: say(role="backfill", level=seq), nursery=nursery)
        say(role="backfill", ready=True, seq=learner.fold.seq)
        try:
            learner.run(stop)
        finally:
            learner.close()
    finally:
        log.close()
    return 0


def gateway(app: App, settings: Settings, options: dict[str, Any]) -> int:
    from headwater.runtime.gateway import run_gateway  # noqa: PLC0415
    from headwater.runtime.isolating import nursery_for  # noqa: PLC0415
    from headwater.serving.server import Running  # noqa: PLC0415

    def ready(running: Running) -> None:
        when_stdin_ends(running.stop, running.leave)
        say(role="gateway", ready=True, url=running.url, host=running.host, port=running.port)

    tell_when_asked()
    warm(app)
    nursery = nursery_for(app, settings.server.model_memory_mb)
    if os.read(0, 4096):  # else the supervisor is gone
        given = options["listening"]
        listening = None if given is None else socket.socket(fileno=given)
        run_gateway(app, settings, ready, listening=listening, beside=options["beside"], nursery=nursery)
    return 0


def worker(app: App, settings: Settings, options: dict[str, Any]) -> int:
    from headwater.runtime.worker import Worker  # noqa: PLC0415 - only this role needs it

    del options
    if not os.read(0, 4096):
        return 0  # the supervisor is gone
    serving = Worker(app, settings)
    signal.signal(signal.SIGTERM, lambda *_: serving.stop())
    signal.signal(signal.SIGINT, lambda *_: serving.stop())
    when_stdin_ends(serving.stop)
    say(role="worker", ready=True, consumers=list(app.consumers))
    try:
        return 0 if serving.run() else EXIT_ERROR
    finally:
        serving.close()


ROLES: dict[str, Callable[[App, Settings, dict[str, Any]], int]] = {
    "learner": learner, "gateway": gateway, "backfill": backfill, "worker": worker,
}  # fmt: skip


def main(role: str, app: str, settings: str, options: str = "{}") -> int:
    take_stdout()
    chosen = Settings.model_validate_json(settings)
    configure(chosen.logging.format, level=chosen.logging.level.upper())
    try:
        declared = load_app(Path(app))
        if has_personal(declared.streams):
            configure(chosen.logging.format, level=chosen.logging.level.upper(), is_personal=True)
        return ROLES[role](declared, chosen, {"listening": None, "beside": False, **json.loads(options)})
    except HeadwaterError as error:
        if isinstance(error, Untrusted):
            _note(chosen, error)
        say(role=role, ready=False, error=str(error), kind=type(error).__name__)
        return EXIT_ERROR
    except Exception as error:
        say(role=role, ready=False, error=f"{type(error).__name__}: {error}", kind="fault")
        raise


def _note(settings: Settings, error: Untrusted) -> None:
    from headwater.runtime.trust import note_refused  # noqa: PLC0415 - seldom needed

    note_refused(settings.state_dir / FOLLOWING, error)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    raise SystemExit(main(*sys.argv[1:5]))
