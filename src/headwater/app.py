"""What a user declares: streams, features, labels, models, an app. Pure description: nothing here runs.

late = Model("late", on=Departure, features=[...], label=label(...), learner=Linear(loss="log"))
app = App("flights", models=[late])
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.core.duration import parse_ms, parse_offset_ms
from headwater.core.errors import DeclarationError, nearest
from headwater.core.event import EventType
from headwater.core.expressions import STANDS_FOR, Expr, FieldRef, Op, check, is_text, owner
from headwater.core.schema import Kind, Schema
from headwater.evaluation.labels import Label, Missing
from headwater.features.aggregates import ewma, last
from headwater.features.limits import Guard
from headwater.features.memories import Aggregate, Category, Feature, Numeric
from headwater.features.plan import Plan, Planner
from headwater.following.declaring import Consuming
from headwater.learning.classes import Softmax
from headwater.learning.fast_lane import Fast
from headwater.learning.linear import Linear
from headwater.learning.protocol import LearnerSpec, check_spec
from headwater.planning.declaring import updating

_SAID = ("label", "score", "probabilities")  # of an answer about several classes, beside the key
_NAME = r"[a-z][a-z0-9_]{0,62}"


@dataclass(frozen=True, slots=True)
class Publish:
    """When a version is registered, or a twin is given the live weights. One of the three is set.

    Attributes:
        every_ms: At each multiple of this event time since 1970, moved by `offset_ms`.
        every_labels: After each so many labels.
        once_scored: Once, before the question of this number (from 0) is scored.
    """

    every_ms: int = 0
    offset_ms: int = 0
    every_labels: int = 0
    once_scored: int = -1

    def describe(self) -> str:
        if self.every_ms:
            return f"every {self.every_ms} ms + {self.offset_ms} ms"
        return f"every {self.every_labels} labels" if self.every_labels else f"once after {self.once_scored} questions"


def every(interval: str, *, utc_offset: str = "0h") -> Publish:
    """At fixed event times: `every("1d", utc_offset="-5h")` is midnight in New York (winter).

    Questions move the calendar: it rings before the first one at or after a due time. The very first question only starts it.
    """
    span = parse_ms(interval, where="hw.every")
    if span <= 0:
        raise DeclarationError("an interval must be positive", where="hw.every", got=interval)
    return Publish(every_ms=span, offset_ms=-parse_offset_ms(utc_offset, where="hw.every") % span)


def every_labels(n: int) -> Publish:
    """After every n labels, before the next event of the model's streams. Corrections do not count; expiries as negative do."""
    if n < 1:
        raise DeclarationError("a number of labels must be positive", where="hw.every_labels", got=str(n))
    return Publish(every_labels=n)


def once(*, after: int) -> Publish:
    """Once, when `after` questions have been asked."""
    if after < 0:
        raise DeclarationError("a number of questions cannot be negative", where="hw.once", got=str(after))
    return Publish(once_scored=after)


AnyFeature = Feature | Expr[Any] | list[Aggregate] | list[Category]


