"""`POST /predict/{model}`: rows in, scores out, the rows kept as events.

Decoding, answering and encoding are one plain function of bytes, so that a long body can be answered in a thread and a
short one without leaving the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, NamedTuple

import msgspec
import numpy as np
from prometheus_client import Counter

from headwater.core.batch import Bools, Column, Floats, Text
from headwater.core.clock import Clock
from headwater.core.errors import Retryable, nearest
from headwater.core.personal import pseudonym
from headwater.core.schema import Schema
from headwater.serving import arrow
from headwater.serving.limits import Limits
from headwater.serving.problems import Problem, shorten, unavailable
from headwater.serving.protocol import Answer, Answerer, Question, Unexplained
from headwater.serving.recording import Recordable, Recorder
from headwater.serving.replies import JSON, Reply
from headwater.serving.requests import flags
from headwater.serving.rows import One, RowForm, Rows, missing
from headwater.telemetry.metrics import Metrics

SWITCHES = frozenset({"explain", "record"})
VERSION = "headwater-version"  # response header, and key of an Arrow answer's metadata
DEGRADED = "headwater-degraded"  # the same, where the model failed
LACKING = "required fields are missing"
ONLY_KEY = "only the key was given, and no question with it waits for its label (none came, or it is older than `within`)"
FULL = "too many rows are waiting to be recorded"

_encode = msgspec.json.Encoder().encode


class Told(NamedTuple):
    """What a call about one stored question was told; nothing of it will be recorded.

    Attributes:
        version: `line@seq`.
    """

    model: str
    version: str
    keys: Sequence[Any]
    scores: Sequence[float]


@dataclass(slots=True, eq=False)
class Answered:
    """One call's rows with their answer.

    Attributes:
        version: `line@seq`.
        chosen: The rows that will become events, or None where none will.
        why: For rows that the caller wants recorded and that cannot be: row -> reason.
    """

    model: str
    schema: Schema
    rows: Rows
    answer: Answer
    version: str
    chosen: Bools | None = None
    why: dict[int, str] = field(default_factory=dict)

    @property
    def keys(self) -> Sequence[Any] | Column:
        """The key of each row, as it was given."""
        return self.rows.keys

    @property
    def labels(self) -> list[str | None] | None:
        """Of a line with several classes, the one that was said of each row."""
        return None if self.answer.classes is None else self.answer.classes.labels()

    @property
    def scores(self) -> Floats:
        return self.answer.score

    @property
    def headers(self) -> dict[str, str]:
        """What the response says beside its body; the reason of a failure is for the body."""
        return {VERSION: self.version, DEGRADED: "yes"} if self.answer.degraded else {VERSION: self.version}


class Predictor:
    """Answers calls for every model; remembers what it derived from their schemas."""

    def __init__(
        self, answerer: Answerer, recorder: Recorder, metrics: Metrics, limits: Limits, clock: Clock,
        event_time: Callable[[], int] | None,
    ) -> None:  # fmt: skip
        self._answerer, self._recorder, self._metrics, self._limits = answerer, recorder, metrics, limits
        self._clock, self._event_time = clock, event_time
        self._forms: dict[str, RowForm] = {}
        self._counts: dict[str, tuple[Counter, Counter]] = {}
        self.versions: dict[str, str] = {}  # model -> the version that answered last
        self.slow: frozenset[str] = frozenset()  # models whose answer may take until a deadline: asked in a thread

    def warm(self) -> None:
        """Make the decoders, and let Arrow and numba load what they load at their first use: seconds, with pandas."""
        Text.of(["warm"]).take(np.zeros(1, np.int64))
        for model in self._answerer.models():
            self.form(model)

    def predict(self, model: str, body: bytes, content_type: str, query: bytes) -> tuple[Reply, Answered | Told]:
        """The response to a call; safe to call in any thread. `keep` then records it.

        Raises:
            Problem: The call is refused.
        """
        asked = flags(query, SWITCHES)
        form = self.form(model)
        if content_type == JSON or content_type.endswith("+json"):
            rows, encode = form.decode(body), _json
            if isinstance(rows, One):
                if not asked.get("explain") and (told := self._recall(model, rows.key)) is not None:
                    return _json_of_one(told, form.schema.key), told
                rows = rows.rows()
        elif content_type == arrow.CONTENT_TYPE:
            rows, encode = arrow.decode(form, body, self._limits.rows), _arrow
        else:
            raise Problem(
                415, "wrong-content-type", "This content type is not taken", where="Content-Type",
                expected=f"{JSON} or {arrow.CONTENT_TYPE}", got=content_type,
            )  # fmt: skip
        answered = self.ask(model, form.schema, rows, explain=asked.get("explain", False), record=asked.get("record", True))
        return encode(answered), answered

    def says_classes(self, model: str) -> bool:
        """Whether a model's answers name a class."""
        return self._answerer.says_classes(model)

    def form(self, model: str) -> RowForm:
        """The decoder for a model's rows.

        Raises:
            Problem: 404 where there is no such model.
        """
        models = self._answerer.models()
        schema = models.get(model)
        if schema is None:
            raise Problem(
                404,
                "unknown-model",
                "There is no such model",
                where="path",
                got=model,
                next_step=nearest(shorten(model), models),
            )
        form = self._forms.get(model)
        if form is None or form.schema is not schema:
            form = self._forms[model] = RowForm(schema, max_rows=self._limits.rows)
        return form

    def ask(self, model: str, schema: Schema, rows: Rows, *, explain: bool, record: bool) -> Answered:
        """Answer the rows from one version, and judge which of them may become events."""
        if rows.time is None and self._event_time is not None:
            rows = replace(rows, time=np.full(rows.frame.n, self._event_time(), np.int64))
        try:
            answer = self._answerer.answer(model, Question(rows.frame, rows.given, rows.time, explain))
        except Retryable as error:
            raise unavailable(error) from error
        except Unexplained as error:
            raise Problem(
                422, "unexplained", "This model's learner cannot say what each feature adds", where="explain",
                expected="explain=false", next_step="Ask without explain.",
            ) from error  # fmt: skip
        if answer.score.size != rows.frame.n or not np.isfinite(answer.score).all():
            raise self._no_score(model)
        answered = Answered(model, schema, rows, answer, f"{answer.line}@{answer.seq}")
        if record and not answer.stored.all():
            self._judge(answered)
        return answered

    def _recall(self, model: str, key: Any) -> Told | None:
        """The answer to a stored question, by its key alone."""
        try:
            recalled = self._answerer.recall(model, key)
        except Retryable as error:
            raise unavailable(error) from error
        if recalled is None:
            return None
        line, seq, score = recalled
        if not isfinite(score):
            raise self._no_score(model)
        return Told(model, f"{line}@{seq}", (key,), (score,))

    def _no_score(self, model: str) -> Problem:
        self._metrics.nonfinite_scores.labels(model).inc()
        return Problem(
            500,
            "no-finite-score",
            "The model gave no finite score",
            next_step="Tell the operator; the answer was withheld.",
        )

    def _judge(self, answered: Answered) -> None:
        """Which rows will be recorded, and why others cannot be."""
        rows, wanted = answered.rows, ~answered.answer.stored
        if not self._recorder.has_room(rows.frame.n):
            answered.why = dict.fromkeys(np.flatnonzero(wanted).tolist(), FULL)
            return
        for name, absent in missing(answered.schema, rows.frame).items():
            for row in np.flatnonzero(absent & ~answered.answer.stored).tolist():
                answered.why[row] = f"{answered.why[row]}, {name}" if row in answered.why else f"{LACKING}: {name}"
            wanted &= ~absent
        if len(rows.given) == 1 and len(answered.schema.fields) > 1:
            answered.why, wanted = dict.fromkeys(answered.why, ONLY_KEY), np.zeros_like(wanted)
        answered.chosen = wanted if wanted.any() else None

    def keep(self, answered: Answered | Told) -> None:
        """Count an answer and hand its new rows to the recorder. Call it on the event loop's thread."""
        self.versions[answered.model] = answered.version
        counts = self._counts.get(answered.model) or self._count(answered.model)
        if isinstance(answered, Told):
            counts[1].inc()
            return
        n, stored = answered.rows.frame.n, int(answered.answer.stored.sum())
        if answered.answer.degraded:
            self._metrics.degraded.labels(answered.model).inc(n)
        if stored:
            counts[1].inc(stored)
        if n > stored:
            counts[0].inc(n - stored)
        if answered.why:
            self._metrics.record_lost.labels("full" if FULL in answered.why.values() else "incomplete").inc(len(answered.why))
        if answered.chosen is not None:
            self._recorder.add(_recordable(answered, self._clock.now_us()))

    def _count(self, model: str) -> tuple[Counter, Counter]:
        """The counters of a model's new and stored rows."""
        labels = self._metrics.predictions.labels
        return self._counts.setdefault(model, (labels(model, "false"), labels(model, "true")))


