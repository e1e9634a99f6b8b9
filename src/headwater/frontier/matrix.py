"""The loss matrix: every version on every later block, once; then any policy of timing is replayed exactly and at once.

`always` refits at each decision point, so all versions that a policy of timing can have are there already. `loss[i, j]` is
what version i lost in block j.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from headwater.assess.table import Progress
from headwater.core.batch import Floats, Ints
from headwater.frontier.fitting import fit
from headwater.frontier.scores import probabilities
from headwater.frontier.stream import Stream
from headwater.learning.boosted import Boosted
from headwater.learning.forest import Forest, margins_of
from headwater.learning.mixture import losses

WINDOWS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0)  # shares of the stream
SIZES = ((60, 15), (60, 31), (120, 63))
_LOOKS = 60, 30  # decision points that the search looks at; fewer on a long stream
_LONG = 100_000
_THREADS = 2


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


def search(stream: Stream, seed: int, told: Progress) -> tuple[Setting, dict[int, Version]]:
    """The setting with the least loss in hindsight, by some decision points: windows first, then sizes of trees.

    All windows are tried at every third of these points, the better half at all of them. Returns its fits, too.
    """
    looks = _LOOKS[stream.n > _LONG]
    points = np.unique(np.linspace(stream.first, stream.n_points - 1, looks).astype(np.int64))
    tried = _Tried(stream, seed, told)
    trees, leaves = SIZES[0]
    first = sorted(WINDOWS, key=lambda w: tried.loss(Setting(w, trees, leaves), points[::3]))
    window = min(first[: (len(first) + 1) // 2], key=lambda w: tried.loss(Setting(w, trees, leaves), points))
    best = Setting(window, trees, leaves)
    for size in SIZES[1:]:  # larger trees cost more and are tried only while they help
        other = Setting(window, *size)
        if tried.loss(other, points) >= tried.loss(best, points):
            break
        best = other
    return best, tried.versions(best)


@dataclass(slots=True, eq=False)
class Version:
    """One fit: its forest, what it cost, and its losses in the block after it."""

    forest: Forest | None
    core_s: float
    block: Floats


class _Tried:
    """What the search has fitted; windows that reach back to the same label are one."""

    def __init__(self, stream: Stream, seed: int, told: Progress) -> None:
        self._stream, self._seed, self._told = stream, seed, told
        self._found: dict[tuple[int, int, int, int], Version] = {}

    def loss(self, setting: Setting, points: Ints) -> float:
        """Mean loss of a setting over the blocks at some decision points."""
        keys = [self._key(setting, int(point)) for point in points]
        wanted = [key for key in keys if key not in self._found]
        for key, found in zip(wanted, in_threads(lambda key: self._fit(setting, key[0]), wanted), strict=True):
            self._found[key] = found
            self._told("search", len(self._found), len(self._found) + len(wanted))
        blocks = np.concatenate([self._found[key].block for key in keys])
        return float(np.nanmean(blocks)) if not np.isnan(blocks).all() else np.inf

    def versions(self, setting: Setting) -> dict[int, Version]:
        """What there is of a setting, by decision point."""
        points = range(self._stream.first, self._stream.n_points)
        keys = {point: self._key(setting, point) for point in points}
        return {point: self._found[key] for point, key in keys.items() if key in self._found}

    def _key(self, setting: Setting, point: int) -> tuple[int, int, int, int]:
        return point, _window(self._stream, setting, point).size, setting.trees, setting.leaves

    def _fit(self, setting: Setting, point: int) -> Version:
        forest, core_s = _version(self._stream, self._stream.plain, setting, point, self._seed)
        at = slice(int(self._stream.edges[point]), int(self._stream.edges[point + 1]))
        nothing = np.full(at.stop - at.start, np.nan)
        block = nothing if forest is None else _block_losses(self._stream, forest, self._stream.plain, point)
        return Version(forest, core_s, block)


T = TypeVar("T")
K = TypeVar("K")


def in_threads(work: Callable[[K], T], items: Sequence[K]) -> Iterator[T]:
    """The results in order; LightGBM and the kernels run without Python's lock, and each thread's time is its own."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(work, items)


def _window(stream: Stream, setting: Setting, point: int) -> Ints:
    known = stream.known_at(point)
    newest: Ints = known[known >= stream.edges[point] - setting.window * stream.n]
    return newest


def _version(stream: Stream, numbers: Floats, setting: Setting, point: int, seed: int) -> tuple[Forest | None, float]:
    known = _window(stream, setting, point)
    if known.size == 0:
        return None, 0.0
    fitter = Boosted("absolute" if stream.absolute else "log", setting.trees, setting.leaves, seed=seed)
    done = fit(fitter, numbers, stream.rows.label, known)
    return done.forest, done.core_s


def _block_losses(stream: Stream, forest: Forest, numbers: Floats, point: int) -> Floats:
    a, b = int(stream.edges[point]), int(stream.edges[point + 1])
    margins = margins_of(forest, numbers, a, b)
    return losses(margins if stream.absolute else probabilities(margins), stream.rows.label[a:b], absolute=stream.absolute)


def build(
    stream: Stream, setting: Setting, seed: int, told: Progress, *, lagged: bool = False, made: dict[int, Version] | None = None
) -> Matrix:
    """Fit every version that has not been `made`; and, without label lags, score each on all later blocks."""
    numbers, n, made = stream.lagged if lagged else stream.plain, stream.n_points, made or {}
    points = range(stream.first, n)
    forests: list[Forest | None] = [None] * n
    core_s = np.zeros(n)

    def version(point: int) -> tuple[Forest | None, float]:
        done = made.get(point)
        return (done.forest, done.core_s) if done else _version(stream, numbers, setting, point, seed)

    for i, (forest, spent) in zip(points, in_threads(version, points), strict=True):
        told("lags" if lagged else "always", i, n)
        forests[i], core_s[i] = forest or forests[i - 1], spent
    loss, scoring = np.full((n, n), np.nan), 0.0
    for i, (row, spent) in zip(
        points, in_threads(lambda i: _score(stream, forests[i], numbers, i, lagged), points), strict=True
    ):
        loss[i, i : i + row.size] = row
        scoring += spent
    ready_ms = stream.time_ms[stream.edges[:-1]] + (1000.0 * core_s).astype(np.int64)
    live_from = np.searchsorted(stream.time_ms, ready_ms, side="left")
    return Matrix(setting, numbers, forests, core_s, np.maximum(live_from, stream.edges[:-1]), loss, scoring)


def _score(stream: Stream, forest: Forest | None, numbers: Floats, i: int, lagged: bool) -> tuple[Floats, float]:
    """Summed losses in the blocks from i on, or with label lags in block i alone; and what scoring that block took."""
    if forest is None:
        return np.zeros(0), 0.0
    began = time.thread_time()
    own = float(np.nansum(_block_losses(stream, forest, numbers, i)))
    spent = time.thread_time() - began
    later = range(i + 1, i + 1 if lagged else stream.n_points)
    return np.array([own, *(float(np.nansum(_block_losses(stream, forest, numbers, j))) for j in later)]), spent
