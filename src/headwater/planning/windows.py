"""After a change: from which labels on should a refit learn, and are there enough of them yet?

A cheap probe is fitted on each candidate window but for the newest labels, and judged on those. The longest window whose
probe is as good as the best one wins: more labels at the same loss are a better model. A window since a change may be too
short: then the probe on its newer half tells, by a power law through two points, what twice the labels would still bring;
while that is more than waiting costs, the refit waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.planning.selection import random

SHARES = (1.0, 0.5, 0.25)  # of the known labels
HELD = 0.1  # of the shortest window that is large enough: the slice that judges
_LEAST_HELD, _MOST_HELD = 100, 1_000
MOST_ROWS = 4_000  # that a probe reads of any window
PROBE_TREES, PROBE_LEAVES, PROBE_RATE = 10, 8, 0.3
WORTH = 0.01  # of the loss of "no change": a window waits while as many more labels would bring more
_NOISE = 0.5  # standard errors of the difference that count as equal


@dataclass(frozen=True, slots=True)
class Window:
    """The newest of the known labels.

    Attributes:
        name: "all", "half", "quarter", or "since the change".
        first: Position, among the known labels, of its first.
        n: Labels in it.
    """

    name: str
    first: int
    n: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What a probe on one window lost on the slice that judges.

    Attributes:
        window: The window.
        loss: Mean loss a label.
        doubt: Standard error of its difference to the best trial's.
    """

    window: Window
    loss: float
    doubt: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The window of a refit, or none where waiting is better; and why, in one sentence."""

    window: Window | None
    why: str
    trials: tuple[Trial, ...] = ()


Probe = Callable[[Ints, Ints], Floats]
"""(positions to learn from, positions to be judged on) -> float64 losses on the latter."""


def candidates(n_known: int, changed_at: int | None, least: int) -> tuple[Window, ...]:
    """All labels, half, a quarter, and those since a suspected change (its position); none of fewer than `least` labels.

    >>> [(window.name, window.n) for window in candidates(1000, 900, least=200)]
    [('all', 1000), ('half', 500), ('quarter', 250)]
    """
    named = [(name, int(n_known * (1 - share))) for name, share in zip(("all", "half", "quarter"), SHARES, strict=True)]
    if changed_at is not None and 0 < changed_at < n_known:
        named.append(("since the change", changed_at))
    found: dict[int, Window] = {}
    for name, first in named:
        if n_known - first >= least:
            found.setdefault(first, Window(name, first, n_known - first))
    return tuple(sorted(found.values(), key=lambda window: window.first))


def held_out(windows: Sequence[Window], n_known: int) -> Ints:
    """Positions of the newest labels, on which all windows are judged: a tenth of the shortest window, 100 to 1,000 of them."""
    shortest = min(window.n for window in windows)
    n = min(max(int(HELD * shortest), _LEAST_HELD), _MOST_HELD, shortest // 2)
    return np.arange(n_known - n, n_known)


def choose(windows: Sequence[Window], n_known: int, probe: Probe, *, least: int, worth: float, seed: int = 0) -> Choice:
    """Try a probe on each window and choose.

    Args:
        windows: `candidates`.
        n_known: Labels known.
        probe: Fits on some labels, judges on others; what it costs is charged by the caller.
        least: A window with fewer labels waits, if more of them would still help.
        worth: Loss a label that is worth waiting for.
        seed: Of the rows that a probe reads of a long window.
    """
    if not windows:
        return Choice(None, f"No window holds {least} labels yet.")
    judged = held_out(windows, n_known)
    losses = [probe(_read(window.first, n_known - judged.size, seed), judged) for window in windows]
    best = min(range(len(windows)), key=lambda i: float(losses[i].mean()))
    trials = tuple(_trial(window, lost, losses[best]) for window, lost in zip(windows, losses, strict=True))
    chosen = next(
        trial for trial in trials if trial.loss <= trials[best].loss + _NOISE * trial.doubt
    )  # the longest comes first
    window = chosen.window
    told = ", ".join(f"{trial.window.name} {trial.loss:.3g}" for trial in trials)
    if window.n < least:
        middle = (window.first + n_known - judged.size) // 2
        half = probe(_read(middle, n_known - judged.size, seed), judged)
        slope = more_would_bring(float(half.mean()), chosen.loss)
        if slope > worth:
            few = f"{window.n} labels are few, as many more would bring {slope:.3g}"
            why = f"Of the windows ({told}) {window.name} is best, but {few}."
            return Choice(None, why, trials)
    return Choice(window, f"On the newest {judged.size} labels the windows lose {told}: learn from {window.name}.", trials)


def more_would_bring(half_loss: float, loss: float) -> float:
    """What twice the labels would bring, by a power law through the losses at half and all of them.

    The excess falls by the same factor with each doubling; the asymptote is unknown, so the last step is halved once more,
    as for an error that falls with the number of labels.

    >>> more_would_bring(0.5, 0.4), more_would_bring(0.4, 0.41)
    (0.05, 0.0)
    """
    return round(max(half_loss - loss, 0.0) / 2, 12)


def _read(first: int, end: int, seed: int) -> Ints:
    n = max(end - first, 0)
    return first + random(n, MOST_ROWS, seed)


def _trial(window: Window, lost: Floats, best: Floats) -> Trial:
    apart = lost - best
    doubt = float(apart.std() / np.sqrt(apart.size)) if apart.size > 1 else 0.0
    return Trial(window, float(lost.mean()), doubt)
