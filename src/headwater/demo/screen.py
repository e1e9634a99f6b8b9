"""What a person sees while the demo runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headwater.demo.drive import Drive

EXPERTS = {
    "live": ("late", "live", "learns at each label"),
    "nightly": ("late", "nightly", "weights published at midnight"),
    "planned": ("planned", "live", "slow trees and a fast layer, by the planner"),
    "frozen": ("late", "frozen", "weights published once, after 20 %"),
    "yesterday": ("practice", "frozen", "20 % learnt, no streaming features"),
    "no_change": ("late", "no_change", "the carrier's last outcome"),
}
_PLAIN_EVERY_S = 5.0


def freshness(drive: Drive) -> dict[str, float]:
    """Milliseconds from a batch's arrival to the first answer that had learnt it."""
    values = np.array(drive.freshness_s) * 1000
    if values.size == 0:
        return {"p50": float("nan"), "p99": float("nan")}
    return {f"p{q}": float(np.percentile(values, q)) for q in (50, 99)}


class Screen:
    """Shows a drive; call `update` a few times a second."""

    def __init__(self, console: Console, drive: Drive, n_lines: int) -> None:
        self._console, self._drive, self._n = console, drive, n_lines
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None
        self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, metrics: Mapping[str, Any]) -> None:
        """Show where the drive is, and each expert's AUC so far."""
        if self._live:
            self._live.update(self._picture(metrics))
        elif time.monotonic() - self._told_s >= _PLAIN_EVERY_S:
            self._told_s = time.monotonic()
            self._console.print(self._line(metrics))

    def _facts(self) -> tuple[str, float, dict[str, float]]:
        drive = self._drive
        elapsed = max(1e-9, time.monotonic() - drive.began_s)
        day = datetime.fromtimestamp(drive.time_ms / 1000, UTC).strftime("%d %b %Y")
        return day, drive.sent / elapsed, freshness(drive)

    def _line(self, metrics: Mapping[str, Any]) -> str:
        day, rate, fresh = self._facts()
        aucs = "  ".join(f"{name} {auc:.3f}" for name, auc in aucs_so_far(metrics).items())
        return (
            f"{self._drive.sent / self._n:4.0%}  {day}  {rate:,.0f} events/s  "
            f"fresh p50 {fresh['p50']:.0f} ms p99 {fresh['p99']:.0f} ms  AUC: {aucs}"
        )

    def _picture(self, metrics: Mapping[str, Any]) -> Group:
        day, rate, fresh = self._facts()
        drive = self._drive
        head = Text(f"{day}   {drive.sent:,} of {self._n:,} events   {rate:,.0f}/s   ")
        head.append(f"freshness p50 {fresh['p50']:.0f} ms, p99 {fresh['p99']:.0f} ms", style="bold green")
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, right in (("AUC so far", False), ("", True), ("", False), ("", False)):
            table.add_column(name, justify="right" if right else "left")
        for name, auc in aucs_so_far(metrics).items():
            bar = "█" * round(max(0.0, auc - 0.5) * 100)
            style = "bold green" if name == "live" else ""
            table.add_row(
                Text(name.replace("_", " "), style=style), f"{auc:.4f}", Text(bar, style=style or "dim"), EXPERTS[name][2]
            )
        asked = Text(f"{drive.n_asked:,} questions answered meanwhile, {drive.n_failed} failed", style="dim")
        return Group(head, ProgressBar(self._n, drive.sent, width=72), table, asked)


def aucs_so_far(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Each expert's AUC over all labels so far, from the learner's status."""
    out = {}
    for name, (model, expert, _) in EXPERTS.items():
        values = metrics.get(model, {}).get("overall", {}).get(expert)
        if values and values.get("auc") is not None:
            out[name] = float(values["auc"])
    return out
