"""The fold: `state, effects = step(state, batch)`, the same in a live run, in a replay and in a test.

It reads no clock, no file and no environment. What it returns is acted upon by the shells around it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Batch, Column, Floats, Frame, Text, column
from headwater.core.schema import FieldSpec, Kind, Schema
from headwater.features.engine import Bound, Engine, bind
from headwater.features.guard import Burst
from headwater.features.watermarks import Watermarks
from headwater.learning.protocol import BlockLearner
from headwater.log.control import ControlEvent, control_events
from headwater.log.protocol import Chunk
from headwater.runtime.classes_fold import fold_of
from headwater.runtime.feature_rows import FeatureRows, feature_rows
from headwater.runtime.lane import Point
from headwater.runtime.marks import ASK_REFIT, REFIT, Fitted, no_refits
from headwater.runtime.model_fold import Due
from headwater.runtime.stopping import RESUMED, STOPPED, Stop, Stopped, recipe_of, stop_of


@dataclass(slots=True)
class Effects:
    """What a step did that others may follow.

    Attributes:
        judged: For each model, float64[labels, 5 + experts]; see `evaluation.prequential`.
        due: Versions to register and twins that were published, in order.
        late: Places in the log of late events.
        features: Each question's features, where the fold tells them.
        examples: For each model with a slow part, the blocks that were learnt; see `lane`.
        points: Decision points that were passed: (model, point).
        refits: Slow parts that took effect at marks, in order: (model, hash of its file, trees).
        bursts: Failures that models' guards saw begin or end, in order.
        stopped: Models that failed, of which the log must be told before anything else is kept of this step.
    """

    judged: dict[str, list[Floats]] = field(default_factory=dict)
    due: list[Due] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    features: list[FeatureRows] = field(default_factory=list)
    examples: dict[str, list[Floats]] = field(default_factory=dict)
    points: list[tuple[str, Point]] = field(default_factory=list)
    refits: list[tuple[str, str, int]] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)


def as_declared(batch: Batch, streams: Mapping[str, Schema]) -> Batch:
    """Events of an earlier declaration as the present one reads them: fields that they lack, and whole numbers as decimals."""
    frames = {name: _frame(rows, streams[name]) if name in streams else rows for name, rows in batch.frames.items()}
    return batch if all(frames[name] is rows for name, rows in batch.frames.items()) else replace(batch, frames=frames)


def _frame(rows: Frame, schema: Schema) -> Frame:
    odd = [f for f in schema.fields if f.name not in rows.columns or _is_whole(rows.columns[f.name], f)]
    if not odd:
        return rows
    columns = dict(rows.columns)
    for spec in odd:
        there = columns.get(spec.name)
        columns[spec.name] = (
            column(spec, [spec.default] * rows.n)
            if there is None
            else Column(np.asarray(there.values, np.float64), there.valid)
        )
    return Frame(rows.n, columns)


def _is_whole(there: Column, spec: FieldSpec) -> bool:
    return spec.kind is Kind.FLOAT and not isinstance(there.values, Text) and there.values.dtype != np.float64


class Fold:
    """The state of an app, as a function of the log's first `seq` rows.

    Args:
        app: The app.
        clock: Measures stages for a profile; nothing of it enters the state.
        starts: Model -> what makes its learner, where that runs apart, and may fail without taking the fold with it.

    Attributes:
        tells_features: Whether effects hold the features of each question.
        seconds: With a clock: time spent by stage: "features", and each model's name.
        on_scored: Told of each bound batch and its features, before any model sees them; see `vectors`.
        fitted: Gives a slow part by its hash, where a mark says that it takes effect; see `marks`.
    """

    def __init__(
        self, app: App, *, clock: Callable[[], float] | None = None,
        starts: Mapping[str, Callable[[], BlockLearner]] | None = None,
    ) -> None:  # fmt: skip
        self.app = app
        self._clock = clock or (lambda: 0.0)
        self.seconds = dict.fromkeys(("features", *app.models), 0.0)
        self.on_scored: Callable[[Bound, Floats], None] | None = None
        self.fitted: Fitted = no_refits
        self.seq = 0
        self.tells_features = False
        self.watermarks = Watermarks(list(app.streams.values()))
        self.engine = Engine(app.plan)
        self.models = {name: fold_of(app, model, (starts or {}).get(name)) for name, model in app.models.items()}

    def foresee(self, stops: Mapping[str, Iterable[Stop]]) -> None:
        """What marks further on in the log tell of models that failed; see `stopping.stops_in`."""
        for name, found in stops.items():
            lane = self.models[name].lane
            if lane is not None:
                lane.stops.foresee(found)

    def close(self) -> None:
        """End the processes of models that run apart."""
        for model in self.models.values():
            if model.lane is not None:
                model.lane.close()

    def step(self, chunk: Chunk) -> Effects:
        """Fold one chunk, which must start at `seq`."""
        assert chunk.seq == self.seq, f"the fold is at {self.seq}, the chunk at {chunk.seq}"
        effects = Effects()
        start = 0
        for mark in control_events(chunk.batch):
            self._events(chunk.batch, start, mark.row, effects)
            self._control(mark, chunk.seq + mark.row, effects)
            start = mark.row + 1
        self._events(chunk.batch, start, chunk.batch.n, effects)
        for name, model in self.models.items():
            fresh, points = model.drain()
            if fresh:
                effects.examples[name] = fresh
            effects.points += [(name, point) for point in points]
        self.seq = chunk.seq + chunk.batch.n
        effects.due.sort(key=lambda due: due.seq)  # models take turns; the order must not depend on the batch
        effects.bursts.sort(key=lambda burst: burst.seq)
        return effects

    def _events(self, batch: Batch, start: int, stop: int, effects: Effects) -> None:
        if stop == start:
            return
        seq = self.seq + start
        part = batch if stop - start == batch.n else batch.slice(start, stop)
        part = as_declared(part, self.app.streams)
        bound = bind(self.app.plan, part, seq)
        source = self.watermarks.codes_of_rows(part.sources, part.source, bound.skip)
        bound.behind[:] = self.watermarks.mark(bound.stream, source, bound.time, bound.skip)
        effects.late.extend((seq + np.flatnonzero(bound.skip == 2)).tolist())  # noqa: PLR2004 - the code of late events
        before = self._clock()
        evaluated, features = self.engine.step(bound)
        if self.tells_features:
            effects.features += feature_rows(self.app, bound, features)
        before = self._spent("features", before)
        if self.on_scored is not None:
            self.on_scored(bound, features)
        for name, model in self.models.items():
            judged = model.step(bound, evaluated, features, effects.due)
            before = self._spent(name, before)
            if model.bursts:
                effects.bursts += model.bursts
                model.bursts = []
            if model.lane is not None and (failed := model.lane.stops.failed):
                effects.stopped += [Stopped(name, recipe_of(model.model), stop, reason) for stop, reason in failed]
                failed.clear()
            if judged.size:
                effects.judged.setdefault(name, []).append(judged)

    def _spent(self, stage: str, since: float) -> float:
        now = self._clock()
        self.seconds[stage] += now - since
        return now

    def _control(self, mark: ControlEvent, seq: int, effects: Effects) -> None:
        if mark.kind == "idle":
            self.watermarks.idle(str(mark.body.get("source", "")))
        if mark.kind in {STOPPED, RESUMED}:
            self._stop_or_resume(mark)
        if mark.kind in {ASK_REFIT, REFIT}:
            self._refit(mark, seq, effects)

    def _refit(self, mark: ControlEvent, seq: int, effects: Effects) -> None:
        model = self.models.get(str(mark.body.get("model")))
        if model is None:
            return  # of a model that this declaration does not have
        if mark.kind == ASK_REFIT:
            model.ask(seq, mark.time_ms)
        elif mark.body.get("recipe") == recipe_of(model.model):
            sha256 = str(mark.body["sha256"])
            fitted = self.fitted(sha256)
            model.refit(fitted)
            effects.refits.append((model.model.name, sha256, fitted["roots"].size))

    def _stop_or_resume(self, mark: ControlEvent) -> None:
        model = self.models.get(str(mark.body.get("model")))
        if model is None or model.lane is None:
            return  # of a model that this declaration does not have
        if mark.kind == RESUMED:
            model.lane.stops.resume()
        elif (stop := stop_of(mark.body, model.model)) is not None:
            model.lane.stops.told(stop)

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Every array of the state, in canonical form and order: what `state_hash` covers."""
        for name, array in self.watermarks.arrays().items():
            yield f"watermarks.{name}", array
        yield "tally", self.engine.tally
        for spec, table in zip(self.app.plan.tables, self.engine.tables, strict=True):
            order = np.argsort(table.keys[: table.n], kind="stable")
            yield f"table.{spec.name}.keys", table.keys[: table.n][order]
            yield f"table.{spec.name}.rows", table.rows[: table.n][order]
        for model, fold in self.models.items():
            for name, array in fold.arrays().items():
                yield f"model.{model}.{name}", array

    def state_hash(self) -> str:
        """SHA-256 of the canonical state: free of paths, wall times, batch sizes and measured costs."""
        digest = hashlib.sha256(f"{self.app.fingerprint()} {self.seq} {self.watermarks.sources}".encode())
        for name, array in self.arrays():
            contiguous = np.ascontiguousarray(array)
            digest.update(f"{name} {contiguous.dtype.str} {contiguous.shape}".encode())
            digest.update(contiguous.tobytes())
        return digest.hexdigest()

    def metrics(self) -> dict[str, Any]:
        """Prequential metrics of every model and expert, and what became of the questions and their labels."""
        out = {}
        streams = list(self.app.streams)
        for name, model in self.models.items():
            out[name] = model.report()
            late = self.watermarks.late[streams.index(model.model.label.value.stream)].sum()
            out[name]["questions"]["late_labels"] = int(late)  # labels that came after their stream's watermark
        return out

    def counts(self) -> dict[str, dict[str, int]]:
        """Applied and late events by source."""
        totals = {"applied": self.watermarks.applied.sum(axis=0), "late": self.watermarks.late.sum(axis=0)}
        return {s: {k: int(v[i]) for k, v in totals.items()} for i, s in enumerate(self.watermarks.sources)}

    def left_out(self) -> dict[str, int]:
        """What no memory took, though it was applied: updates older than a window's ring, and values beyond 1e100."""
        return {"beyond_windows": int(self.engine.overflow[0]), "too_large": int(self.engine.overflow[1])}

    def n_revisions(self) -> int:
        """Updates of windows after they had closed, by events that were out of order but not late."""
        return self.engine.n_revisions
