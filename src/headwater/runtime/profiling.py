"""Where an app spends its time: its own events through every stage of a running installation, in one process.

The stages are the real ones: the door's decoder, a log and a state on disk, the fold, a view. Each is charged the
processor time of all threads. Scoring, learning and judging are one compiled pass in a run; here the first two are also run
alone, over the questions that the run itself left behind, and judging (with the search for each label's question) is what
remains of the pass.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Batch
from headwater.core.clock import SystemClock
from headwater.evaluation import prequential as p
from headwater.learning.classes import SoftmaxLine
from headwater.learning.kernels import learn_rows, score_rows
from headwater.learning.linear import LinearState
from headwater.learning.softmax import score_classes
from headwater.log import open_log
from headwater.log.protocol import EventLog
from headwater.runtime.checkpointing import Checkpointer
from headwater.runtime.fold import Fold
from headwater.runtime.model_fold import ModelFold
from headwater.runtime.publishing import Publisher
from headwater.runtime.replay import Progress, ignore, merge, read_inputs
from headwater.store.checkpoint import Checkpoints
from headwater.store.view import ViewWriter

STAGES = ("decode", "store", "features", "score", "metric", "learn", "checkpoint", "publish")
_SAMPLE = 4_096  # questions that scoring and learning are timed on, at most
_REPEAT_S = 0.05  # for at least so long: one pass is too short to time


@dataclass(frozen=True, slots=True)
class Profile:
    """Processor time by stage.

    Attributes:
        app: The app's name.
        events: Events folded.
        seconds: Stage -> processor seconds, all threads; the stages in the order in which an event meets them.
        saves: How many checkpoints were written.
        publishes: How many times the state was published.
    """

    app: str
    events: int
    seconds: dict[str, float]
    saves: int
    publishes: int

    def report(self) -> dict[str, Any]:
        """As `headwater profile --json` writes it: microseconds an event, and shares that add up to 1."""
        total = sum(self.seconds.values())
        n = max(1, self.events)
        return {
            "app": self.app, "events": self.events, "cpu_s": total, "us_per_event": 1e6 * total / n,
            "events_per_cpu_s": self.events / total if total else 0.0, "saves": self.saves, "publishes": self.publishes,
            "stages": {
                name: {"us_per_event": 1e6 * s / n, "share": s / total if total else 0.0} for name, s in self.seconds.items()
            },
        }  # fmt: skip


class _Stopwatch:
    """Processor time by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[stage] += time.process_time() - began


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the state leaves the fold.

    Attributes:
        batch: Events of one append, one step and one publish.
        checkpoint_events: Events between two checkpoints.
    """

    batch: int = 1_000
    checkpoint_events: int = 100_000


def profile(
    app: App, inputs: Mapping[str, Path], *, mixed: Sequence[Path] = (), pace: Pace = Pace(), progress: Progress = ignore
) -> Profile:
    """Run files through every stage and time each.

    Args:
        app: The app.
        inputs: Stream -> file.
        mixed: Files of JSON lines in which each event names its `stream`.
        pace: Sizes of the steps.
        progress: Told how far it is.
    """
    watch = _Stopwatch()
    # A taste of everything first: libraries and kernels are loaded before anything is timed.
    taste, _ = merge(app, read_inputs(app, inputs, mixed, is_taste=True))
    _run(app, taste, pace, _Stopwatch(), ignore)
    with watch("decode"):
        events, _ = merge(app, read_inputs(app, inputs, mixed, progress))
    return _run(app, events, pace, watch, progress)


def _run(app: App, events: Batch | None, pace: Pace, watch: _Stopwatch, progress: Progress) -> Profile:
    if events is None:
        return Profile(app.name, 0, watch.seconds, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        return _run_in(Path(folder), app, events, pace, watch, progress)


def _run_in(folder: Path, app: App, events: Batch, pace: Pace, watch: _Stopwatch, progress: Progress) -> Profile:
    log = open_log(f"lmdb://{folder / 'log'}", dedupe_for_ms=2**62, readonly=False)
    store, view = Checkpoints(folder / "state"), ViewWriter(folder / "view")
    fold = Fold(app, clock=time.process_time)
    saver, publisher = Checkpointer(fold, store), Publisher(fold, view, SystemClock(), resume=False)
    n_saves = n_publishes = 0
    for start in range(0, events.n, pace.batch):
        with watch("store"):
            log.append(events.slice(start, min(start + pace.batch, events.n)))
        _fold(fold, log, saver, watch)
        with watch("publish"):
            publisher.publish()
        n_publishes += 1
        if fold.seq - saver.seq >= pace.checkpoint_events or start + pace.batch >= events.n:
            with watch("checkpoint"):
                saver.save()
                saver.wait()
            n_saves += 1
        progress("profiling", fold.seq, events.n)
    for model in fold.models.values():
        _split(model, fold.seconds[model.model.name], watch.seconds)
    watch.seconds["features"] += fold.seconds["features"]
    for open_one in (store, view, log):
        open_one.close()
    return Profile(app.name, fold.seq, watch.seconds, n_saves, n_publishes)


def _fold(fold: Fold, log: EventLog, saver: Checkpointer, watch: _Stopwatch) -> None:
    """Fold what is new. Reading it back and binding it to the plan are the store's and the features' business."""
    before = sum(fold.seconds.values())
    began = time.process_time()
    chunks = list(log.read(fold.seq))
    watch.seconds["store"] += time.process_time() - began
    began = time.process_time()
    for chunk in chunks:
        saver.gather(fold.step(chunk))
    told = sum(fold.seconds.values()) - before
    watch.seconds["features"] += max(0.0, time.process_time() - began - told)


def _split(model: ModelFold, spent: float, seconds: dict[str, float]) -> None:
    """Share one model's time out among score, learn and metric."""
    xs, cs, ys = _questions(model)
    score = learn = 0.0
    if ys.size:
        asked, learnt = int(model.ints[p.SCORED]), int(model.learner.counts[0])
        lines, learner = 1 + len(model.model.twins), model.learner
        if (lane := model.lane) is not None:
            score = min(spent, _each(lambda: lane.scores(xs, cs), xs.shape[0]) * asked * lines)
            learn = spent - score  # judging is a thousandth of it
        elif isinstance(learner, SoftmaxLine):
            score = min(spent, _score_classes_s(learner, xs, cs) * asked * lines)
            learn = spent - score  # as well
        elif isinstance(learner, LinearState):
            each = _score_s(learner, xs, cs)
            score = min(spent, each * asked * lines)
            learn = min(spent - score, max(0.0, _learn_s(learner, xs, cs, ys) - each) * learnt)
    seconds["score"] += score
    seconds["learn"] += learn
    seconds["metric"] += spent - score - learn


