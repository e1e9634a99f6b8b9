"""After `warm`, nobody waits for a compiler: neither at the door nor in the learner, nor after a restart."""

from __future__ import annotations

import json
import subprocess
import sys

from .conftest import SPEC, events

PROGRAM = """
import json, sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from headwater.faults.installation import Installation
from headwater.faults.world import NDJSON
from headwater.runtime.declared import load_app
from headwater.runtime.warm import warm

place, app, late = Path(sys.argv[1]), load_app(Path(sys.argv[2])), set()
warm(app)
compile_ = Dispatcher.compile

def noted(self, signature):
    if self.py_func.__module__.startswith("headwater."):
        late.add(f"{self.py_func.__module__}.{self.py_func.__name__}")
    return compile_(self, signature)

Dispatcher.compile = noted
lines = (place / "events").read_bytes().splitlines()
(place / "state").mkdir()
for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
    with Installation(app, place) as there:
        for at in range(0, len(part), 500):
            body = b"\\n".join(part[at : at + 500])
            reply = there._loop.run(there._door.submit(body, NDJSON, {}, None))
            assert reply.status == 200, reply.body
            there.learn()
print(json.dumps(sorted(late)))
"""


def test_no_kernel_is_met_for_the_first_time_once_events_come(tmp_path):
    (tmp_path / "events").write_text("\n".join(map(json.dumps, events(3000))))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(SPEC)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
