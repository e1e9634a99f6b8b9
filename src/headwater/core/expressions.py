"""Expressions over the fields of an event, and their value on columns.

A user writes `(Arrival.arr_delay >= 15) | Arrival.arr_delay.is_null()`; this builds a small tree, which `evaluate` turns
into one float64 array for a whole frame: NaN is null, true is 1.0, false is 0.0. Logic is three-valued as in SQL. Arithmetic
whose result is no finite number (a division by zero, an overflow) is null. Integers are exact up to 2^53.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

import numpy as np

from headwater.core.batch import Bools, Column, Floats, Frame, Ints, Text
from headwater.core.errors import DeclarationError
from headwater.core.hashing import Hashes, combine, hash_column, hash_floats, hash_text
from headwater.core.schema import FieldSpec, Kind, Schema

T_co = TypeVar("T_co", covariant=True)


class Owner(Protocol):
    """The class that declares a stream; see `event`."""

    schema: Schema


_HOUR_MS = 3_600_000
_EXACT = 2**53  # integers up to here are exact in float64


class Expr(Generic[T_co]):
    """A value computed from one event; `T_co` is its Python type."""

    stream: str

    def text(self) -> str:
        """Canonical spelling: equal expressions have equal texts."""
        raise AssertionError

    def _with(self, op: str, other: object) -> Expr[Any]:
        return Op(op, (self, _wrap(other, self.stream)))

    def __ge__(self, other: object) -> Expr[bool]:
        return self._with(">=", other)

    def __gt__(self, other: object) -> Expr[bool]:
        return self._with(">", other)

    def __le__(self, other: object) -> Expr[bool]:
        return self._with("<=", other)

    def __lt__(self, other: object) -> Expr[bool]:
        return self._with("<", other)

    def __eq__(self, other: object) -> Expr[bool]:  # type: ignore[override]
        return self._with("==", other)

    def __ne__(self, other: object) -> Expr[bool]:  # type: ignore[override]
        return self._with("!=", other)

    def __hash__(self) -> int:
        return hash(self.text())

    def __and__(self, other: Expr[Any]) -> Expr[bool]:
        return self._with("&", other)

    def __or__(self, other: Expr[Any]) -> Expr[bool]:
        return self._with("|", other)

    def __invert__(self) -> Expr[bool]:
        return Op("~", (self,))

    def __add__(self, other: object) -> Expr[float]:
        return self._with("+", other)

    def __sub__(self, other: object) -> Expr[float]:
        return self._with("-", other)

    def __mul__(self, other: object) -> Expr[float]:
        return self._with("*", other)

    def __truediv__(self, other: object) -> Expr[float]:
        return self._with("/", other)

    if not TYPE_CHECKING:  # a type checker refuses these by itself

        def __ror__(self, other: object) -> NoReturn:
            raise _missing_brackets("|", other, self)

        def __rand__(self, other: object) -> NoReturn:
            raise _missing_brackets("&", other, self)

    def __bool__(self) -> bool:
        raise DeclarationError(
            "an expression has no truth value before an event arrives",
            where=self.text(), expected="& | ~", got="and, or, not, if", next_step="Write (a) & (b) with brackets.",
        )  # fmt: skip

    def is_null(self) -> Expr[bool]:
        """True where the value is missing; never null itself."""
        return Op("is_null", (self,))

    def fill(self, value: float) -> Expr[float]:
        """The value, or `value` where it is missing."""
        return self._with("fill", value)

    def clip(self, low: float, high: float) -> Expr[float]:
        """The value, at least `low` and at most `high`."""
        if not low <= high:
            raise DeclarationError(
                "the bounds of a clip are in the wrong order", where=self.text(), expected="low <= high", got=f"{low}, {high}"
            )
        return Op("clip", (self, Literal(low, self.stream), Literal(high, self.stream)))

    def log1p(self) -> Expr[float]:
        """sign(x) * log(1 + |x|): tames long tails on both sides."""
        return Op("log1p", (self,))

    def bucket(self, *edges: float) -> Expr[float]:
        """The number of edges that are <= the value: 0 .. len(edges)."""
        if not edges:
            raise DeclarationError("a bucket needs an edge", where=self.text(), expected=".bucket(10, 20, ...)")
        return Op("bucket", (self, *(Literal(float(e), self.stream) for e in edges)))


@dataclass(frozen=True, eq=False, repr=False)
class FieldRef(Expr[T_co]):
    """A field of a stream."""

    stream: str
    spec: FieldSpec
    owner: Owner

    def text(self) -> str:
        return f"{self.stream}.{self.spec.name}"

    __repr__ = text


@dataclass(frozen=True, eq=False)
class Literal(Expr[Any]):
    """A constant."""

    value: float | str
    stream: str

    def text(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, eq=False)
class TimePart(Expr[float]):
    """A part of the event's time: `hour` 0..24 (with fraction) `weekday` 0 (Monday) .. 6, or `day` since 1970."""

    stream: str
    part: str
    offset_ms: int
    owner: Owner

    def text(self) -> str:
        return f"{self.part}({self.stream}, {self.offset_ms}ms)"


