"""What the demo's updates cost and gained, from its ledger: did the planner's choices pay?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headwater.app import App
from headwater.planning.ledger import FILE_NAME, Ledger
from headwater.runtime.places import PLANNING
from headwater.runtime.refitting import plans_said, slow_fit

MODEL = "planned"


def economy(app: App, state: Path) -> dict[str, Any]:
    """Updates, core-seconds and gains of the planned model, with a sentence on whether they paid."""
    if slow_fit(app.models[MODEL]) is None:
        why = "The slow expert is left out: LightGBM is not installed. Install headwater[demo]."
        return {"has_slow": False, "updates": [], "core_seconds": 0.0, "gained_loss": 0.0, "plans": [], "verdict": why}
    path = state / PLANNING / FILE_NAME
    with Ledger(path, read_only=True) as ledger:
        jobs = ledger.jobs(model=MODEL)
    fits: list[dict[str, Any]] = [
        {
            "at_ms": job.at_ms, "rows": job.rows, "method": job.method, "reserved_core_s": job.estimate_core_s,
            "core_s": job.core_s, "outcome": job.outcome, "why": job.why, "labels": 0, "gained_loss": 0.0,
        }
        for job in jobs if job.kind == "fit"
    ]  # fmt: skip
    served = [fit for fit in fits if fit["outcome"] == "served"]
    for job in jobs:
        mine = [fit for fit in served if fit["at_ms"] < job.at_ms]
        if job.kind == "gain" and mine:
            mine[-1]["labels"] += job.rows
            mine[-1]["gained_loss"] += job.gained_loss
    core_s = {kind: sum(job.core_s for job in jobs if job.kind == kind) for kind in ("fast", "fit", "start")}
    gained, labels = sum(fit["gained_loss"] for fit in fits), sum(fit["labels"] for fit in fits)
    verdict = _verdict(len(served), core_s["fit"], gained, labels)
    return {
        "has_slow": True, "updates": fits, "core_seconds": sum(core_s.values()), "core_seconds_by_kind": core_s,
        "gained_loss": gained, "plans": plans_said(state, MODEL), "verdict": verdict,
    }  # fmt: skip


def _verdict(n: int, core_s: float, gained: float, labels: int) -> str:
    if n == 0 or labels == 0:
        return "No update was served long enough to be judged."
    paid = "They paid" if gained > 0 else "They did not pay"
    return (
        f"{n} updates took {core_s:.2f} core-seconds. {paid}: against the fast layer without the slow expert, what was "
        f"served lost {abs(gained / labels):.4f} {'less' if gained > 0 else 'more'} on each of {labels:,} labels."
    )


def print_economy(console: Console, ledger: dict[str, Any]) -> None:
    """The ledger, for a person."""
    if ledger["has_slow"]:
        table = Table(title="Refits of the slow expert, beside serving", title_justify="left", box=None, pad_edge=False)
        for name in ("labels read", "reserved core-s", "core-s", "labels since", "loss avoided"):
            table.add_column(name, justify="right")
        table.add_column("")
        for fit in ledger["updates"]:
            table.add_row(
                f"{fit['rows']:,}", f"{fit['reserved_core_s']:.2f}", f"{fit['core_s']:.2f}", f"{fit['labels']:,}",
                f"{fit['gained_loss']:+.1f}", f"{fit['outcome']}: {fit['why']}",
            )  # fmt: skip
        console.print(table)
    console.print(f"ledger     {ledger['verdict']}", highlight=False)
