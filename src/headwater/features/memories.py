"""What is remembered of an entity, and what is read from it: the values that declarations become.

`aggregates` makes them for users, `plan` lays them out in rows, `kernels` know their numbers.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from headwater.core.duration import format_ms
from headwater.core.expressions import Expr, FieldRef
from headwater.core.schema import Schema


class Memory(enum.IntEnum):
    """What one entity's row holds for an aggregate. The values are known to the kernels."""

    DECAY = 0  # reference time, weight, sum; the first two shared where every event updates both memories
    SPREAD = 1  # reference time, weight, mean, sum of squared deviations; decayed
    WINDOW = 2  # a ring of panes: pane number, count, sum, min, max, sum of squared deviations
    LAST = 3  # the newest n by (time, seq): time, seq, value
    EWMA = 4  # per-event recursion: started, mean, variance
    SESSION = 5  # sessions, newest first: start, end, then as a pane
    DISTINCT = 6  # a ring of panes: pane number, registers of a sketch


class Read(enum.IntEnum):
    """What is read from a memory. The values are known to the kernels."""

    COUNT = 0
    SUM = 1
    MEAN = 2
    MIN = 3
    MAX = 4
    VAR = 5
    STD = 6
    ZSCORE = 7
    VALUE = 8
    SINCE = 9
    DISTINCT = 10


@dataclass(frozen=True, slots=True)
class Keeper:
    """One memory: equal keepers are kept once.

    Attributes:
        stream: Whose events update it.
        by: Canonical texts of the fields that name the entity.
        value: Canonical text of the value, "" for counts.
        where: Canonical text of the filter, "" for none.
        half_life_ms: Of DECAY and SPREAD; 0 means no decay.
        size_ms, slide_ms: Of WINDOW and DISTINCT; of SESSION, the first is the gap.
        n: Values kept, of LAST; log2 of the registers, of DISTINCT.
        beta: Weight of the past, of EWMA.
    """

    memory: Memory
    stream: str
    by: tuple[str, ...]
    value: str
    where: str
    half_life_ms: int = 0
    size_ms: int = 0
    slide_ms: int = 0
    n: int = 0
    beta: float = 0.0

    def words(self) -> str:
        """Everything about it, as a person reads it; equal words, equal keepers."""
        decay = f"half-life {format_ms(self.half_life_ms)}" if self.half_life_ms else "of all time"
        window = f"window {format_ms(self.size_ms)} by {format_ms(self.slide_ms)}" if self.size_ms else "of all time"
        span = {
            Memory.DECAY: decay, Memory.SPREAD: f"spread, {decay}", Memory.LAST: f"last {self.n}",
            Memory.EWMA: f"beta {self.beta}",
            Memory.WINDOW: window, Memory.SESSION: f"session {format_ms(self.size_ms)}",
            Memory.DISTINCT: f"distinct within 2^{self.n}, {window}",
        }[self.memory]  # fmt: skip
        about = f"{self.value or self.stream + ' events'} by {', '.join(self.by) or 'nothing'}, {span}"
        return f"{about}, where {self.where}" if self.where else about


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """A feature read from an entity's memory."""

    name: str
    source: Schema
    keeper: Keeper
    read: Read
    by: tuple[FieldRef[Any], ...]
    at: tuple[FieldRef[Any], ...] | None
    value: Expr[Any] | None
    where: Expr[Any] | None
    prior: float = 0.0
    prior_weight: float = 0.0
    nth: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Category:
    """A hashed category: one weight for each value (or tuple of values) that occurs, or for one word of a text.

    Attributes:
        name: Its name; names differ within a model.
        exprs: The values.
        place: Which of a text's different words it is, from 0; -1: no word, but the whole value.
        places: How many words of that text are looked at.
    """

    name: str
    exprs: tuple[Expr[Any], ...]
    place: int = -1
    places: int = 0

    @property
    def salt(self) -> str:
        """What its weights are told apart by: all words of a text share theirs, wherever they stand."""
        return self.name if self.place < 0 else f"words({self.exprs[0].text()})"


@dataclass(frozen=True, slots=True, eq=False)
class Numeric:
    """A number known at request time."""

    name: str
    expr: Expr[Any]


Feature = Aggregate | Category | Numeric
