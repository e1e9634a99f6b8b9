"""How a user declares a stream: a class with typed fields.

    class Departure(Event, key="flight_id", lateness="1h"):
        flight_id: Field[str]
        distance: Field[float]

On the class, `Departure.distance` is an expression to build features from; on an instance it is the value.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, dataclass_transform, overload

from headwater.core.docstrings import FieldDoc, attributes
from headwater.core.duration import parse_ms
from headwater.core.errors import DeclarationError, nearest
from headwater.core.expressions import FieldRef
from headwater.core.personal import HIDDEN
from headwater.core.schema import FieldSpec, Kind, Schema

T = TypeVar("T")

_KINDS: dict[object, Kind] = {float: Kind.FLOAT, int: Kind.INT, bool: Kind.BOOL, str: Kind.STR}
_ENVELOPE = {"id", "source", "time", "stream"}
_METHODS = {"schema", "replace"}
_OPTIONS = ("key", "lateness", "max_ahead", "stream", "major")


class UnknownField(DeclarationError, AttributeError):  # noqa: N818 - says what is wrong
    """A stream has no such field. Also an `AttributeError`, so that `hasattr` works as everywhere."""


class _Unset:
    """No default was given."""


_UNSET = _Unset()


class Field(Generic[T]):
    """A field of an event: an expression on the class, a value on an instance.

        class Patient(Event, key="patient_id"):
            patient_id: Field[str]
            name: Field[str] = Field(personal=True)

    Args:
        personal: The value is about a person: it is learnt from and answered with, and never shown in logs, errors, metrics,
            status pages or listings.
        default: The value where an event has none.
    """

    ref: FieldRef[T]

    def __init__(self, *, personal: bool = False, default: Any = _UNSET) -> None:
        self.personal, self.default = personal, default

    @classmethod
    def _of(cls, ref: FieldRef[Any]) -> Self:
        made = cls()
        made.ref = ref
        return made

    @overload
    def __get__(self, instance: None, owner: type) -> FieldRef[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> FieldRef[T] | T:
        if instance is None:
            return self.ref
        value: T = instance.__dict__[self.ref.spec.name]
        return value

    def __set__(self, instance: object, value: T) -> None:
        instance.__dict__[self.ref.spec.name] = value


@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class EventType(type):
    """Turns annotations into a `Schema` and into expressions."""

    schema: Schema

    def __new__(
        cls, name: str, bases: tuple[type, ...], space: dict[str, Any], *, key: str = "", lateness: str = "0s",
        max_ahead: str = "1d", stream: str = "", major: int = 1, **unknown: Any,
    ) -> EventType:  # fmt: skip
        made = super().__new__(cls, name, bases, space)
        if not bases:
            return made
        _check_class(name, bases, unknown)
        stream = stream or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        about, docs = attributes(inspect.cleandoc(space.get("__doc__") or ""))
        fields = tuple(_spec(made, field, hint, docs.get(field, FieldDoc())) for field, hint in _hints(made).items())
        _check(name, stream, key, fields)
        late_ms, ahead_ms = parse_ms(lateness, where=f"{name}.lateness"), parse_ms(max_ahead, where=f"{name}.max_ahead")
        made.schema = Schema(stream, fields, key, lateness_ms=late_ms, max_ahead_ms=ahead_ms, major=major, doc=about)
        for spec in fields:
            setattr(made, spec.name, Field._of(FieldRef(stream, spec, made)))  # noqa: SLF001 - of this file
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, space)

    if not TYPE_CHECKING:  # a type checker must go on refusing unknown names by itself

        def __getattr__(cls, name: str) -> Any:
            if name.startswith("_") or name == "schema":
                raise AttributeError(name)
            known = [f.name for f in cls.schema.fields]
            raise UnknownField(f"no field {name}", where=cls.__name__, next_step=nearest(name, known))


def _hints(made: type) -> dict[str, Any]:
    """The class's own annotations, evaluated in its module."""
    own = inspect.get_annotations(made)
    module = sys.modules.get(made.__module__)
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=own), vars(module) if module else {})
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise DeclarationError(
            f"an annotation cannot be read: {error}", where=made.__name__, expected="hw.Field[...] for each field",
            next_step="Import what annotations name at the top of the file.",
        ) from error  # fmt: skip


def _check_class(name: str, bases: tuple[type, ...], unknown: dict[str, Any]) -> None:
    if unknown:
        option = next(iter(unknown))
        raise DeclarationError(f"a stream has no option {option}", where=name, next_step=nearest(option, _OPTIONS))
    if any("schema" in vars(base) for base in bases):
        raise DeclarationError(
            "a stream cannot be made from another stream", where=name, expected="a subclass of hw.Event itself",
            next_step="Write its fields out.",
        )  # fmt: skip


