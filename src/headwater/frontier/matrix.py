"""The loss matrix: every version on every later block, once; then any policy of timing is replayed exactly and at once.

`always` refits at each decision point, so all versions that a policy of timing can have are there already. `loss[i, j]` is
what version i lost in block j.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from headwater.assess.table import Progress
from headwater.core.batch import Floats, Ints
from headwater.frontier.fitting import fit
from headwater.frontier.scores import losses, probabilities
from headwater.frontier.stream import Stream
from headwater.learning.boosted import Boosted
from headwater.learning.forest import Forest, margins_of

WINDOWS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0)  # shares of the stream
SIZES = ((60, 15), (60, 31), (120, 63))
_LOOKS = 60, 30  # decision points that the search looks at; fewer on a long stream
_LONG = 100_000


@dataclass(frozen=True, slots=True)
class Setting:
    """How `always` fits: on the newest labels of a share of the stream, so many trees of so many leaves."""

    window: float
    trees: int
    leaves: int

    def text(self) -> str:
        return f"{self.trees} trees x {self.leaves} leaves on the newest {self.window:.0%} of the stream"


@dataclass(slots=True, eq=False)
class Matrix:
    """All versions of one setting.

    Attributes:
        setting: Of the fits.
        numbers: float64[n, d]: what the trees split on.
        forests: One for each decision point from `stream.first` on; None before, and where a fit failed.
        core_s: float64[points]: what each fit cost.
        live_from: int64[points]: the first row that each version can answer, by the time it took to make it.
        loss: float64[points, points]: summed loss of version i over block j > = i; NaN where there is none.
        score_core_s: What it costs to score every row once.
    """

    setting: Setting
    numbers: Floats
    forests: list[Forest | None]
    core_s: Floats
    live_from: Ints
    loss: Floats
    score_core_s: float

    def answers(self, stream: Stream, versions: Ints) -> Floats:
        """float64[n]: block j answered by version `versions[j]`, once that is ready; before, by its forerunner."""
        out, live = np.full(stream.n, np.nan), -1
        for j in range(stream.first, stream.n_points):
            at, end, chosen = int(stream.edges[j]), int(stream.edges[j + 1]), int(versions[j])
            swap = min(max(int(self.live_from[chosen]), at), end) if chosen != live else at
            for version, a, b in ((live, at, swap), (chosen, swap, end)):
                forest = self.forests[version] if version >= 0 else None
                if forest is not None and b > a:
                    out[a:b] = margins_of(forest, self.numbers, a, b)
            live = chosen
        filled = out if stream.absolute else probabilities(out)
        return np.where(np.isnan(filled), stream.rows.unchanged, filled)


def search(stream: Stream, seed: int, told: Progress) -> Setting:
    """The setting with the least loss in hindsight, by some decision points: windows first, then sizes of trees."""
    looks = _LOOKS[stream.n > _LONG]
    points = np.linspace(stream.first, stream.n_points - 1, looks).astype(np.int64)
    found: dict[Setting, float] = {}

    def lost(setting: Setting) -> float:
        if setting not in found:
            told("search", len(found), len(WINDOWS) + len(SIZES) - 1)
            found[setting] = _loss_at(stream, setting, points, seed)
        return found[setting]

    trees, leaves = SIZES[0]
    window = min(WINDOWS, key=lambda w: lost(Setting(w, trees, leaves)))
    best = Setting(window, trees, leaves)
    for size in SIZES[1:]:  # larger trees cost more and are tried only while they help
        other = Setting(window, *size)
        if lost(other) >= lost(best):
            break
        best = other
    return best


def _loss_at(stream: Stream, setting: Setting, points: Ints, seed: int) -> float:
    total, n = 0.0, 0
    for point in points:
        forest = _version(stream, stream.plain, setting, int(point), seed)[0]
        if forest is not None:
            block = _block_losses(stream, forest, stream.plain, int(point))
            total, n = total + float(np.nansum(block)), n + int((~np.isnan(block)).sum())
    return total / n if n else np.inf


def _version(stream: Stream, numbers: Floats, setting: Setting, point: int, seed: int) -> tuple[Forest | None, float]:
    known = stream.known_at(point)
    known = known[known >= stream.edges[point] - setting.window * stream.n]
    if known.size == 0:
        return None, 0.0
    fitter = Boosted("absolute" if stream.absolute else "log", setting.trees, setting.leaves, seed=seed)
    done = fit(fitter, numbers, stream.rows.label, known)
    return done.forest, done.core_s


def _block_losses(stream: Stream, forest: Forest, numbers: Floats, point: int) -> Floats:
    a, b = int(stream.edges[point]), int(stream.edges[point + 1])
    margins = margins_of(forest, numbers, a, b)
    return losses(margins if stream.absolute else probabilities(margins), stream.rows.label[a:b], absolute=stream.absolute)


def build(stream: Stream, setting: Setting, seed: int, told: Progress, *, lagged: bool = False) -> Matrix:
    """Fit every version; and, without label lags, score each on all later blocks."""
    numbers, n = stream.lagged if lagged else stream.plain, stream.n_points
    forests: list[Forest | None] = [None] * n
    core_s, loss, scoring = np.zeros(n), np.full((n, n), np.nan), 0.0
    for i in range(stream.first, n):
        told("lags" if lagged else "always", i, n)
        forests[i], core_s[i] = _version(stream, numbers, setting, i, seed)
        forest = forests[i] or forests[i - 1]
        if forest is None:
            continue
        forests[i] = forest
        began = time.thread_time()
        for j in range(i, i + 1 if lagged else n):
            loss[i, j] = np.nansum(_block_losses(stream, forest, numbers, j))
            if j == i:
                scoring += time.thread_time() - began
    ready_ms = stream.time_ms[stream.edges[:-1]] + (1000.0 * core_s).astype(np.int64)
    live_from = np.searchsorted(stream.time_ms, ready_ms, side="left")
    return Matrix(setting, numbers, forests, core_s, np.maximum(live_from, stream.edges[:-1]), loss, scoring)
