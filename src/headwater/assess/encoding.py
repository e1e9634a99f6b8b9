"""A table to the arrays that learners take.

Categories and words become rows of hashed weights exactly as in an app's fold (`learning.vectors`), so that a ladder and
the app that is written from it learn the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headwater.assess.choices import Choices
from headwater.assess.columns import WORDS
from headwater.assess.kinds import CATEGORY, NUMBER, TEXT, Kind, kinds_of
from headwater.assess.leaks import Leak, leaks_of
from headwater.assess.naming import field_names
from headwater.assess.table import Progress, Table, ignore, read_table
from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal
from headwater.core.words import NO_WORD
from headwater.learning.linear import base_of, category_slots
from headwater.learning.vectors import NO_WEIGHT

BITS = 16


@dataclass(slots=True, eq=False)
class Encoded:
    """Rows in order of event time, as learners take them.

    Attributes:
        task: "binary", "multiclass" or "regression".
        numbers: Names of the columns of `xs`.
        categories: Names of the columns that are one weight a value, then `texts`: one weight a word.
        xs: float64[n, d], NaN where missing.
        cs: int64[n, k], rows of weights (`base` and more), or `NO_WEIGHT`.
        y: float64[n]: 0 or 1, the class's number, or the number itself; NaN where a row has no label.
        classes: Names of the classes, or of what 0 and 1 stand for; empty for numbers.
        time_ms: Event time, int64[n], ms since 1970 UTC, ascending.
        known_ms: When each label is known; `time_ms` itself where there is no column for it: then a label is known right
            after its row, before the next one.
        key: int64[n], a hash of whom the row is about; None without --key.
        bits: log2 of the number of hashed weights.
    """

    task: str
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    texts: tuple[str, ...]
    xs: Floats
    cs: Ints
    y: Floats
    classes: tuple[str, ...]
    time_ms: Ints
    known_ms: Ints
    key: Ints | None
    bits: int = BITS

    @property
    def n(self) -> int:
        """Rows."""
        return self.y.size

    @property
    def base(self) -> int:
        """First row of hashed weights."""
        return base_of(len(self.numbers))

    @property
    def is_delayed(self) -> bool:
        """Whether labels have times of their own."""
        return self.known_ms is not self.time_ms

    @property
    def names(self) -> tuple[str, ...]:
        """All features."""
        return (*self.numbers, *self.categories, *self.texts)


def encode(table: Table, kinds: dict[str, Kind], leaks: list[Leak], choices: Choices) -> Encoded:
    """Make the arrays; the table's columns are given up on the way, so that only one of them exists twice.

    Raises:
        Fatal: No column is left to learn from.
    """
    out = {leak.column for leak in leaks}
    use = {kind: tuple(n for n, k in kinds.items() if k.name == kind and n not in out) for kind in (NUMBER, CATEGORY, TEXT)}
    if not any(use.values()):
        raise Fatal(
            "no column is left to learn from", where=str(table.file.path), got=", ".join(out) or "no features",
            next_step="Keep a suspected leak with --keep, if it is known before the label.",
        )  # fmt: skip
    key = table.columns[choices.key].hashes().view(np.int64) if choices.key else None
    fields = field_names(table.columns)
    base = base_of(len(use[NUMBER]))
    cs = np.full((table.n, len(use[CATEGORY]) + WORDS * len(use[TEXT])), NO_WEIGHT, np.int64)
    for j, name in enumerate(use[CATEGORY]):
        hashes = table.columns[name].hashes()
        cs[:, j] = category_slots([hashes], [f"category(case.{fields[name]})"], base, BITS)[:, 0]
        table.columns[name].values = None
    for j, name in enumerate(use[TEXT]):
        first = len(use[CATEGORY]) + WORDS * j
        _place_words(table, name, f"words(case.{fields[name]})", base, cs[:, first : first + WORDS])
    cs = cs[:, : _widest(cs, len(use[CATEGORY]))] if len(use[TEXT]) == 1 else cs
    xs = np.empty((table.n, len(use[NUMBER])))
    for j, name in enumerate(use[NUMBER]):
        xs[:, j] = table.columns[name].values
        table.columns[name].values = None
    label = table.label
    return Encoded(
        label.task, use[NUMBER], use[CATEGORY], use[TEXT], xs, np.ascontiguousarray(cs), label.y, label.classes,
        table.time_ms, table.known_ms, key,
    )  # fmt: skip


def _place_words(table: Table, name: str, salt: str, base: int, out: Ints) -> None:
    words = table.columns[name].values
    assert words is not None
    for j in range(out.shape[1]):
        hashes = np.ascontiguousarray(words[:, j]).astype(np.uint64, copy=False)
        slots = category_slots([hashes], [salt], base, BITS)[:, 0]
        out[:, j] = np.where(hashes == NO_WORD, NO_WEIGHT, slots)
    table.columns[name].values = None


def _widest(cs: Ints, least: int) -> int:
    """Columns up to the last one that any row uses."""
    used = np.flatnonzero((cs != NO_WEIGHT).any(axis=0))
    return max(least, int(used[-1]) + 1) if used.size else least


@dataclass(slots=True, eq=False)
class Prepared:
    """A file, understood: the table (its columns' values are given up), what its columns are, and the arrays."""

    table: Table
    kinds: dict[str, Kind]
    leaks: list[Leak]
    encoded: Encoded


def prepare(path: Path, choices: Choices, progress: Progress = ignore, rows: int | None = None) -> Prepared:
    """Read a file, tell what its columns are, leave suspected leaks out, and encode the rest.

    Args:
        path: The file.
        choices: Which column is what.
        progress: Told how far it is.
        rows: Read no more than so many.

    Raises:
        Fatal: See `table.read_table` and `encode`.
    """
    table = read_table(path, choices, progress, rows)
    kinds = kinds_of(table, choices)
    leaks = leaks_of(table, kinds, choices)
    return Prepared(table, kinds, leaks, encode(table, kinds, leaks, choices))