def _recordable(answered: Answered, now_us: int) -> Recordable:
    rows, schema, chosen = answered.rows, answered.schema, answered.chosen
    assert chosen is not None
    name = pseudonym if schema.field(schema.key).personal else str
    ids = [name(k) if i is None else i for i, k in zip(rows.ids or [None] * rows.frame.n, rows.listed(), strict=True)]
    if rows.frame.n == 1 or chosen.all():
        return Recordable(schema, rows.frame, ids, rows.time, now_us, rows.values)
    picked = np.flatnonzero(chosen)
    return Recordable(
        schema, rows.frame.take(picked), [ids[i] for i in picked], None if rows.time is None else rows.time[picked], now_us
    )


def _json_of_one(told: Told, key: str) -> Reply:
    model, version, (value,), (score,) = told
    prediction = {key: value, "score": score, "stored": True}
    body = _encode({"model": model, "version": version, "predictions": [prediction]})
    return Reply(200, body, JSON, {VERSION: version})


def _json(answered: Answered) -> Reply:
    key, answer = answered.schema.key, answered.answer
    rows = zip(answered.rows.listed(), said_of(answer), answer.stored.tolist(), strict=True)
    predictions: list[dict[str, Any]] = [{key: k, **said, "stored": t} for k, said, t in rows]
    if answer.shares is not None:
        for prediction, shares in zip(predictions, answer.shares, strict=True):
            prediction["shares"] = shares
    for row, said in enumerate(answer.guarded or ()):
        if said:
            predictions[row]["guarded"] = said
    for row, why in answered.why.items():
        predictions[row].update(recorded=False, why=why)
    content = {"model": answered.model, "version": answered.version, "predictions": predictions}
    if answer.degraded:
        content["degraded"] = answer.degraded
    return Reply(200, _encode(content), JSON, answered.headers)


def said_of(answer: Answer) -> list[dict[str, Any]]:
    """What an answer says of each row, as JSON has it."""
    return [{"score": s} for s in answer.score.tolist()] if answer.classes is None else answer.classes.rows()


def _arrow(answered: Answered) -> Reply:
    key = answered.schema.key
    body = arrow.encode(answered.model, answered.version, key, answered.rows.frame.columns[key], answered.answer, answered.why)
    return Reply(200, body, arrow.CONTENT_TYPE, answered.headers)
