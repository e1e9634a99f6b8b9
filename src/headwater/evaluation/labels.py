"""What is to be predicted, as a user declares it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from headwater.core.duration import parse_ms
from headwater.core.errors import DeclarationError
from headwater.core.expressions import Expr, FieldRef, check, require_expr
from headwater.core.schema import Kind


class Missing(enum.Enum):
    """What it means that no label came within the time allowed."""

    UNKNOWN = "unknown"  # nothing is learnt; counted
    NEGATIVE = "negative"  # the label is 0 (no click, no fraud)


UNKNOWN, NEGATIVE = Missing.UNKNOWN, Missing.NEGATIVE


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A label that arrives later, on another stream or the same one.

    Attributes:
        value: An expression over the labelling stream, for `Softmax` a field that names a class; null: this event is no label.
        join: The labelling stream's field that names the question.
        on: The scored stream's field that it equals.
        within_ms: How long after the question a label may come, in event time.
        missing: What no label means.
    """

    value: Expr[Any]
    join: FieldRef[Any]
    on: FieldRef[Any]
    within_ms: int
    missing: Missing


def label(value: Expr[Any], *, join: FieldRef[Any], on: FieldRef[Any], within: str, missing: Missing = UNKNOWN) -> Label:
    """Declare a label. A second label with another value is a correction, with the same one a duplicate.

    A question that is asked again with the same key before its label came is superseded: the label is the newer one's.
    """
    require_expr(value, "a label")
    check(value)
    if not isinstance(missing, Missing):
        raise DeclarationError(
            "it is not clear what a missing label means",
            where="hw.label.missing",
            expected="hw.UNKNOWN or hw.NEGATIVE",
            got=repr(missing),
        )
    _check_side(join, "join")
    _check_side(on, "on")
    if join.stream != value.stream:
        raise DeclarationError(
            "the label is joined by another stream's field", where=join.text(), expected=f"a field of {value.stream}"
        )
    if join.spec.kind is not on.spec.kind:
        raise DeclarationError(
            "the two sides of the label's join have different types", where=f"{join.text()} = {on.text()}",
            expected=join.spec.kind.value, got=on.spec.kind.value,
        )  # fmt: skip
    span = parse_ms(within, where="hw.label.within")
    if span <= 0:
        raise DeclarationError(
            "a label needs time to come", where="hw.label.within", expected="a positive duration", got=within
        )
    return Label(value, join, on, span, missing)


def _check_side(side: object, what: str) -> None:
    """Refuse what cannot name one question: no field, a number with a fraction, a field that may be missing."""
    if not isinstance(side, FieldRef):
        raise DeclarationError("a label is joined by fields", where=f"hw.label.{what}", expected="Stream.field", got=repr(side))
    if side.spec.kind not in (Kind.STR, Kind.INT) or side.spec.nullable:
        raise DeclarationError(
            "this field cannot join a label to its question", where=side.text(),
            expected="Field[str] or Field[int], never None",
            got=f"{side.spec.kind.value}{' | None' if side.spec.nullable else ''}",
        )  # fmt: skip