@dataclass(eq=False)
class Model:
    """One question, asked of each event of a stream, and a line that learns to answer it.

    Attributes:
        name: A lower-case word; the line's name and its URL part.
        on: The stream; each of its events is scored once.
        features: What the answer may depend on; fields of `on` count as numbers.
        label: What turns out to be true, and when.
        learner: How the line learns: compiled, or by blocks of labels in the event lane; with `Softmax` the label names one of
            several classes.
        baseline_by: Whose last outcome "no change" repeats: fields of the labelling stream; None: the last of all.
        baseline_at: The same entity's fields on the `on` stream, where names differ.
        versions: When the live line is registered as a version.
        twins: Name -> when that twin is given the live weights. Twins are judged beside the line, and cost one dot
            product a question.
        guard: Looks at each question's features before the model does; None: nobody does.
    """

    name: str
    on: EventType
    features: Sequence[AnyFeature]
    label: Label
    learner: Linear | Softmax | LearnerSpec = field(default_factory=Linear)
    baseline_by: FieldRef[Any] | tuple[FieldRef[Any], ...] | None = None
    baseline_at: FieldRef[Any] | tuple[FieldRef[Any], ...] | None = None
    versions: Publish = field(default_factory=lambda: every("1d"))
    twins: dict[str, Publish] = field(default_factory=dict)
    guard: Guard | None = None

    def __post_init__(self) -> None:
        _check_name(self.name, "a model's name")
        _check_parts(self)
        for twin in self.twins:
            _check_name(twin, f"a twin's name of model {self.name}")
            if twin in ("live", "no_change"):
                raise DeclarationError("a twin has a name that is taken", where=self.name, got=twin)
        if not isinstance(self.on, EventType) or not hasattr(self.on, "schema"):
            raise DeclarationError(
                "a model is asked on a stream", where=self.name, expected="an hw.Event class", got=repr(self.on)
            )
        self.features = _flatten(self.features, self.name, self.on.schema)
        if not self.features:
            raise DeclarationError(
                "a model without features cannot learn", where=self.name, next_step="Add a field of its stream."
            )
        if self.label.on.stream != self.on.schema.stream:
            raise DeclarationError(
                "the label is joined to another stream than the model's", where=self.name,
                expected=f"label(on=<field of {self.on.schema.stream}>)", got=self.label.on.text(),
            )  # fmt: skip
        _check_label(self)
        _check_guard(self)
        self._baseline = last(self.outcome, by=self.baseline_by, at=self.baseline_at)
        if isinstance(self.learner, Fast) and self.learner.lags:
            lags = _lags(self)
            there = {f.name for f in self.features}
            self.features = [*self.features, *(f for f in lags if f.name not in there)]
            self.learner = self.learner.lagged(tuple(f.name for f in lags))

    @property
    def schema(self) -> Schema:
        """The scored stream's schema."""
        return self.on.schema

    @property
    def outcome(self) -> Expr[Any]:
        """The label as a number: its value, or where it names a class what stands for that."""
        return Op(STANDS_FOR, (self.label.value,)) if isinstance(self.learner, Softmax) else self.label.value

    @property
    def baseline(self) -> Aggregate:
        """The last outcome, as a feature."""
        assert isinstance(self._baseline, Aggregate)
        return self._baseline

    @property
    def numbers(self) -> list[Aggregate | Numeric]:
        """The features that are numbers, in order."""
        return [f for f in self.features if isinstance(f, Aggregate | Numeric)]

    @property
    def categories(self) -> list[Category]:
        """The features that are hashed categories, in order."""
        return [f for f in self.features if isinstance(f, Category)]

    @property
    def experts(self) -> list[str]:
        """Who is judged, in the order of scores."""
        return ["live", *self.twins, "no_change"]

    @property
    def labels_itself(self) -> bool:
        """Whether a question is an outcome too, and the one that its "no change" repeats: it is judged before it is asked."""
        same = self.baseline.at is None or [f.text() for f in self.baseline.at] == list(self.baseline.keeper.by)
        return same and owner(self.label.value).schema.stream == self.schema.stream

    @property
    def lane(self) -> LearnerSpec | None:
        """The learner, where it is one of the event lane; None where a compiled walk learns."""
        return None if isinstance(self.learner, Linear | Softmax) else self.learner

    @property
    def n_scores(self) -> int:
        """Floats of a waiting question that say what experts said: a score each, or a class each and probabilities of all."""
        return len(self.experts) * (1 + self.learner.width if isinstance(self.learner, Softmax) else 1)

    def describe(self) -> dict[str, Any]:
        """The declaration as plain data: equal data, equal model."""
        label = self.label
        numbers = [f.name if isinstance(f, Numeric) else _spelled(f) for f in self.numbers]
        baseline = [str(self.baseline.keeper), *(f.text() for f in self.baseline.at or ())]
        guard = {} if self.guard is None else {"guard": self.guard.describe()}
        return {
            "name": self.name, "on": self.schema.stream, "numbers": numbers, "categories": [c.name for c in self.categories],
            "label": [label.value.text(), label.join.text(), label.on.text(), label.within_ms, label.missing.value],
            "learner": self.learner.describe(), "baseline": baseline,
            "versions": self.versions.describe(), "twins": {n: p.describe() for n, p in self.twins.items()}, **guard,
        }  # fmt: skip


def _lags(model: Model) -> list[Aggregate]:
    """The last label, and averages that remember about 10 and 100 labels: of all, then of whom `baseline_by` names."""
    value, lags = model.label.value, []
    for by, at in [(None, None), *([(model.baseline_by, model.baseline_at)] if model.baseline_by is not None else [])]:
        newest = last(value, by=by, at=at)
        assert isinstance(newest, Aggregate)
        lags += [newest, ewma(value, beta=0.9, by=by, at=at), ewma(value, beta=0.99, by=by, at=at)]
    return lags


