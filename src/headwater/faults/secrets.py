"""F31: values about persons, planted in every kind of request, and searched for in all that Headwater says of itself.

They may be where data goes: in the log, in an answer, with a follower. In an error, a log line, a metric, a status, a listing
or what is told of a failed handler they may not.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from math import inf
from pathlib import Path
from random import Random
from typing import NamedTuple

import structlog

from headwater.app import App, Model
from headwater.core.clock import VirtualClock
from headwater.core.event import Event, Field
from headwater.evaluation.labels import UNKNOWN, label
from headwater.faults.schedule import Outcome, Steps
from headwater.faults.within import Caller, called, learn
from headwater.features.aggregates import category, count
from headwater.following.cursors import Cursors
from headwater.following.notices import Notices
from headwater.following.streams import Streams
from headwater.ingest.quarantine import Selection, letters
from headwater.log.open import open_log
from headwater.runtime.doctor import examine
from headwater.runtime.masking import mask
from headwater.runtime.places import FOLLOWING
from headwater.runtime.settings import Settings
from headwater.runtime.standing import standing_in
from headwater.runtime.worker import delivery
from headwater.telemetry.logs import configure

_START_MS = 1_767_225_600_000
_LONG_DAYS = 3
_INSTANT_S = 1e-6  # what a virtual clock rounds away
_PAGES = ("/", "/healthz", "/readyz", "/status", "/metrics", "/openapi.json", "/streams", "/v2", "/v2/models/stay")


class Visit(Event, key="visit_id", lateness="1h"):
    """A patient comes."""

    visit_id: Field[str]
    email: Field[str] = Field(personal=True)
    ward: Field[str]
    pain: Field[float]


class Discharge(Event, key="visit_id", lateness="1h"):
    """A patient leaves."""

    visit_id: Field[str]
    note: Field[str | None] = Field(personal=True)
    days: Field[float]


def ward() -> App:
    """An app whose streams tell of persons, with a handler that fails and quotes them."""
    stay = Model(
        "stay",
        on=Visit,
        features=[Visit.pain, category(Visit.email), category(Visit.ward), count(Visit, by=Visit.email, window="1h")],
        label=label(Discharge.days >= _LONG_DAYS, join=Discharge.visit_id, on=Visit.visit_id, within="48h", missing=UNKNOWN),
    )
    app = App("ward", models=[stay])

    @app.on(Discharge, attempts=2)
    def write(event: Discharge) -> None:
        raise ValueError(f"could not convert {event.note!r} of {event}")

    return app


class Request(NamedTuple):
    """One request with a planted value."""

    path: str
    body: bytes
    headers: Mapping[bytes, bytes] = {}


def _visit(canary: str, **changed: object) -> dict[str, object]:
    event = {"id": f"v-{len(canary)}", "visit_id": "v1", "email": canary, "ward": "b", "pain": 1.0, "time": _START_MS}
    return {**event, **changed}


def _json(path: str, content: object, kind: bytes = b"application/json") -> Request:
    return Request(path, json.dumps(content).encode(), {b"content-type": kind})


def _tensors(canary: str, datatype: str) -> object:
    texts = {"visit_id": "v9", "email": canary, "ward": canary}
    inputs = [{"name": name, "shape": [1], "datatype": datatype, "data": [text]} for name, text in texts.items()]
    return {"inputs": [*inputs, {"name": "pain", "shape": [1], "datatype": "FP64", "data": [1.0]}]}


def _cloud(data: object) -> object:
    return {"specversion": "1.0", "type": "visit", "source": "s", "id": "c1", "data": data}


REQUESTS: dict[str, Callable[[str], Request]] = {
    "an event": lambda c: _json("/events/visit", _visit(c)),
    "a conflict": lambda c: _json("/events/visit", [_visit(c, id="same"), _visit(c, id="same", pain=2.0)]),
    "a wrong type": lambda c: _json("/events/visit", _visit(c, pain="much", email={"address": c})),
    "a personal text for a number": lambda c: _json("/events/visit", _visit(c, pain=c)),
    "a missing field": lambda c: _json("/events/visit", {"id": "m", "email": c}),
    "a misspelt field": lambda c: _json("/events/visit", _visit("x", e_mail=c, pain=None)),
    "an unknown stream": lambda c: _json("/events", _visit(c, stream="visits")),
    "half an event": lambda c: Request("/events/visit", json.dumps(_visit(c)).encode()[:-9]),
    "not a number": lambda c: Request("/events/visit", b'{"id": "n", "pain": NaN, "email": "%s"}' % c.encode()),
    "too deep": lambda c: Request("/events/visit", b"[" * 2000 + b'"' + c.encode() + b'"' + b"]" * 2000),
    "no UTF-8": lambda c: Request("/events/visit", b'{"id": "u", "email": "\xff' + c.encode() + b'"}'),
    "a cloud event": lambda c: _json("/events", _cloud(_visit(c)), b"application/cloudevents+json"),
    "a bad cloud event": lambda c: _json("/events", _cloud(c), b"application/cloudevents+json"),
    "no Arrow": lambda c: Request("/events/visit", c.encode(), {b"content-type": b"application/vnd.apache.arrow.stream"}),
    "a discharge": lambda c: _json("/events/discharge", {"id": f"d-{c}"[:8], "visit_id": "v1", "note": c, "days": 4.0}),
    "a question": lambda c: _json("/predict/stay", _visit(c, visit_id="q1")),
    "a question of a wrong type": lambda c: _json("/predict/stay", _visit("x", email=[c], ward={"is": c})),
    "a question that is cut": lambda c: Request("/predict/stay", json.dumps(_visit(c)).encode()[:-5]),
    "a question with a text for a number": lambda c: _json("/predict/stay", _visit(c, pain=c, time=c)),
    "no Arrow question": lambda c: Request(
        "/predict/stay", c.encode(), {b"content-type": b"application/vnd.apache.arrow.stream"}
    ),
    "tensors": lambda c: _json("/v2/models/stay/infer", _tensors(c, "BYTES")),
    "tensors of a wrong type": lambda c: _json("/v2/models/stay/infer", _tensors(c, "FP64")),
    "tensors that are cut": lambda c: Request("/v2/models/stay/infer", json.dumps(_tensors(c, "BYTES")).encode()[:-4]),
    "another method": lambda c: _json("/status", _visit(c)),
}
"""What is asked -> the request, with the value where a person's would be."""


