"""Features as a user declares them: plain values that say what is remembered, for whom and for how long.

    count(Departure, by=Departure.carrier, window="1h")
    mean(Arrival.arr_delay, by=(Arrival.origin, Arrival.carrier), half_life="3h")

A feature reads the memory of one entity. `by` says whose memory an event goes into; `at` says whose memory is read for
the event that is scored, and may be left out where names and types match.
"""

from __future__ import annotations

import math
from typing import Any

from headwater.core.duration import parse_ms, parse_offset_ms
from headwater.core.errors import DeclarationError
from headwater.core.event import EventType
from headwater.core.expressions import (
    STANDS_FOR,
    Expr,
    FieldRef,
    Op,
    TimePart,
    check,
    is_condition,
    is_text,
    owner,
    require_expr,
)
from headwater.core.schema import Kind, Schema
from headwater.features.memories import Aggregate, Category, Keeper, Memory, Read

Fields = FieldRef[Any] | tuple[FieldRef[Any], ...]
MAX_PANES = 1024
MAX_LAST = 64
MAX_WORDS = 256
MIN_PRECISION, MAX_PRECISION = 4, 12  # log2 of a sketch's registers


def _fields(fields: Fields | None, what: str) -> tuple[FieldRef[Any], ...]:
    if fields is None:
        return ()
    listed = fields if isinstance(fields, tuple) else (fields,)
    for field in listed:
        if not isinstance(field, FieldRef):
            raise DeclarationError(f"{what} takes fields", expected="Stream.field or a tuple of them", got=repr(field))
        if field.spec.kind is Kind.FLOAT:
            raise DeclarationError("a float cannot name an entity", where=field.text(), expected="a text or an integer field")
    return listed


def _schema(stream: object, what: str) -> Schema:
    if not isinstance(stream, EventType) or not hasattr(stream, "schema"):
        raise DeclarationError(f"{what} takes a stream", where=what, expected="an hw.Event class", got=repr(stream))
    return stream.schema


def _memory(read: Read, window: str | None, half_life: str | None, session: str | None, name: str) -> Memory:
    spans = {"window": window, "half_life": half_life, "session": session}
    given = [span for span, text in spans.items() if text is not None]
    if len(given) > 1:
        raise DeclarationError(f"both {' and '.join(given)} are given", where=name, expected="one of them or none")
    if window is not None:
        return Memory.WINDOW
    if session is not None:
        return Memory.SESSION
    if read in (Read.MIN, Read.MAX):
        raise DeclarationError(
            "the least or greatest value needs a window", where=name, expected="window='1h', or session='30m'"
        )
    return Memory.SPREAD if read in (Read.VAR, Read.ZSCORE) else Memory.DECAY


def _aggregate(
    read: Read, source: Schema, value: Expr[Any] | None, *, by: Fields | None, at: Fields | None, where: Expr[Any] | None,
    window: str | None = None, slide: str | None = None, half_life: str | None = None, session: str | None = None,
    memory: Memory | None = None, prior: float = 0.0, prior_weight: float = 0.0, n: int = 0, beta: float = 0.0, nth: int = 0,
) -> Aggregate:  # fmt: skip
    stream = source.stream
    owners, readers = _fields(by, "by"), None if at is None else _fields(at, "at")
    if where is not None:
        require_expr(where, "a filter")
    shown = value.args[0] if isinstance(value, Op) and value.name == STANDS_FOR else value
    what = stream if shown is None else shown.text()
    name = _name(read, what, owners, readers, where, window, slide, half_life, session, nth, beta, (prior, prior_weight))
    _check_values(value, where, stream, name)
    strangers = [f.text() for f in owners if f.stream != stream]
    if strangers:
        raise DeclarationError(
            "`by` names a field of another stream", where=name, expected=f"fields of {stream}", got=strangers[0]
        )
    if slide is not None and window is None:
        raise DeclarationError(
            "a slide without a window", where=name, expected="window='1h', slide='5m'", got=f"slide={slide!r}"
        )
    _check_prior(prior, prior_weight, name)
    spanned = window if window is not None else session
    size = _span(spanned, name) if spanned is not None else 0
    keeper = Keeper(
        memory if memory is not None else _memory(read, window, half_life, session, name),
        stream, tuple(f.text() for f in owners),
        value.text() if value is not None else "", where.text() if where is not None else "",
        _span(half_life, name) if half_life is not None else 0, size,
        _span(slide, name) if slide is not None else 0 if session is not None else size,
        n, beta,
    )  # fmt: skip
    _check_window(keeper, name)
    return Aggregate(name, source, keeper, read, owners, readers, value, where, prior, prior_weight, nth)


