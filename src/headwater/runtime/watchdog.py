"""Ends a gateway that lives and answers nobody, so that another is started in its place.

A process that ends is seen by its parent. One that hangs, behind a lock whose holder is gone or in a call that never returns,
looks alive; its callers wait for ever. So it is asked whether it lives, as any caller could, and how long ago it last said so
is what counts. Before its end it writes to stderr what each of its threads was doing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

from headwater.runtime.children import Child

_ASKS = 6  # in the time that a silence may last
_LAST_WORDS_S = 1.0
_TELL = signal.SIGUSR2


class Watchdog:
    """Asks one gateway after the other, on a thread of its own.

    Args:
        gateway: The one that serves now.
        patience_s: How long it may be silent.
        say: Told (role, what) when one is ended.
    """

    def __init__(self, gateway: Callable[[], Child], patience_s: float, say: Callable[[str, str], None]) -> None:
        self._gateway, self._patience_s, self._say = gateway, patience_s, say
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watchdog")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """None is ended from now on."""
        self._stopping.set()

    def _run(self) -> None:
        pause_s = self._patience_s / _ASKS
        asked, heard_s = self._gateway().process, time.monotonic()
        while not self._stopping.wait(pause_s):
            child = self._gateway()
            is_new = child.process is not asked or not child.ready.is_set()
            has_ended = child.is_leaving or (asked is not None and asked.poll() is not None)
            if is_new or has_ended or lives(str(child.facts["host"]), int(child.facts["port"]), pause_s):
                asked, heard_s = child.process, time.monotonic()
            elif time.monotonic() - heard_s >= self._patience_s and not self._stopping.is_set():
                self._say(child.role, f"has answered nobody for {self._patience_s:g} s: it is ended")
                end(asked)
                heard_s = time.monotonic()


def lives(host: str, port: int, patience_s: float) -> bool:
    """Whether a gateway answers, whatever it says."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nobody listens on it here
    connection = HTTPConnection(here, port, timeout=patience_s)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def end(process: subprocess.Popen[str] | None) -> None:
    """Have a process say what its threads do, then kill it."""
    if process is None:
        return
    process.send_signal(_TELL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_WORDS_S)
    process.kill()


def tell_when_asked() -> None:
    """Write what each thread does to stderr when the watchdog asks, whatever Python is held up by."""
    faulthandler.register(_TELL, all_threads=True)
