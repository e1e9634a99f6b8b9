"""All policies on one history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headwater.assess.encoding import Encoded
from headwater.assess.table import Progress, ignore
from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal
from headwater.evaluation.metrics import YES
from headwater.frontier import lag, timing
from headwater.frontier.detectors import NAMES, alarmed
from headwater.frontier.live import BOLD, METHODS, Life, Lived
from headwater.frontier.matrix import Matrix, build, search
from headwater.frontier.recovery import changes_of, recoveries
from headwater.frontier.report import Report, Row
from headwater.frontier.scores import metrics
from headwater.frontier.stream import WARM_UP, Stream, stream_of
from headwater.learning.boosted import Boosted
from headwater.learning.fast import FastLayer, Race
from headwater.learning.forest import margins_of
from headwater.learning.mixture import losses
from headwater.planning.methods import RUNGS, Name

BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)  # shares of always' core-seconds
DEFAULT_BUDGET = 0.04  # the planner's default setting
TREES, LEAVES = 60, 15  # of the planner's slow model
TIMING_PRICE = 0.5  # mean losses of one block, for refits timed without a fast layer


@dataclass(slots=True, eq=False)
class _Bench:
    """What all policies share."""

    stream: Stream
    matrix: Matrix
    always_core_s: float

    def slow(self, name: str, updates: Ints, extra_core_s: float = 0.0, matrix: Matrix | None = None) -> Row:
        """A policy that answers by versions of the matrix alone."""
        matrix, stream = matrix or self.matrix, self.stream
        core_s = float(matrix.core_s[updates].sum()) + matrix.score_core_s + extra_core_s
        answers = matrix.answers(stream, timing.versions_of(stream, updates))
        swaps = [(int(matrix.live_from[i]), stream.known_at(int(i)).size) for i in updates]
        return self.row(name, metrics(stream, answers), core_s, len(updates), lag.by_versions(stream, swaps))

    def row(self, name: str, found: dict[str, float], core_s: float, n_fits: int, lag_ms: float) -> Row:
        return Row(name, found, core_s, core_s / self.always_core_s, n_fits, lag_ms)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted beside the table itself.

    Attributes:
        seed: Of the slow model.
        yes_unless: The class that counts as no, where a label has more than two.
        slow: The slow model.
        judged_from: The share of rows before any answer is judged.
        methods: By which the planner may update.
        change: Known changes; see `recovery.changes_of`.
    """

    seed: int = 0
    yes_unless: str | None = None
    slow: str = "lightgbm"
    judged_from: float = WARM_UP
    methods: tuple[Name, ...] = METHODS
    change: str = ""

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            Fatal: No such slow model or method, or nothing would be judged.
        """
        if self.slow != "lightgbm":
            raise Fatal("no such slow model", where="--slow", expected="lightgbm", got=self.slow)
        if not WARM_UP <= self.judged_from < 1:
            raise Fatal("nothing would be judged", where="--judged-from", expected="0.05 .. 1", got=str(self.judged_from))
        if self.methods[-1:] != RUNGS[-1:] or not set(self.methods) <= set(RUNGS):
            expected = "some of steps, window, full; full last"
            raise Fatal("no such choice of methods", where="--methods", expected=expected, got=",".join(self.methods))


def frontier(encoded: Encoded, asked: Asked | None = None, *, told: Progress = ignore) -> Report:
    """Replay one history under every policy; about a minute for 10,000 rows.

    Args:
        encoded: The table.
        asked: What is wanted beside it.
        told: Told how far it is.

    Raises:
        Fatal: The history is too short, has one class, or a library is missing.
    """
    asked = asked or Asked()
    asked.check()
    changes = changes_of(encoded, asked.change) if asked.change else []
    stream = stream_of(encoded, asked.yes_unless)
    stream.judged_from = asked.judged_from
    _compile(stream)
    setting, made = search(stream, asked.seed, told)
    matrix = build(stream, setting, asked.seed, told, made=made)
    bench = _Bench(stream, matrix, float(matrix.core_s.sum()) + matrix.score_core_s)
    rows = [_no_change(bench), *_timed(bench)]
    lagged = build(stream, setting, asked.seed, told, lagged=True)
    rows.append(bench.slow("always_lags", timing.always(stream), stream.lag_core_s, lagged))
    told("planner", 0, len(BUDGETS) + 1)
    default = live(stream, DEFAULT_BUDGET * bench.always_core_s, asked.seed, asked.methods)
    rows.append(_planned(bench, "planner", default))
    for i, budget in enumerate(BUDGETS):
        told("planner", i + 1, len(BUDGETS) + 1)
        lived = live(stream, budget * bench.always_core_s, asked.seed, asked.methods)
        rows.append(_planned(bench, f"planner@{budget:g}", lived))
    gap = timing.gap_closed(stream, matrix, timing.ski_rental(stream, matrix, _probe_losses(stream, default), TIMING_PRICE))
    task = "regression" if stream.absolute else "binary"
    told_of = _plans(stream, default), _anchors(default), _recovery(stream, default, changes)
    return Report(task, stream.n, rows, setting.text(), gap, *told_of)


def live(stream: Stream, budget_core_s: float, seed: int = 0, methods: tuple[Name, ...] = METHODS) -> Lived:
    """The planner with its default settings, under a budget."""
    fitter = Boosted("absolute" if stream.absolute else "log", TREES, LEAVES, seed=seed)
    return Life(stream, fitter, TREES, budget_core_s, methods=methods).run()


def _compile(stream: Stream) -> None:
    """Have all kernels compiled and the library loaded before anything is measured."""
    numbers = stream.lagged[:100]
    forest = Boosted("log", trees=1, leaves=2).fit(numbers, np.arange(100) % 2 * np.ones(100))
    layer = FastLayer(Race(), stream.rows, stream.lagged, absolute=stream.absolute, trees=1)
    layer.advance(0, 10)
    layer.exchange(forest, 10)
    layer.advance(10, 20)
    margins_of(forest, numbers, 0, 10)


def _no_change(bench: _Bench) -> Row:
    stream = bench.stream
    found = metrics(stream, np.nan_to_num(stream.rows.unchanged, nan=YES), stream.rows.base)
    return bench.row("no_change", found, 0.0, 0, lag.at_once(stream))


def _timed(bench: _Bench) -> list[Row]:
    stream, matrix = bench.stream, bench.matrix
    rows = [bench.slow("never", timing.never(stream)), bench.slow("always", timing.always(stream))]
    rows += [bench.slow(f"periodic/{period}", timing.periodic(stream, period)) for period in timing.PERIODS]
    for name in NAMES:
        updates, extra = alarmed(name, stream, matrix)
        rows.append(bench.slow(name, updates, extra))
    n_updates = max(2, round(timing.ORACLE_SHARE * stream.n_points))
    return [*rows, bench.slow("oracle", timing.oracle(stream, matrix, n_updates))]


def _planned(bench: _Bench, name: str, lived: Lived) -> Row:
    found = metrics(bench.stream, lived.layer.fused)
    return bench.row(name, found, lived.core_s, lived.n_fits, lag.at_once(bench.stream))


def _probe_losses(stream: Stream, lived: Lived) -> Floats:
    lost = losses(lived.layer.answers[:, BOLD], stream.rows.label, absolute=stream.absolute)
    return np.array([np.nansum(lost[a:b]) for a, b in zip(stream.edges[:-1], stream.edges[1:], strict=True)])


def _anchors(lived: Lived) -> list[dict[str, Any]]:
    return [
        {"first_row": regime.first, "last_row": regime.last, "loss_then": regime.loss_then, "loss_now": now}
        for regime, now in zip(lived.anchors.past, lived.losses_now, strict=True)
    ]


def _recovery(stream: Stream, lived: Lived, changes: list[int]) -> list[dict[str, Any]]:
    lost = losses(lived.layer.fused, stream.rows.label, absolute=stream.absolute)
    return [asdict(each) for each in recoveries(lost, changes)]


def _plans(stream: Stream, lived: Lived) -> list[dict[str, Any]]:
    return [
        {"row": int(stream.edges[point]), "action": plan.action, "why": plan.why, "numbers": plan.numbers}
        for point, plan in lived.plans
    ]
