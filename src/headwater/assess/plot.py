"""The ladder as a picture; needs the extra `plot`."""

from __future__ import annotations

from pathlib import Path

from headwater.assess.assessment import Assessment
from headwater.assess.ladder import NO_CHANGE, RUNGS
from headwater.assess.verdict import main_measure, name_of
from headwater.core.errors import Fatal

NAMES = {
    "every_event": "every event", "1%": "each 1 %", "5%": "each 5 %", "frozen": "frozen after 20 %", NO_CHANGE: "no change",
}  # fmt: skip
_LIVE, _OTHERS = "#1f6f8b", "#a9c6cf"


def check() -> None:
    """Refuse early, before minutes of work.

    Raises:
        Fatal: matplotlib is missing.
    """
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415
    except ImportError as error:
        raise Fatal(
            "a picture needs matplotlib, which is not installed", where="--plot", next_step="Install headwater[plot]."
        ) from error


def draw(found: Assessment, path: Path) -> None:
    """Write the ladder's main measure as bars; the suffix of `path` says which format.

    Raises:
        Fatal: matplotlib is missing, or cannot write such a file.
    """
    check()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    measure = main_measure(found.ladder, found.task)
    shown = [rung for rung in (*RUNGS, NO_CHANGE) if measure in found.ladder[rung]]
    values = [found.ladder[rung][measure] for rung in shown]
    figure = Figure(figsize=(7.2, 0.7 + 0.5 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bars = axes.barh([NAMES[rung] for rung in shown], values, color=[_LIVE, *[_OTHERS] * (len(shown) - 1)])
    axes.bar_label(bars, fmt="%.3f" if max(values) < 10 else "%.1f", padding=4)  # noqa: PLR2004
    axes.invert_yaxis()
    if measure == "auc":
        axes.set_xlim(min(0.5, *values), min(1.0, max(values) + 0.05))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(name_of(measure))
    axes.set_title(found.prepared.table.file.path.name, loc="left")
    try:
        figure.savefig(path, dpi=150)
    except (ValueError, OSError) as error:
        said = str(error).splitlines()[0]
        raise Fatal(
            f"the picture cannot be written: {said}", where=f"--plot {path}", expected="a path such as ladder.png"
        ) from error