class Op(Expr[Any]):
    """A named operation on expressions of one stream."""

    def __init__(self, name: str, args: tuple[Expr[Any], ...]) -> None:
        self.name, self.args, self.stream = name, args, args[0].stream
        strangers = {a.stream for a in args} - {self.stream}
        if strangers:
            raise DeclarationError(
                f"one expression uses the streams {self.stream} and {', '.join(sorted(strangers))}",
                where=self.text(), expected="fields of one stream",
                next_step="Aggregate the other stream first: hw.last(...) by a shared key.",
            )  # fmt: skip

    def text(self) -> str:
        return f"({self.name} {' '.join(a.text() for a in self.args)})"


def _wrap(value: object, stream: str) -> Expr[Any]:
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool | int | float):
        return Literal(_number(value, stream), stream)
    if isinstance(value, str):
        return Literal(value, stream)
    raise DeclarationError(
        "a constant of this type cannot be used with a field", where=stream, expected="a number or text",
        got=type(value).__name__,
        next_step="Ask whether a value is missing with .is_null()." if value is None else "",
    )  # fmt: skip


def _number(value: float, stream: str) -> float:
    """A constant that float64 holds exactly enough to compare with."""
    if not abs(value) <= (_EXACT if isinstance(value, int) else math.inf):
        raise DeclarationError(
            "this constant cannot be compared", where=stream, expected="a number; integers up to 2^53", got=repr(value),
            next_step="Hold long identifiers as text." if isinstance(value, int) else "Use .is_null() for missing values.",
        )  # fmt: skip
    return float(value)


def _missing_brackets(op: str, left: object, right: Expr[Any]) -> DeclarationError:
    return DeclarationError(
        f"a constant takes part in '{op}'",
        where=f"{left!r} {op} {right.text()}",
        expected="two conditions",
        got=repr(left),
        next_step=f"{op} binds tighter than a comparison: write (a >= 1) {op} (b) with brackets.",
    )


def owner(expr: Expr[Any]) -> Owner:
    """The class of the stream that the expression is about.

    Raises:
        DeclarationError: It is no expression over fields.
    """
    if isinstance(expr, FieldRef | TimePart):
        return expr.owner
    require_expr(expr, "an aggregate's value")
    assert isinstance(expr, Op)
    return next(owner(a) for a in expr.args if not isinstance(a, Literal))


def require_expr(value: object, what: str) -> None:
    """Refuse what is no expression over the fields of a stream."""
    if not isinstance(value, Expr):
        raise DeclarationError(
            f"{what} is no expression", expected="a field, or something computed from fields", got=repr(value)
        )


def is_condition(expr: Expr[Any]) -> bool:
    """Whether the expression's values are true, false or null."""
    if isinstance(expr, Op):
        return expr.name in _CONDITIONS or (expr.name == "fill" and is_condition(expr.args[0]))
    return isinstance(expr, FieldRef) and expr.spec.kind is Kind.BOOL


def is_whole(expr: Expr[Any]) -> bool:
    """Whether every event of the stream has the value: a field that cannot be null, or a comparison of such fields."""
    if isinstance(expr, FieldRef):
        return not expr.spec.nullable
    if isinstance(expr, Op):
        return is_condition(expr) and all(map(is_whole, expr.args))
    return isinstance(expr, Literal)


def is_text(expr: Expr[Any]) -> bool:
    """Whether the expression's values are strings."""
    return isinstance(expr, FieldRef) and expr.spec.kind is Kind.STR


