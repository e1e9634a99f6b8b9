"""A process that fits slow models beside serving: `python -m headwater.runtime.fitter STATE_FOLDER REGISTRY`.

One job a line on stdin, one answer a line on stdout; it ends when its stdin does. It reads examples from the saved state
and writes what it fitted to the registry, under its hash. It measures itself; whoever started it may kill it at any time. The
library is loaded once, before the first job.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.batch import Floats
from headwater.core.crashpoints import crashpoint
from headwater.core.errors import HeadwaterError
from headwater.learning.boosted import FitStopped
from headwater.learning.forest import Forest
from headwater.learning.protocol import library
from headwater.learning.slow_fit import ENDED, VECTOR, SlowFit
from headwater.log.checksum import xxh64
from headwater.planning.windows import Window
from headwater.registry.artifact import Artifacts
from headwater.runtime.trying import try_windows
from headwater.store.checkpoint import Checkpoints

EXAMPLES = "examples"
_UNNEEDED = ("pandas", "sklearn", "matplotlib", "dask", "graphviz")  # LightGBM would load them: two core-seconds more
_ASKED = 0.9  # of its limit: then a fit is asked to stop, which keeps the process
_YIELD = 10  # a fit gives way to those who serve


def examples_of(store: Checkpoints, model: str, n_vector: int, rows: int) -> Floats:
    """float64[at most `rows`, 2 + vector]: the newest examples that were saved, oldest first."""
    parts = [np.frombuffer(value, np.float64) for _, value in store.outbox(f"{EXAMPLES}.{model}")]
    whole = np.concatenate(parts) if parts else np.zeros(0)
    return whole.reshape(-1, VECTOR + n_vector)[-rows:] if rows else np.zeros((0, VECTOR + n_vector))


def carry_out(state: Path, files: Artifacts, job: dict[str, Any]) -> dict[str, Any]:
    """One fit; what came of it, with its core-seconds."""
    began, limit = time.process_time(), float(job["limit_core_s"])

    def spent() -> float:
        return time.process_time() - began

    def is_over() -> bool:
        return spent() > _ASKED * limit

    set_alarm(limit)
    try:
        with closing(Checkpoints(state, readonly=True)) as store:
            examples = examples_of(store, job["model"], int(job["n_vector"]), _most_rows(job))
        fit, rows = _fit_of(job), int(job["rows"])
        if job["windows"]:
            choice = try_windows(fit, examples, _windows(job), float(job["worth"]), is_over)
            if choice.window is None:
                return {"outcome": "waits", "failure": choice.why, "rows": 0, "core_s": spent()}
            examples = examples[-min(choice.window.n, rows) :]
        more = int(job["more"])
        forest = fit.grow(_trees(files, job["after"]), more, examples, is_over) if more else fit.fit(examples, is_over)
        sha256 = files.put(forest._asdict(), {"model": job["model"], "rows": examples.shape[0], "at": job["at"]})
    except FitStopped:
        return {"outcome": "stopped", "failure": ENDED.format(limit), "core_s": spent()}
    except Exception as error:  # noqa: BLE001 - a method may fail in any way; the served model stays
        return {"outcome": "failed", "failure": f"{type(error).__name__}: {error}", "core_s": spent()}
    finally:
        set_alarm(0.0)
    crashpoint("refit.fitted")
    return {"outcome": "served", "sha256": sha256, "rows": examples.shape[0], "core_s": spent()}


def _fit_of(job: dict[str, Any]) -> SlowFit:
    return SlowFit(**{**job["fit"], "columns": tuple(job["fit"]["columns"]), "bases": tuple(job["fit"]["bases"])})


def _windows(job: dict[str, Any]) -> list[Window]:
    return [Window(**window) for window in job["windows"]]


def _most_rows(job: dict[str, Any]) -> int:
    return max([int(job["rows"]), *(window.n for window in _windows(job))])


def _trees(files: Artifacts, sha256: str) -> Forest:
    """Those that a fit goes on from; copies, since kernels are compiled for arrays that can be written to."""
    return Forest(**{name: np.array(array) for name, array in files.get(sha256).arrays.items()})


def main(state: str, registry: str) -> None:
    """Carry out jobs until stdin ends."""
    voice = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints, prints to stderr
    os.nice(_YIELD)
    for name in _UNNEEDED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # an import says that it is not there
    library("lightgbm", "lightgbm", "hw.Fast.slow")
    _warm(Path(state))
    print(json.dumps({"ready": True, "core_s": time.process_time()}), file=voice, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(carry_out(Path(state), Artifacts(Path(registry)), job)), file=voice, flush=True)


def _warm(state: Path) -> None:
    """Load what is loaded at its first use, so that no job is charged for it."""
    labels = np.arange(100) % 2.0
    fit, examples = SlowFit("log", 1, 2, 0.1, 5, (0,), ()), np.column_stack([labels, labels, labels])
    fit.grow(fit.fit(examples), 1, examples)
    xxh64(bytes(8))  # what is read from the state is checked
    with suppress(HeadwaterError), closing(Checkpoints(state, readonly=True)) as store:
        examples_of(store, "", 0, 1)


def set_alarm(core_s: float) -> None:
    """Have the system end us after so many more core-seconds, where a library does not come back to ask; 0 is never."""
    signal.setitimer(signal.ITIMER_PROF, core_s)  # SIGPROF, which nobody here listens to, ends a process


if __name__ == "__main__":
    main(*sys.argv[1:3])
