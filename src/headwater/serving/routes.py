"""The one table of routes: what the gateway answers, by which method, and which scopes open it.

Dispatch, the index, the OpenAPI document and the tests of who may call what are made from it. What is not in it does not
exist; a route that names no scope is open to nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from headwater.core.schema import DEAD
from headwater.serving.replies import Reply
from headwater.serving.requests import Call
from headwater.serving.scopes import ADMIN, EVERYTHING, INGEST, NOTHING, OPEN, OPERATE, PREDICT, Scopes

EVENTS, PREDICTIONS = "events", "predict"
"""The lanes of data, each with an admission of its own. Everything else is the operator's, which no data can hold up."""

_INGEST, _PREDICT, _OPERATE = frozenset({INGEST}), frozenset({PREDICT}), frozenset({OPERATE})
_ASK = _PREDICT | _OPERATE
_V2 = "Open Inference Protocol v2"
_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that the gateway answers.

    Attributes:
        pattern: Its path; `{name}` stands for one segment.
        method: GET (which HEAD may replace) or POST, PUT, DELETE, ...
        says: What it is for, in a few words.
        scopes: Any of these opens it.
        part: Under which name requests are counted.
        lane: The lane of data that it belongs to; "" is the operator's.
    """

    pattern: str
    method: str
    says: str
    scopes: Scopes = NOTHING
    part: str = "page"
    lane: str = ""


TABLE = (
    Route("/events", "POST", "events, each naming its stream", _INGEST, EVENTS, EVENTS),
    Route("/events/{stream}", "POST", "events of one stream", _INGEST, EVENTS, EVENTS),
    Route("/predict/{model}", "POST", "scores for rows", _PREDICT, PREDICTIONS, PREDICTIONS),
    Route("/streams", "GET", "the streams that can be followed", _OPERATE, "streams"),
    Route(f"/streams/{DEAD}", "GET", "refused events with their text, from a seq on", frozenset({ADMIN}), "streams"),
    Route(
        "/streams/{name}", "GET", "events of a stream from a seq on; waits for the next one if asked to", _OPERATE, "streams"
    ),
    Route("/", "GET", "this list", EVERYTHING),
    Route("/healthz", "GET", "the process lives", OPEN),
    Route("/readyz", "GET", "something is published; how old it is", EVERYTHING),
    Route("/metrics", "GET", "Prometheus metrics", _OPERATE),
    Route("/status", "GET", "what the learner and the gateway say of themselves", _OPERATE),
    Route("/openapi.json", "GET", "this API as OpenAPI 3.1", EVERYTHING),
    Route("/v2", "GET", f"the server ({_V2})", _ASK),
    Route("/v2/health/live", "GET", f"the process lives ({_V2})", _ASK),
    Route("/v2/health/ready", "GET", f"something is published ({_V2})", _ASK),
    Route(_MODEL, "GET", f"a model's inputs and outputs ({_V2})", _ASK),
    Route(f"{_MODEL}/ready", "GET", f"whether a model can answer ({_V2})", _ASK),
    Route(f"{_MODEL}/infer", "POST", f"score tensors ({_V2})", _PREDICT, "page", PREDICTIONS),
    Route(_VERSION, "GET", f"a version's inputs and outputs ({_V2})", _ASK),
    Route(f"{_VERSION}/ready", "GET", f"whether a version can answer ({_V2})", _ASK),
    Route(f"{_VERSION}/infer", "POST", f"score tensors ({_V2})", _PREDICT, "page", PREDICTIONS),
)

PREDICT_ROUTE = next(route for route in TABLE if route.pattern == "/predict/{model}")
Answers = Mapping[str, Callable[[Call], Awaitable[Reply]]]
"""Pattern -> what answers it."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A route and what answers it."""

    route: Route
    answer: Callable[[Call], Awaitable[Reply]]


Methods = Mapping[str, Bound]
Found = tuple[Methods, Mapping[str, str]]  # what a path has by method, and the values of its named segments


class Routes:
    """Finds what answers a path. Exact paths come before patterns, patterns in the order in which they were added."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Bound]] = {}
        self._shaped: dict[int, dict[str, dict[str, Bound]]] = {}  # number of segments -> pattern -> method

    def __iter__(self) -> Iterator[Route]:
        by_pattern = [*self._exact.values(), *(m for shaped in self._shaped.values() for m in shaped.values())]
        return (bound.route for methods in by_pattern for bound in methods.values())

    def add(self, route: Route, answer: Callable[[Call], Awaitable[Reply]]) -> None:
        """Answer one more route."""
        pattern = route.pattern
        same = self._shaped.setdefault(pattern.count("/"), {}) if "{" in pattern else self._exact
        same.setdefault(pattern, {})[route.method] = Bound(route, answer)

    def find(self, path: str) -> Found | None:
        """What a path has; None where there is no such path."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        for pattern, methods in self._shaped.get(path.count("/"), {}).items():
            named = _named(pattern, path)
            if named is not None:
                return methods, named
        return None


def _named(pattern: str, path: str) -> dict[str, str] | None:
    """The values of a pattern's named segments in a path of as many segments; None where it does not fit.

    >>> _named("/v2/models/{model}/ready", "/v2/models/late/ready"), _named("/predict/{model}", "/predict/")
    ({'model': 'late'}, None)
    """
    named = {}
    for wanted, given in zip(pattern.split("/"), path.split("/"), strict=True):
        if wanted.startswith("{") and given:
            named[wanted[1:-1]] = given
        elif wanted != given:
            return None
    return named


def allowed(methods: Methods) -> str:
    """The value of an Allow header."""
    return ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