def _span(text: str, name: str) -> int:
    """Milliseconds of a window, slide or half-life: more than none."""
    span = parse_ms(text, where=name)
    if span <= 0:
        raise DeclarationError("a span of time must be positive", where=name, expected="for example '1h'", got=repr(text))
    return span


def _name(
    read: Read, what: str, by: tuple[FieldRef[Any], ...], at: tuple[FieldRef[Any], ...] | None, where: Expr[Any] | None,
    window: str | None, slide: str | None, half_life: str | None, session: str | None, nth: int, beta: float,
    prior: tuple[float, float],
) -> str:  # fmt: skip
    """What tells this feature from every other one of a model, readably."""
    spans = {"/": window, "~": half_life, "|": session, "*": beta or None, ":": slide}
    span = "".join(f"{mark}{text}" for mark, text in spans.items() if text)
    owner = " by " + ",".join(f.spec.name for f in by) if by else ""
    owner += " at " + ",".join(f.spec.name for f in at) if at else ""
    owner += f" where {where.text()}" if where is not None else ""
    owner += f" prior {prior[0]}*{prior[1]}" if prior[1] else ""
    return f"{read.name.lower()}({what}{span}{owner}){f'[{nth}]' if nth else ''}"


def _check_values(value: Expr[Any] | None, where: Expr[Any] | None, stream: str, name: str) -> None:
    for expr in (value, where):
        if expr is not None:
            check(expr)
            if expr.stream != stream:
                raise DeclarationError(
                    "a filter or value belongs to another stream", where=name, expected=stream, got=expr.stream
                )
    if value is not None and is_text(value):
        raise DeclarationError("a text cannot be aggregated", where=name, next_step="Use hw.category(...) or compare it first.")
    if where is not None and not is_condition(where):
        raise DeclarationError(
            "a filter is no condition", where=name, expected="for example Stream.field > 0", got=where.text()
        )


def _check_prior(prior: float, prior_weight: float, name: str) -> None:
    if not (prior_weight >= 0 and math.isfinite(prior_weight) and math.isfinite(prior)) or (prior and not prior_weight):
        raise DeclarationError(
            "a prior needs a weight",
            where=name,
            expected="prior_weight > 0, both finite",
            got=f"prior={prior}, prior_weight={prior_weight}",
        )


def _check_window(keeper: Keeper, name: str) -> None:
    if keeper.memory is not Memory.WINDOW and not (keeper.memory is Memory.DISTINCT and keeper.size_ms):
        return
    if keeper.size_ms <= 0 or keeper.slide_ms <= 0 or keeper.size_ms % keeper.slide_ms:
        raise DeclarationError(
            "a window must be a positive whole number of slides", where=name,
            expected="for example window='1h', slide='5m'", got=f"{keeper.size_ms} ms by {keeper.slide_ms} ms",
        )  # fmt: skip


def count(
    stream: EventType, *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None,
    window: str | None = None, slide: str | None = None, half_life: str | None = None, session: str | None = None,
) -> Aggregate:  # fmt: skip
    """How many events: in the window, or with weights that halve every `half_life`, or in the session, or ever.

    `session="30m"` reads the run of the entity's events that the scored one would join: neighbours less than 30 minutes
    apart. Where that is none, there is nothing yet.
    """
    return _aggregate(
        Read.COUNT,
        _schema(stream, "hw.count"),
        None,
        by=by,
        at=at,
        where=where,
        window=window,
        slide=slide,
        half_life=half_life,
        session=session,
    )


