"""The whole loop in one process, on virtual time: for tests, notebooks and a first look.

The same log semantics, fold and answers as a running installation; no sockets, disks or threads.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import numpy as np

from headwater.app import App
from headwater.core.batch import Frame, Text, column, frame, single
from headwater.core.clock import VirtualClock
from headwater.core.errors import Fatal, nearest
from headwater.core.event import Event
from headwater.following.cursors import Cursors, Progress
from headwater.following.delivering import Delivery
from headwater.following.formats import events
from headwater.following.notices import INCIDENTS, Notices
from headwater.following.streams import Streams
from headwater.log.control import control_batch
from headwater.log.memory import MemoryLog
from headwater.log.protocol import Receipt
from headwater.runtime.fold import Effects, Fold
from headwater.runtime.incidents import incidents
from headwater.runtime.publishing import Publisher
from headwater.runtime.refitting import RefitsAtOnce
from headwater.runtime.served import served
from headwater.serving.answerer import ViewAnswerer
from headwater.serving.predicting import said_of
from headwater.serving.protocol import Question
from headwater.store.memory_view import MemoryView

_WIDE = 1 << 40  # bytes: more than there are
_PATIENCE = 20


def moment_ms(time: str | int | datetime) -> int:
    """Milliseconds since 1970 UTC of an ISO 8601 text with offset, a datetime with zone, or the number itself."""
    if isinstance(time, int):
        return time
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    if moment.tzinfo is None:
        raise Fatal("a time without a zone is not one moment", where="time", expected="an offset such as Z", got=str(time))
    return round((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


class LocalRun:
    """One app, running here.

    Attributes:
        fold: The state.
        log: The log; read it, or append batches of your own and call `catch_up`.
        clock: Stamps arrivals; `advance` it as you like.
        effects: What each step did, in order.
        notices: What followers of system streams hear; here only plans are said, and what models' guards note.
        refits: Plans and fits of slow models, with their ledger; they are carried out at once.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.clock = VirtualClock()
        self.log = MemoryLog(clock=self.clock)
        self.fold = Fold(app)
        self.effects: list[Effects] = []
        self._view = MemoryView()
        self._publisher = Publisher(self.fold, self._view, self.clock, resume=False)
        self._answerer = ViewAnswerer(app.plan, served(app), self._view, app.fingerprint())
        self.notices, self._cursors = Notices(None), Cursors(None)
        self.refits = RefitsAtOnce(app, notices=self.notices)
        self.refits.attach(self.fold)
        self._n = 0

    @property
    def seq(self) -> int:
        """The next place in the log."""
        return self.fold.seq

    def send(self, *events: Event, time: str | int | datetime, id: str | None = None, source: str = "local") -> Receipt:  # noqa: A002
        """Append events that happened at one time, and learn from them.

        Args:
            events: One or more, of one stream.
            time: Event time.
            id: The producer's id of a single event; None numbers them.
            source: Who sends.
        """
        schema = events[0].schema
        ids = [id] if id is not None else [f"local-{self._n + i}" for i in range(len(events))]
        self._n += len(events)
        times = np.full(len(events), moment_ms(time), np.int64)
        self.clock.jump(max(0.0, (int(times[0]) * 1000 - self.clock.now_us()) / 1e6))
        receipt = self.log.append(single(schema, frame(schema, events), times, Text.of(ids), source=source))
        self.catch_up()
        return receipt

    def control(self, kind: str, **body: Any) -> None:
        """Append a control mark, such as `control("idle", source="north")`."""
        self._n += 1
        self.log.append(control_batch(kind, body, time_ms=self.clock.now_us() // 1000, id=f"local-{self._n}", clock=self.clock))
        self.catch_up()

    def catch_up(self) -> None:
        """Fold what is in the log, and publish."""
        for chunk in self.log.read(self.fold.seq):
            self.effects.append(self.fold.step(chunk))
            self.refits.take(self.effects[-1])
            self.notices.append_all(INCIDENTS, incidents(self.effects[-1].bursts))
        self._publisher.publish({"local": True})

    def follow(self, stream: str, start: int = 0) -> list[dict[str, Any]]:
        """The events of a stream from a place on, as `GET /streams/{stream}` gives them."""
        page = self._streams().open(stream).read(start, self.log.bounds()[1] + 1, _WIDE)
        return list(events(page))

    def deliver(self) -> list[Progress]:
        """Call the app's handlers with what is new to them; how far each has got.

        A handler that fails is called again, on virtual time, as the worker would do it; one that has failed
        twenty times is left for the next call. Webhooks are not called.
        """
        streams = self._streams()
        for consumer in self.app.consumers.values():
            if consumer.manner.kind != "handler":
                continue
            followed = streams.open(consumer.stream)
            schema = self.app.streams.get(consumer.stream)
            hides = schema is not None and schema.is_personal
            delivery = Delivery(consumer, followed, self._cursors, self.clock, is_personal=hides)
            n_pauses = 0
            while n_pauses < _PATIENCE and (wait_s := delivery.step()) < inf:
                self.clock.advance(wait_s)
                n_pauses += wait_s > 0
            delivery.close()
        return self._cursors.all()

    def _streams(self) -> Streams:
        return Streams(self.log, self.app.streams, self.notices)

    def predict(
        self, model: str, *, time: str | int | datetime | None = None, explain: bool = False, **fields: Any
    ) -> dict[str, Any]:
        """Ask one question; the same answer as `POST /predict/{model}` with record=false."""
        schema = self.app.model(model).schema
        for name in fields:
            if name not in {f.name for f in schema.fields}:
                raise Fatal("no such field", where=model, got=name, next_step=nearest(name, [f.name for f in schema.fields]))
        if fields.keys() == {schema.key} and not explain and (told := self._answerer.recall(model, fields[schema.key])):
            row_said = {**fields, "score": told.score, "stored": True}
            return {"model": model, "version": f"{told.line}@{told.seq}", "predictions": [row_said]}
        row = Frame(1, {f.name: column(replace(f, nullable=True), [fields.get(f.name)]) for f in schema.fields})
        at = None if time is None else np.array([moment_ms(time)], np.int64)
        answer = self._answerer.answer(model, Question(row, frozenset(fields), at, explain))
        said: dict[str, Any] = {**said_of(answer)[0], "stored": bool(answer.stored[0])}
        if answer.shares is not None:
            said["shares"] = answer.shares[0]
        if answer.guarded is not None and answer.guarded[0]:
            said["guarded"] = answer.guarded[0]
        key = {schema.key: fields[schema.key]} if schema.key in fields else {}
        return {"model": model, "version": f"{answer.line}@{answer.seq}", "predictions": [{**key, **said}]}

    def metrics(self) -> dict[str, Any]:
        """Prequential metrics of every model and expert."""
        return self.fold.metrics()

    def state_hash(self) -> str:
        """SHA-256 of the canonical state."""
        return self.fold.state_hash()
