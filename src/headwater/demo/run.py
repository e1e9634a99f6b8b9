"""The demo from start to end: set up, drive, verify, report, stay."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from headwater.app import App
from headwater.core.errors import Fatal, WrongState
from headwater.demo.data import load
from headwater.demo.drive import MODEL, Drive, ask, send
from headwater.demo.economy import economy, print_economy
from headwater.demo.report import collect, figures, margins, print_report
from headwater.demo.screen import Screen, freshness
from headwater.demo.stream import Tape, make_tape
from headwater.demo.verify import Verdict, verify
from headwater.evaluation.prequential import SCORES
from headwater.ingest.client import Client
from headwater.learning.kernels import score_rows
from headwater.log.open import open_log
from headwater.registry.catalog import Catalog
from headwater.runtime.checkpointing import judged_rows
from headwater.runtime.declared import load_app
from headwater.runtime.marks import refits_in
from headwater.runtime.places import STATE
from headwater.runtime.settings import Settings
from headwater.runtime.supervisor import APP_FILE, Supervisor
from headwater.runtime.warm import warm
from headwater.store.checkpoint import Checkpoints

N_SAMPLES = 1_000
MAX_LAG_EVENTS = 20_000


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person may choose; see `headwater demo --help`."""

    state: Path
    port: int = 0
    events_per_s: float | None = None
    days: int | None = None
    stay: bool = True


def app_file() -> Path:
    """The demo's app: `examples/flights.py`, in the checkout or in the installed package."""
    root = Path(__file__).resolve().parents[1]
    for path in (root.parents[1] / "examples" / "flights.py", root / "demo" / "flights.py"):
        if path.is_file():
            return path
    raise Fatal("the demo's app is missing", where="examples/flights.py", next_step="Install Headwater again.")


def fresh_folder(folder: Path) -> Path:
    """An empty state directory; an earlier demo's is removed, anything else is left alone."""
    if folder.exists() and any(folder.iterdir()):
        mark = folder / APP_FILE
        if not mark.exists() or json.loads(mark.read_text()).get("app") != "flights":
            raise WrongState(
                "this folder is not an earlier demo's", where=str(folder), next_step="Choose another with --state."
            )
        shutil.rmtree(folder)
    return folder


def run_demo(console: Console, choices: Choices) -> dict[str, Any]:
    """Run it; returns the report. With `stay`, serves until Ctrl-C."""
    folder, spec = fresh_folder(choices.state), app_file()
    app = load_app(spec)
    with console.status("reading the flights and warming the kernels"):
        tape = make_tape(load(), limit_days=choices.days)
        warm(app)
    settings = Settings(
        state_dir=folder,
        server={"port": choices.port, "max_lag_events": MAX_LAG_EVENTS},  # type: ignore[arg-type]
        logging={"level": "warning"},  # type: ignore[arg-type]
    )
    supervisor = Supervisor(app, str(spec), settings, lambda role, what: console.print(f"{role} {what}", style="yellow"))
    with supervisor:
        pids = {c.role: c.pid for c in supervisor.children.values()}
        console.print(
            f"gateway (process {pids['gateway']}) and learner (process {pids['learner']}) at {supervisor.url}", highlight=False
        )
        before = sum(map(cpu_s, pids.values()))
        drive = _drive(console, supervisor, tape, choices)
        spent = sum(map(cpu_s, pids.values())) - before
        report = _report(console, app, supervisor, tape, drive, spent)
        print_report(console, report)
        print_economy(console, report["ledger"])
        _show_one(console, supervisor.url, tape)
        if choices.stay:
            console.print(f"\nServing at {supervisor.url} until Ctrl-C.", highlight=False)
            _until_interrupted()
    return report


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system, all threads) that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _drive(console: Console, supervisor: Supervisor, tape: Tape, choices: Choices) -> Drive:
    drive, failures = Drive(), []

    def sending() -> None:
        try:
            send(drive, tape, supervisor.url, events_per_s=choices.events_per_s)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)
        drive.stop.set()

    threads = [
        threading.Thread(target=sending, daemon=True, name="sender"),
        threading.Thread(
            target=ask, args=(drive, tape, supervisor.url), kwargs={"n_samples": N_SAMPLES}, daemon=True, name="asker"
        ),
    ]
    for thread in threads:
        thread.start()
    try:
        with Screen(console, drive, len(tape.lines)) as screen, Client(supervisor.url) as client:
            while not drive.stop.wait(0.5):
                screen.update(client.get("/status").get("learner", {}).get("metrics", {}))
    finally:
        drive.stop.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return drive