def _questions(model: ModelFold) -> tuple[Any, Any, Any]:
    """Vectors, categories and labels of the newest questions that have a label (0 where none has)."""
    ring = model.pending.rows[model.pending.order()[-_SAMPLE:]]
    at = p.SCORES + model.model.n_scores
    numbers, categories = ring[:, at : at + model.n_numbers], ring[:, at + model.n_numbers + model.n_memos :]
    return numbers.copy(), categories.astype(np.int64), np.nan_to_num(ring[:, p.LABEL])


def _score_s(learner: LinearState, xs: Any, cs: Any) -> float:
    """Processor seconds to score one question."""
    out = np.zeros(xs.shape[0])
    return _each(lambda: score_rows(learner.weights, learner.stats, xs, cs, learner.params, out), xs.shape[0])


def _score_classes_s(learner: SoftmaxLine, xs: Any, cs: Any) -> float:
    """The same over the classes that are known."""
    out = np.zeros((xs.shape[0], 1 + int(learner.known[0])))
    return _each(lambda: score_classes(learner.weights, learner.stats, learner.met, xs, cs, learner.params, out), xs.shape[0])


def _learn_s(learner: LinearState, xs: Any, cs: Any, ys: Any) -> float:
    """Processor seconds to score one question and learn its label, on a copy of the line."""
    weights, squares, stats = learner.weights.copy(), learner.squares.copy(), learner.stats.copy()
    counts, out = learner.counts.copy(), np.zeros(ys.size)
    return _each(lambda: learn_rows(weights, squares, stats, counts, xs, cs, ys, learner.params, out), ys.size)


def _each(run: Callable[[], object], n: int) -> float:
    run()
    began, times = time.process_time(), 0
    while time.process_time() - began < _REPEAT_S:
        run()
        times += 1
    return (time.process_time() - began) / (times * n)