def sum(  # noqa: A001 - the field's word, used as hw.sum
    value: Expr[Any], *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None,
    window: str | None = None, slide: str | None = None, half_life: str | None = None, session: str | None = None,
) -> Aggregate:  # fmt: skip
    """The sum of a value; nulls are left out."""
    return _aggregate(
        Read.SUM, owner(value).schema, value, by=by, at=at, where=where, window=window, slide=slide, half_life=half_life,
        session=session,
    )  # fmt: skip


def mean(
    value: Expr[Any], *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None,
    window: str | None = None, slide: str | None = None, half_life: str | None = None, session: str | None = None,
    prior: float = 0.0, prior_weight: float = 0.0,
) -> Aggregate:  # fmt: skip
    """The mean of a value; missing where nothing was seen.

    With `prior_weight` k > 0 it is (S + k*prior) / (W + k), where the weight W of what was seen fades with age, so that
    an old or thin memory tends to the prior.
    """
    return _aggregate(
        Read.MEAN, owner(value).schema, value, by=by, at=at, where=where, window=window, slide=slide, half_life=half_life,
        session=session, prior=prior, prior_weight=prior_weight,
    )  # fmt: skip


def min(  # noqa: A001
    value: Expr[Any], *, window: str | None = None, by: Fields | None = None, at: Fields | None = None,
    where: Expr[bool] | None = None, slide: str | None = None, session: str | None = None,
) -> Aggregate:  # fmt: skip
    """The least value in the window or session: one of the two has to be given."""
    return _aggregate(
        Read.MIN, owner(value).schema, value, by=by, at=at, where=where, window=window, slide=slide, session=session
    )


def max(  # noqa: A001
    value: Expr[Any], *, window: str | None = None, by: Fields | None = None, at: Fields | None = None,
    where: Expr[bool] | None = None, slide: str | None = None, session: str | None = None,
) -> Aggregate:  # fmt: skip
    """The greatest value in the window or session: one of the two has to be given."""
    return _aggregate(
        Read.MAX, owner(value).schema, value, by=by, at=at, where=where, window=window, slide=slide, session=session
    )


def variance(
    value: Expr[Any], *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None,
    window: str | None = None, slide: str | None = None, half_life: str | None = None, session: str | None = None,
) -> Aggregate:  # fmt: skip
    """The population variance of a value; missing where nothing was seen."""
    return _aggregate(
        Read.VAR, owner(value).schema, value, by=by, at=at, where=where, window=window, slide=slide, half_life=half_life,
        session=session,
    )  # fmt: skip


def distinct(
    value: Expr[Any], *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None,
    window: str | None = None, slide: str | None = None, precision: int = 8,
) -> Aggregate:  # fmt: skip
    """About how many different values of a field or expression, text or number: in the window, or ever; nulls are left out.

    HyperLogLog with 2^precision registers (see `sketches`): the standard error is 1.04 / sqrt(2^precision), 6.5 % by
    default, and less where there are few. Each pane takes 2^precision / 8 floats for each entity.
    """
    if not isinstance(precision, int) or not MIN_PRECISION <= precision <= MAX_PRECISION:
        raise DeclarationError(
            "precision is out of range", where="hw.distinct", expected=f"{MIN_PRECISION} .. {MAX_PRECISION}", got=str(precision)
        )
    require_expr(value, "what is to be told apart")
    return _aggregate(
        Read.DISTINCT, owner(value).schema, Op(STANDS_FOR, (value,)), by=by, at=at, where=where, window=window, slide=slide,
        memory=Memory.DISTINCT, n=precision,
    )  # fmt: skip


def zscore(
    value: Expr[Any], *, half_life: str, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None
) -> Aggregate:
    """How many decayed standard deviations the scored event's own value lies from the decayed mean.

    0 while nothing varies; missing where the own value is, or where nothing was seen.
    """
    return _aggregate(Read.ZSCORE, owner(value).schema, value, by=by, at=at, where=where, half_life=half_life)


