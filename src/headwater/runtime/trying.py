"""Which window a refit learns from, tried out where the refit is made: a small fit on each, judged on the newest labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from headwater.core.batch import Floats, Ints
from headwater.learning.slow_fit import SlowFit
from headwater.planning.rungs import FEW
from headwater.planning.windows import PROBE_LEAVES, PROBE_RATE, PROBE_TREES, Choice, Window, choose


def try_windows(
    fit: SlowFit, examples: Floats, windows: Sequence[Window], worth: float, is_over: Callable[[], bool] | None = None
) -> Choice:
    """Choose among windows of float64[n, 2 + vector] examples, oldest first; see `windows.choose`.

    Args:
        fit: How the slow model is fitted; its probe has fewer and smaller trees.
        examples: The newest, at least as many as the longest window has.
        windows: By how many labels they hold; their positions are taken anew from the end.
        worth: Loss a label that is worth waiting for.
        is_over: Asked after every tree whether to stop.

    Raises:
        FitStopped: `is_over` said so.
    """
    small = replace(fit, trees=PROBE_TREES, leaves=PROBE_LEAVES, learning_rate=PROBE_RATE)

    def probe(learn: Ints, judge: Ints) -> Floats:
        return small.lost(small.fit(examples[learn], is_over), examples[judge])

    n = examples.shape[0]
    placed = [replace(window, first=max(n - window.n, 0)) for window in windows]
    return choose(placed, n, probe, least=FEW, worth=worth)