STANDS_FOR = "value_of"  # an operation that only `hw.distinct` makes
_LOGIC = ("&", "|", "~")
_CONDITIONS = frozenset([*_LOGIC, ">=", ">", "<=", "<", "==", "!=", "is_null"])
_BINARY: dict[str, Callable[[Floats, Floats], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide,
    ">=": np.greater_equal, ">": np.greater, "<=": np.less_equal, "<": np.less, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


_ARITHMETIC = ("+", "-", "*", "/")


def _nullable(name: str, args: list[Floats]) -> Floats:
    with np.errstate(all="ignore"):
        out = np.asarray(_BINARY[name](args[0], args[1]), np.float64)
    out[~np.isfinite(out) if name in _ARITHMETIC else np.isnan(args[0]) | np.isnan(args[1])] = np.nan
    return out


def _either(args: list[Floats]) -> Floats:
    left, right = args
    out = ((left > 0) | (right > 0)).astype(np.float64)
    out[(out == 0) & (np.isnan(left) | np.isnan(right))] = np.nan
    return out


_CALLS: dict[str, Callable[[list[Floats]], Floats]] = {
    "|": _either,
    "&": lambda a: 1.0 - _either([1.0 - a[0], 1.0 - a[1]]),
    "~": lambda a: 1.0 - a[0],
    "is_null": lambda a: np.isnan(a[0]).astype(np.float64),
    "fill": lambda a: np.where(np.isnan(a[0]), a[1], a[0]),
    "clip": lambda a: np.clip(a[0], a[1], a[2]),
    "log1p": lambda a: np.sign(a[0]) * np.log1p(np.abs(a[0])),
    "bucket": lambda a: np.where(np.isnan(a[0]), np.nan, np.searchsorted(np.sort(np.array(a[1:])), a[0], side="right")),
}


def evaluate(expr: Expr[Any], frame: Frame, time: Ints) -> Floats:
    """The expression's value on each row of its stream's frame; float64[n], NaN where null.

    Args:
        expr: An expression of the frame's stream.
        frame: The rows.
        time: Their event times, int64[n], ms.
    """
    if isinstance(expr, Literal):
        return np.full(frame.n, expr.value, np.float64)
    if isinstance(expr, FieldRef):
        return _numbers(frame.columns[expr.spec.name], expr)
    if isinstance(expr, TimePart):
        return _time_part(expr, time)
    assert isinstance(expr, Op)
    if expr.name == STANDS_FOR:
        return _stand_in(expr.args[0], frame, time)
    if any(is_text(a) for a in expr.args):
        return _text_op(expr, frame)
    # A constant stays one number: numpy spreads it, and a question of one row is answered sooner.
    args: Any = [np.float64(a.value) if isinstance(a, Literal) else evaluate(a, frame, time) for a in expr.args]
    return _nullable(expr.name, args) if expr.name in _BINARY else _CALLS[expr.name](args)


def _stand_in(arg: Expr[Any], frame: Frame, time: Ints) -> Floats:
    """A number that stands for a value: the upper 52 bits of its hash."""
    out = (hash_values((arg,), frame, time) >> np.uint64(12)).astype(np.float64)
    out[_text_side(arg, frame)[1] if is_text(arg) else np.isnan(evaluate(arg, frame, time))] = np.nan
    return out


def _numbers(column: Column, expr: FieldRef[Any]) -> Floats:
    if isinstance(column.values, Text):
        raise DeclarationError("a text is used as a number", where=expr.text(), next_step="Use hw.category(...) for texts.")
    out = column.values.astype(np.float64)
    if column.valid is not None:
        out[~column.valid] = np.nan
    return out


def _time_part(expr: TimePart, time: Ints) -> Floats:
    local = time + expr.offset_ms
    if expr.part == "hour":
        return (local % (24 * _HOUR_MS)) / _HOUR_MS
    if expr.part == "day":
        return (local // (24 * _HOUR_MS)).astype(np.float64)
    return ((local // (24 * _HOUR_MS) + 3) % 7).astype(np.float64)


def _text_op(expr: Op, frame: Frame) -> Floats:
    """Texts can be compared for equality and asked whether they are null; nothing else."""
    hashes, null = _text_side(expr.args[0], frame)
    if expr.name == "is_null":
        return null.astype(np.float64)
    others, other_null = _text_side(expr.args[1], frame)
    same = hashes == others
    out: Floats = (same if expr.name == "==" else ~same).astype(np.float64)
    out[null | other_null] = np.nan
    return out


def _text_side(side: Expr[Any], frame: Frame) -> tuple[Hashes, Bools]:
    """The hashes of one side of a comparison of texts, and which of them are null."""
    no_null = np.zeros(frame.n, np.bool_)
    if isinstance(side, FieldRef):
        column = frame.columns[side.spec.name]
        return hash_column(column), no_null if column.valid is None else ~column.valid
    assert isinstance(side, Literal)
    return np.repeat(hash_text(Text.of([str(side.value)])), frame.n), no_null


def check(expr: Expr[Any]) -> None:
    """Refuse an expression that makes no sense: texts in arithmetic, numbers in logic.

    Raises:
        DeclarationError: It says which part, and what to write instead.
    """
    if not isinstance(expr, Op):
        return
    for arg in expr.args:
        check(arg)
    texts = [a for a in expr.args if is_text(a) or (isinstance(a, Literal) and isinstance(a.value, str))]
    if texts and expr.name not in ("==", "!=", "is_null", STANDS_FOR):
        raise DeclarationError(
            f"a text takes part in '{expr.name}'", where=expr.text(), expected="numbers", got=texts[0].text(),
            next_step="Compare texts with == or !=, or use hw.category(...).",
        )  # fmt: skip
    if texts and len(expr.args) > 1 and len(texts) != len(expr.args):
        raise DeclarationError("a text is compared with a number", where=expr.text(), expected="two texts or two numbers")
    numbers = [a for a in expr.args if not is_condition(a)] if expr.name in _LOGIC else []
    if numbers:
        raise DeclarationError(
            f"a number takes part in '{expr.name}'", where=expr.text(), expected="conditions", got=numbers[0].text(),
            next_step=f"{expr.name} binds tighter than a comparison: write (a >= 1) & (b < 2) with brackets.",
        )  # fmt: skip


def hash_values(exprs: Sequence[Expr[Any]], frame: Frame, time: Ints) -> Hashes:
    """One 64-bit hash per row for the tuple of values; the empty tuple hashes to one constant."""
    if not exprs:
        return np.zeros(frame.n, np.uint64)
    parts = []
    for expr in exprs:
        if isinstance(expr, FieldRef):
            parts.append(hash_column(frame.columns[expr.spec.name]))
        else:
            parts.append(hash_floats(evaluate(expr, frame, time)))
    return combine(parts)