def _report(console: Console, app: App, supervisor: Supervisor, tape: Tape, drive: Drive, spent_s: float) -> dict[str, Any]:
    settings = supervisor.settings
    experts = {name: model.experts for name, model in app.models.items()}
    log = open_log(settings.log_url, readonly=True)
    end = log.bounds()[1]
    store = Checkpoints(settings.state_dir / STATE, readonly=True)
    while store.seq() < end:  # the learner saves about once a second
        time.sleep(0.05)
    rows = {name: judged_rows(store, name, len(experts[name])) for name in app.models}
    counts = log.counts().values()
    with console.status("folding the log once more, to check what was served") as status:

        def told(done: int, of: int) -> None:
            status.update(f"checking what was served: {done / of:.0%}")

        verdict = verify(app, log, drive.samples, told, refits_in(settings.registry_dir))
    folded = verdict.fold.counts().values()
    judged = collect(rows, experts)
    same_rows = all(np.array_equal(verdict.judged[model], rows[model]) for model in rows)
    with Catalog(settings.registry_dir, read_only=True) as catalog:
        versions = len(catalog.list())
    report: dict[str, Any] = {
        "events": len(tape.lines), "seconds": drive.ended_s - drive.began_s, "core_seconds": spent_s,
        **figures(judged), **margins(judged), "freshness_ms": freshness(drive),
        "in": drive.totals.n, "applied": sum(c["applied"] for c in folded), "late": sum(c["late"] for c in folded),
        "duplicate": sum(c.duplicate for c in counts), "quarantined": sum(c.quarantined for c in counts),
        "injected": tape.injected, "versions": versions, "state_hash": verdict.state_hash,
        "core_seconds_by_expert": costs(verdict),
        "questions": {"asked": drive.n_asked, "failed": drive.n_failed},
        "checked": {"n": verdict.n_checked, "same": verdict.n_same, "folded_again": same_rows},
        "ledger": economy(app, settings.state_dir),
    }  # fmt: skip
    store.close()
    log.close()
    return report


def costs(verdict: Verdict) -> dict[str, float]:
    """Core-seconds of each expert, measured in the second fold: features are shared by live, nightly and frozen.

    A twin costs one score a question; that is timed on the waiting vectors. Live's cost is the rest of its model's.
    """
    fold = verdict.fold
    late = fold.models["late"]
    twin = _score_s(late) * float(late.metrics.sums[0, 0])
    live = fold.seconds["features"] + fold.seconds["late"] - 2 * twin
    return {
        "live": live,
        "nightly": twin,
        "planned": fold.seconds["planned"],
        "frozen": twin,
        "yesterday": fold.seconds["practice"],
    }


def _score_s(model: Any, repeat: int = 20) -> float:
    rows = model.pending.rows[model.pending.order()]
    first = SCORES + model.n_experts
    xs = np.ascontiguousarray(rows[:, first : first + model.n_numbers])
    cs = rows[:, first + model.n_numbers :].astype(np.int64)
    weights, out = model.learner.weights, np.empty(len(rows))
    began = time.thread_time()
    for _ in range(repeat):
        score_rows(weights, model.learner.stats, xs, cs, model.learner.params, out)
    return (time.thread_time() - began) / max(1, repeat * len(rows))


def _show_one(console: Console, url: str, tape: Tape) -> None:
    flight = tape.flights[-1][1]
    with Client(url) as client:
        answer = client.predict(MODEL, {"flight_id": flight})
    console.print(
        f"\n$ curl -s {url}/predict/{MODEL} -H 'content-type: application/json' -d '{{\"flight_id\": \"{flight}\"}}'",
        highlight=False,
    )
    console.print(json.dumps(answer), highlight=False)


def _until_interrupted() -> None:
    stop = threading.Event()
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, lambda *_: stop.set())
    stop.wait()
