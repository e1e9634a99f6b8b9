"""A gateway that hangs is ended and followed by another; one that answers is left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from headwater.ingest.client import Client
from headwater.runtime.supervisor import Supervisor
from headwater.runtime.watchdog import end, lives

from .conftest import SPEC, departure, settings, until

HANGS = """
import threading
from headwater.runtime.watchdog import tell_when_asked
tell_when_asked()
lock = threading.Lock()
def waits_for_ever():
    lock.acquire()
    print("here", flush=True)
    lock.acquire()
waits_for_ever()
"""


def test_a_gateway_that_answers_nobody_is_followed_by_one_that_does(app, tmp_path):
    told = []
    with Supervisor(app, str(SPEC), settings(tmp_path, silent_s=2.0), lambda *what: told.append(what)) as supervisor:
        with Client(supervisor.url) as client:
            client.send("departure", [departure(0)])
        hung = supervisor.children["gateway"].pid
        os.kill(hung, signal.SIGSTOP)
        until(lambda: supervisor.children["gateway"].restarts == 1, "another gateway is started")
        with Client(supervisor.url, patience_s=60) as client:
            assert client.predict("late", {"flight_id": "f0"})["predictions"][0]["stored"]
        assert supervisor.children["gateway"].pid != hung
        assert supervisor.children["learner"].restarts == 0
    assert told[:2] == [
        ("gateway", "has answered nobody for 2 s: it is ended"),
        ("gateway", "ended with signal 9; starting it again in 0 s"),
    ]


def test_before_its_end_it_says_what_it_was_doing():
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        end(process)
        assert "in waits_for_ever" in process.stderr.read()
    assert process.returncode == -signal.SIGKILL


def test_whoever_answers_lives_whatever_it_says():
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert lives("0.0.0.0", server.server_port, 30.0)
        assert not lives("127.0.0.1", server.server_port, 0.05)  # nobody accepts any more
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not lives("127.0.0.1", free.getsockname()[1], 0.05)
