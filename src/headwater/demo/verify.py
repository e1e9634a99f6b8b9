"""Folds the demo's log once more, alone, and holds what was served against it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from headwater.app import App
from headwater.core.batch import Floats, Text
from headwater.core.hashing import combine, hash_text
from headwater.demo.drive import MODEL, Sample
from headwater.evaluation.prequential import SCORES
from headwater.learning.kernels import score_rows
from headwater.log.protocol import Chunk, EventLog
from headwater.runtime.fold import Fold
from headwater.runtime.marks import Fitted, no_refits

_CHUNK_EVENTS = 8192


@dataclass(slots=True)
class Verdict:
    """What the second fold found.

    Attributes:
        n_same, n_checked: Answers that equal the fold's score bit for bit, of how many.
        state_hash: Of the second fold.
        judged: By model, every row that the second fold judged, as the learner saves them.
        seconds: Core-seconds by stage; see `Fold`.
    """

    n_same: int
    n_checked: int
    state_hash: str
    fold: Fold
    judged: dict[str, Floats]
    seconds: dict[str, float] = field(default_factory=dict)


def verify(
    app: App, log: EventLog, samples: Sequence[Sample], progress: Callable[[int, int], None], fitted: Fitted = no_refits
) -> Verdict:
    """Refold the log, stopping at each sample's place to compare its score; `fitted` gives what was refitted meanwhile."""
    fold = Fold(app, clock=time.thread_time)
    fold.fitted = fitted
    ordered = sorted(samples, key=lambda s: s.seq)
    end, same, at = log.bounds()[1], 0, 0
    judged: dict[str, list[Floats]] = {}
    for chunk in log.read(0, _CHUNK_EVENTS):
        start = 0
        while start < chunk.batch.n:
            stop = chunk.batch.n
            if at < len(ordered) and ordered[at].seq < chunk.seq + chunk.batch.n:
                stop = max(start, ordered[at].seq - chunk.seq)
            if stop > start:
                part = chunk.batch if stop - start == chunk.batch.n else chunk.batch.slice(start, stop)
                for model, rows in fold.step(Chunk(chunk.seq + start, part)).judged.items():
                    judged.setdefault(model, []).extend(rows)
                start = stop
            while at < len(ordered) and ordered[at].seq == fold.seq:
                same += _score(fold, ordered[at].flight_id) == ordered[at].score
                at += 1
        progress(fold.seq, end)
    rows_of = {model: np.concatenate(rows) for model, rows in judged.items()}
    return Verdict(same, at, fold.state_hash(), fold, rows_of, dict(fold.seconds))


def _score(fold: Fold, flight_id: str) -> float:
    """The fold's own score of a stored vector, now."""
    model = fold.models[MODEL]
    key = combine([hash_text(Text.of([flight_id]))])
    row = model.pending.rows[model.pending.find(key)]
    first = SCORES + model.n_experts
    xs, cs = row[:, first : first + model.n_numbers].copy(), row[:, first + model.n_numbers :].astype(np.int64)
    out = np.empty(1)
    score_rows(model.learner.weights, model.learner.stats, xs, cs, model.learner.params, out)
    return float(out[0])
