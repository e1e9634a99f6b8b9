"""Quality against core-seconds, as a picture. The only file that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headwater.core.errors import Fatal
from headwater.frontier.report import Report

_LEAST_SHARE = 1e-4  # where a policy that costs nothing stands on the logarithmic axis


def draw(report: Report, path: Path) -> None:
    """Write a PNG (or whatever the file's ending says).

    Raises:
        Fatal: matplotlib is not installed, or the file cannot be written so.
    """
    figure_of = _library()
    figure = figure_of.Figure(figsize=(9, 5.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for row in report.policies:
        x, y = max(row.share_of_always, _LEAST_SHARE), row.quality
        planner = row.name.startswith("planner")
        axes.plot(x, y, "o" if planner else "s", color="#0b6e4f" if planner else "#8a8f98", markersize=9 if planner else 6)
        axes.annotate(row.name, (x, y), textcoords="offset points", xytext=(6, 5), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("core-seconds, as a share of refitting at every decision point")
    axes.set_ylabel("mean absolute error" if report.task == "regression" else "log loss")
    axes.set_title(f"{report.rows:,} rows; down and left is better", loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise Fatal("the picture cannot be written", where=str(path), got=str(error), next_step="Name a .png file.") from error


def _library() -> Any:
    try:
        from matplotlib import figure  # noqa: PLC0415 - optional
    except ImportError as missing:
        raise Fatal(
            "a picture needs matplotlib, which is not installed", where="--plot", next_step="Install headwater[plot]."
        ) from missing
    return figure