def last(
    value: Expr[Any], *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None, n: int = 1
) -> Aggregate | list[Aggregate]:
    """The newest value by (event time, place in the log); with n > 1, a list of n features, newest first."""
    if not isinstance(n, int) or not 1 <= n <= MAX_LAST:
        raise DeclarationError("n is out of range", where="hw.last", expected=f"1 .. {MAX_LAST}", got=str(n))
    made = [
        _aggregate(Read.VALUE, owner(value).schema, value, by=by, at=at, where=where, memory=Memory.LAST, n=n, nth=i)
        for i in range(n)
    ]
    return made[0] if n == 1 else made


def since(
    stream: EventType, *, by: Fields | None = None, at: Fields | None = None, where: Expr[bool] | None = None
) -> Aggregate:
    """Hours since the newest event; missing where there was none, negative where that one is later than the scored event."""
    return _aggregate(Read.SINCE, _schema(stream, "hw.since"), None, by=by, at=at, where=where, memory=Memory.LAST, n=1)


def ewma(value: Expr[Any], *, beta: float, by: Fields | None = None, at: Fields | None = None) -> Aggregate:
    """The per-event average mu = beta*mu + (1-beta)*x. It depends on the order of arrival; prefer `half_life`."""
    return _ewma(Read.MEAN, value, beta, by, at)


def ewma_variance(value: Expr[Any], *, beta: float, by: Fields | None = None, at: Fields | None = None) -> Aggregate:
    """The per-event variance that belongs to `ewma`: var = beta*(var + (1-beta)*(x-mu)^2)."""
    return _ewma(Read.VAR, value, beta, by, at)


def _ewma(read: Read, value: Expr[Any], beta: float, by: Fields | None, at: Fields | None) -> Aggregate:
    if not 0.0 < beta < 1.0:
        raise DeclarationError("beta is out of range", where="hw.ewma", expected="0 < beta < 1", got=str(beta))
    return _aggregate(read, owner(value).schema, value, by=by, at=at, where=None, memory=Memory.EWMA, beta=beta)


def category(*exprs: Expr[Any]) -> Category:
    """A weight of its own for each value; several expressions make a cross, one weight for each combination."""
    if not exprs:
        raise DeclarationError("hw.category needs a field", where="hw.category")
    for expr in exprs:
        require_expr(expr, "a category")
        check(expr)
    return Category("category(" + ", ".join(e.text() for e in exprs) + ")", exprs)


def words(text: FieldRef[str] | FieldRef[str | None], *, n: int = 32) -> list[Category]:
    """A weight for each word of a text, wherever it stands: the first n different words count, in lower case."""
    if not isinstance(text, FieldRef) or not is_text(text):
        raise DeclarationError("hw.words needs a text", where="hw.words", expected="a field of type str", got=repr(text))
    if not isinstance(n, int) or not 1 <= n <= MAX_WORDS:
        raise DeclarationError("n is out of range", where="hw.words", expected=f"1 .. {MAX_WORDS}", got=str(n))
    return [Category(f"words({text.text()})[{i}]", (text,), i, n) for i in range(n)]


def hour(stream: EventType, *, utc_offset: str = "0h") -> Expr[float]:
    """The hour of the event's time, 0 <= h < 24 with fraction, at a fixed distance from UTC such as "-5h"."""
    return TimePart(_schema(stream, "hw.hour").stream, "hour", parse_offset_ms(utc_offset, where="hw.hour"), stream)


def weekday(stream: EventType, *, utc_offset: str = "0h") -> Expr[float]:
    """The weekday of the event's time: 0 Monday .. 6 Sunday."""
    return TimePart(_schema(stream, "hw.weekday").stream, "weekday", parse_offset_ms(utc_offset, where="hw.weekday"), stream)


def day(stream: EventType, *, utc_offset: str = "0h") -> Expr[float]:
    """The number of the day since 1970. As a category, it gives each day a weight of its own, learnt during the day."""
    return TimePart(_schema(stream, "hw.day").stream, "day", parse_offset_ms(utc_offset, where="hw.day"), stream)