class Secrets:
    """F31: no planted value in an error, a log line, a metric, a status, a listing, or what is told of a failed handler."""

    id = "F31"
    title = "personal values in what is said of the system"
    is_process = False

    def expand(self, random: Random) -> Steps:
        kinds = list(REQUESTS)
        random.shuffle(kinds)
        return [{"do": "send", "what": kind, "planted": f"canary-{random.randrange(1 << 64):016x}"} for kind in kinds]

    def run(self, steps: Steps, place: Path) -> Outcome:
        settings, app = Settings.model_validate({"state_dir": place / "state"}), ward()
        planted = [step["planted"] for step in steps]
        said: list[tuple[str, str]] = []
        with _listening(said):
            for sends in (steps, steps[::2]):  # the second time there is something published to ask
                with called(app, settings) as call:
                    said += list(_asked(call, sends))
                learn(app, settings)
            said += list(_delivered(app, settings))
            said += list(_shown(settings))
        hits = [f"{where} has a planted value: {_around(text, c)}" for where, text in said for c in planted if c in text]
        return Outcome(len(planted), hits)


@contextmanager
def _listening(said: list[tuple[str, str]]) -> Iterator[None]:
    """Collect what is logged, as processes of an app with personal fields log it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level, out = root.handlers[:], root.level, io.StringIO()
    configure("json", level="DEBUG", stream=out, is_personal=True)
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**before)
        said.append(("the log", out.getvalue()))


def _asked(call: Caller, steps: Steps) -> Iterator[tuple[str, str]]:
    for step in steps:
        request = REQUESTS[step["what"]](step["planted"])
        answer = call("POST", request.path, request.body, headers=request.headers)
        yield f"the answer to {step['what']}", f"{answer.headers} {answer.body.decode(errors='replace')}"
    for page in _PAGES:
        yield page, call("GET", page).body.decode()


def _delivered(app: App, settings: Settings) -> Iterator[tuple[str, str]]:
    """What is told of handlers that fail."""
    folder, clock = settings.state_dir / FOLLOWING, VirtualClock()
    heard: list[str] = []
    with ExitStack() as held:
        log = held.enter_context(closing(open_log(settings.log_url, readonly=True)))
        streams = Streams(log, app.streams, held.enter_context(closing(Notices(folder))))
        cursors = held.enter_context(closing(Cursors(folder)))
        for consumer in app.consumers.values():
            told = held.enter_context(closing(delivery(app, consumer, streams, cursors, clock)))
            told.on_trouble = lambda what, seq, why: heard.append(f"{what} {seq} {why}")
            while (wait_s := told.step()) < inf:
                clock.advance(wait_s + _INSTANT_S)
        hide = mask(settings)
        for parked in cursors.parked():
            yield "a parked event", f"{parked.error} {hide.text(parked.event, json.loads(parked.event)['type'])}"
        yield "the consumers' progress", str(cursors.all())
    yield "what is told of a handler", "\n".join(heard) or "nothing"


def _shown(settings: Settings) -> Iterator[tuple[str, str]]:
    """What commands show of a state directory."""
    yield "doctor", str(examine(settings))
    yield "status", str(asdict(standing_in(settings)))
    hide = mask(settings)
    with closing(open_log(settings.log_url, readonly=True)) as log:
        for letter in letters(log, Selection()):
            yield "a listing of quarantine", f"{letter.reason} {letter.source} {hide.text(letter.raw, letter.stream)}"


def _around(text: str, planted: str) -> str:
    at = text.index(planted)
    return text[max(0, at - 60) : at + len(planted) + 20]