def _spelled(f: Aggregate) -> str:
    """Everything that a feature's value depends on."""
    at = "" if f.at is None else " at " + ",".join(field.text() for field in f.at)
    return f"{f.keeper} {f.read.name}[{f.nth}] {f.prior} {f.prior_weight}{at}"


def _check_parts(model: Model) -> None:
    """Refuse parts of a model that are something else than they should be."""
    parts: dict[str, tuple[object, Any, str]] = {
             "guard": (model.guard, Guard | None, "hw.Guard(...), or None"),
             "label": (model.label, Label, "hw.label(...)"),
             "learner": (model.learner, Linear | Softmax | LearnerSpec, "hw.Linear(...), hw.Softmax(...) or another learner"),
             "versions": (model.versions, Publish, "hw.every(...), hw.every_labels(...) or hw.once(...)")}  # fmt: skip
    parts |= {f"twins[{name!r}]": (rule, Publish, parts["versions"][2]) for name, rule in model.twins.items()}
    for part, (given, kind, expected) in parts.items():
        if not isinstance(given, kind):
            raise DeclarationError(f"{part} is something else", where=model.name, expected=expected, got=repr(given))
    if not isinstance(model.learner, Linear | Softmax):
        check_spec(model.learner)
    if isinstance(model.learner, Fast):
        updating(model.learner.update, f"{model.name}: hw.Fast.update")
    if not isinstance(model.features, list | tuple):
        raise DeclarationError("features are no list", where=model.name, expected="features=[...]", got=repr(model.features))


def _check_label(model: Model) -> None:
    """Refuse a label that the learner cannot take: a text as a number, a number as the name of a class."""
    label = model.label
    if not isinstance(model.learner, Softmax):
        if is_text(label.value):
            raise DeclarationError(
                "a text is given as a label", where=label.value.text(),
                next_step="Compare it: Stream.field == 'yes'. Where it names one of several classes: learner=hw.Softmax().",
            )  # fmt: skip
        return
    if not isinstance(label.value, FieldRef) or label.value.spec.kind not in (Kind.STR, Kind.INT):
        raise DeclarationError(
            "this label does not name a class", where=f"{model.name}: {label.value.text()}",
            expected="a field of type str or int, as it is", next_step="Give the field, or use hw.Linear(...) for a number.",
        )  # fmt: skip
    if model.on.schema.key in _SAID:
        raise DeclarationError(
            "the key has the name of something that an answer says", where=f"{model.name}: {label.on.text()}",
            expected=f"a key that is none of {', '.join(_SAID)}", next_step="Give the field another name.",
        )  # fmt: skip
    if label.value.spec.personal:
        raise DeclarationError(
            "names of classes are shown, and this field is personal", where=f"{model.name}: {label.value.text()}",
            expected="a field of type str or int that may be shown", next_step="Label by a field that is about nobody.",
        )  # fmt: skip
    if label.missing is not Missing.UNKNOWN:
        raise DeclarationError(
            "a missing label names no class", where=f"{model.name}: hw.label.missing", expected="hw.UNKNOWN", got="hw.NEGATIVE"
        )


def _check_guard(model: Model) -> None:
    """Refuse limits of what is no feature, and a guard before a learner that has no "no change" in numbers to abstain by."""
    if model.guard is None:
        return
    if isinstance(model.learner, Softmax):
        raise DeclarationError(
            "a model of several classes cannot be guarded", where=model.name, expected="a label that is yes/no or a number",
            got="guard=hw.Guard(...) with hw.Softmax", next_step="Leave the guard out.",
        )  # fmt: skip
    model.guard.named([f.name for f in model.features if not isinstance(f, Expr | list)], model.name)


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise DeclarationError(f"{what} is not usable in files and URLs", where=name, expected=_NAME, got=repr(name))


def _flatten(features: Iterable[AnyFeature], model: str, on: Schema) -> list[Feature]:
    out = [_feature(f, model, on) for given in features for f in (given if isinstance(given, list) else [given])]
    names = [f.name for f in out]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DeclarationError("a feature is given twice", where=model, got=twice[0])
    return out