def _spec(made: type, name: str, hint: Any, doc: FieldDoc) -> FieldSpec:
    where = f"{made.__name__}.{name}"
    if typing.get_origin(hint) is not Field:
        raise DeclarationError(
            "a field has the wrong annotation", where=where, expected="hw.Field[...]", got=str(hint),
            next_step=f"Write {name}: hw.Field[float].",
        )  # fmt: skip
    (inner,) = typing.get_args(hint)
    nullable = False
    if typing.get_origin(inner) in (types.UnionType, typing.Union):
        rest = [a for a in typing.get_args(inner) if a is not type(None)]
        nullable, inner = len(rest) < len(typing.get_args(inner)), rest[0] if len(rest) == 1 else inner
    if inner not in _KINDS:
        raise DeclarationError(
            "a field has a type that no column can hold", where=where,
            expected="float, int, bool or str, each with | None if it may be missing", got=str(inner),
        )  # fmt: skip
    default, personal = _given(made, name)
    if default is not _UNSET and not _fits(default, inner, nullable=nullable):
        raise DeclarationError(
            "the default has another type than its field", where=where, expected=str(hint), got=repr(default)
        )
    required = not nullable and default is _UNSET
    default = None if default is _UNSET else default
    return FieldSpec(name, _KINDS[inner], nullable, default, required, doc.text, doc.unit, personal)


def _given(made: type, name: str) -> tuple[Any, bool]:
    """What the class says of a field: its default, and whether it is personal."""
    given = made.__dict__.get(name, _UNSET)
    return (given.default, given.personal) if isinstance(given, Field) else (given, False)


def _fits(value: object, kind: type, *, nullable: bool) -> bool:
    return nullable if value is None else type(value) is kind or (kind is float and type(value) is int)


def _check(name: str, stream: str, key: str, fields: tuple[FieldSpec, ...]) -> None:
    names = [f.name for f in fields]
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", stream):
        raise DeclarationError(
            "a stream's name is not usable in files and URLs", where=name, expected="[a-z][a-z0-9_]*", got=stream
        )
    taken = sorted(_ENVELOPE.intersection(names))
    if taken:
        raise DeclarationError(
            f"the field name {taken[0]} belongs to the envelope of every event", where=name,
            next_step=f"Rename it, for example to {stream}_{taken[0]}.",
        )  # fmt: skip
    odd = sorted(n for n in names if n in _METHODS or n.startswith("_"))
    if odd:
        raise DeclarationError(
            f"a field cannot be called {odd[0]}", where=name,
            expected=f"a name without a leading _, not {' or '.join(sorted(_METHODS))}",
            next_step=f"Rename it, for example to {stream}_{odd[0].strip('_')}.",
        )  # fmt: skip
    if not key:
        raise DeclarationError(
            "an event needs a key", where=name, expected='class ...(hw.Event, key="field")', next_step=nearest(key, names)
        )
    if key not in names:
        raise DeclarationError("the key is not a field", where=name, expected="a field", got=key, next_step=nearest(key, names))
    spec = fields[names.index(key)]
    if spec.nullable or spec.kind in (Kind.FLOAT, Kind.BOOL):
        raise DeclarationError(
            "this field cannot be a key", where=f"{name}.{key}", expected="Field[str] or Field[int]",
            got=f"{spec.kind.value}{' | None' if spec.nullable else ''}",
        )  # fmt: skip


class Event(metaclass=EventType):
    """Base of all streams' classes. Options: `key`, `lateness`, `max_ahead`, `stream`, `major`."""

    schema: ClassVar[Schema]

    def __init__(self, **values: Any) -> None:
        specs = {f.name: f for f in self.schema.fields}
        for name in values:
            if name not in specs:
                raise TypeError(f"{type(self).__name__} has no field {name}. {nearest(name, specs)}")
        for name, spec in specs.items():
            if name not in values and spec.required:
                raise TypeError(f"{type(self).__name__} needs the field {name}")
            self.__dict__[name] = values.get(name, spec.default)

    def replace(self, **values: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self.__dict__, **values})

    def __repr__(self) -> str:
        hidden = {f.name for f in self.schema.fields if f.personal}  # what is printed ends in logs
        shown = (f"{k}={HIDDEN if k in hidden else repr(v)}" for k, v in self.__dict__.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self).__name__, *self.__dict__.values()))