def _feature(feature: Feature | Expr[Any], model: str, on: Schema) -> Feature:
    if isinstance(feature, Expr):
        check(feature)
        if is_text(feature):
            raise DeclarationError(
                "a text is given as a number",
                where=f"{model}: {feature.text()}",
                next_step=f"Write hw.category({feature.text()}).",
            )
        feature = Numeric(feature.text(), feature)
    if isinstance(feature, EventType):
        raise DeclarationError("a stream is given as a feature", where=model, next_step="Give one of its fields.")
    if not isinstance(feature, Aggregate | Category | Numeric):
        raise DeclarationError(
            "this is no feature", where=model, expected="a field, hw.category, hw.mean, ...", got=repr(feature)
        )
    exprs = feature.exprs if isinstance(feature, Category) else (feature.expr,) if isinstance(feature, Numeric) else ()
    for expr in exprs:
        if expr.stream != on.stream:
            raise DeclarationError(
                "a feature uses a field that is not known when the question is asked", where=f"{model}: {feature.name}",
                expected=f"fields of {on.stream}", got=f"a field of {expr.stream}",
                next_step="Aggregate the other stream: hw.last(..., by=...), hw.mean(..., by=...).",
            )  # fmt: skip
    return feature


class App(Consuming):
    """Models and the streams they need, and who is told of their events.

    Attributes:
        name: A lower-case word; state directories are bound to it.
        models: By name.
        streams: By name, in the order that breaks ties of event time: outcomes before questions, then as declared.
        consumers: Handlers and webhooks by name; see `on` and `webhook`.
        plan: The compiled features of all models.
    """

    def __init__(self, name: str, *, models: Sequence[Model], streams: Sequence[EventType] = ()) -> None:
        _check_name(name, "an app's name")
        strangers = [m for m in models if not isinstance(m, Model)] if isinstance(models, list | tuple) else [models]
        if strangers:
            raise DeclarationError(
                "an app takes a list of models", where=name, expected="models=[hw.Model(...)]", got=repr(strangers[0])
            )
        if not models:
            raise DeclarationError("an app needs a model", where=name)
        self.name = name
        self.models = {m.name: m for m in models}
        if len(self.models) < len(models):
            raise DeclarationError("two models have the same name", where=name, got=", ".join(m.name for m in models))
        self.streams = _streams(models, streams)
        self.consumers = {}
        self.plan, self.columns = self._compile()

    def _compile(self) -> tuple[Plan, dict[str, ModelColumns]]:
        planner = Planner(list(self.streams.values()))
        columns = {}
        for model in self.models.values():
            numbers = [
                planner.number(f.expr) if isinstance(f, Numeric) else planner.aggregate(f, model.schema) for f in model.numbers
            ]
            baseline = planner.aggregate(model.baseline, model.schema)
            columns[model.name] = ModelColumns(tuple(numbers), baseline, planner.value(model.outcome))
        return planner.plan(), columns

    def model(self, name: str) -> Model:
        """A model by name; an unknown name lists the nearest."""
        if name not in self.models:
            raise DeclarationError("no such model", where=self.name, got=name, next_step=nearest(name, self.models))
        return self.models[name]

    def fingerprint(self) -> str:
        """SHA-256 of the whole declaration; state directories and versions carry it."""
        body = {"name": self.name, "streams": [s.fingerprint() for s in self.streams.values()]}
        models = [m.describe() for m in self.models.values()]
        return hashlib.sha256(json.dumps([body, models], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ModelColumns:
    """Where a model's vector is in the plan's matrices: feature columns of numbers and baseline, value column of the label."""

    numbers: tuple[int, ...]
    baseline: int
    label: int


def _streams(models: Sequence[Model], declared: Sequence[EventType]) -> dict[str, Schema]:
    """The declared streams and those that models use; at equal event time, outcomes come before questions."""
    known = {e.schema.stream: e.schema for e in declared}
    for model in models:
        used = [model.schema, owner(model.label.value).schema]
        used += [f.source for f in model.numbers if isinstance(f, Aggregate)]
        for schema in used:
            if known.setdefault(schema.stream, schema) != schema:
                raise DeclarationError("two classes declare one stream", where=model.name, got=schema.stream)
    questions = {m.schema.stream for m in models} - {m.label.value.stream for m in models}
    return dict(sorted(known.items(), key=lambda item: item[0] in questions))
