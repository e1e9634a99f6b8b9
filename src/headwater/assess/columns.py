"""Batches of rows to whole columns that cost eight bytes a cell: numbers, or hashes of texts.

What a column holds is decided by the first rows that have a value. If a later one does not fit (a text among numbers, an
integer that float64 cannot hold), the column is marked, and read again as text.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.batch import Column, Floats, Ints, Text
from headwater.core.errors import Fatal
from headwater.core.hashing import NULL, Hashes, hash_column, hash_text
from headwater.core.words import NO_WORD, hash_words

WORDS = 64  # different words of a text that count
_MANY_WORDS = 4.0  # words that a text has on the average from which on it is prose
_EXACT = 2.0**53


class Form(enum.Enum):
    """How a column is held."""

    EMPTY = "empty"  # no value anywhere
    NUMBER = "number"  # float64[n], NaN where missing
    TEXT = "text"  # uint64[n], the hash of each value
    WORDS = "words"  # uint64[n, WORDS], the hash of each word
    TIME = "time"  # moments that are not asked for: not kept


@dataclass(slots=True, eq=False)
class Held:
    """A whole column.

    Attributes:
        name: Its name in the file.
        form: How it is held.
        values: See `Form`; None for EMPTY and TIME.
        is_whole: Whether all numbers are integers.
        n_missing: Rows without a value.
        n_infinite: Rows with an infinite number, which count as missing.
    """

    name: str
    form: Form
    values: Floats | Hashes | None
    is_whole: bool = False
    n_missing: int = 0
    n_infinite: int = 0

    def take(self, rows: Ints) -> None:
        """Put the rows in another order."""
        if self.values is not None:
            self.values = self.values[rows]

    def hashes(self) -> Hashes:
        """uint64[n]: each value's hash, as an app's fold makes it of a text or integer field."""
        assert self.values is not None
        if self.form is Form.TEXT:
            return self.values.astype(np.uint64, copy=False)
        missing = np.isnan(self.values)
        whole = np.where(missing, 0.0, self.values).astype(np.int64)
        return hash_column(Column(whole, ~missing if missing.any() else None))


@dataclass(slots=True, eq=False)
class Gathering:
    """One column while it is read.

    Attributes:
        name: Its name.
        form: How it is held; None until a value is seen.
        must_be: What the user said it is.
        misfit: Why it has to be read again as text; "" if it fits.
    """

    name: str
    must_be: Form | None = None
    form: Form | None = None
    misfit: str = ""
    is_whole: bool = True
    n_infinite: int = 0
    _n: int = 0
    _missing: int = 0
    _parts: list[Floats | Hashes] = field(default_factory=list)

    def add(self, array: pa.Array) -> None:
        """Take the next rows."""
        n = len(array)
        array = _simple(array, self.name)
        self._n, self._missing = self._n + n, self._missing + array.null_count
        if array.null_count == n:
            self._parts.append(self._nothing(n))
            return
        if self.form is None:
            self.form = self.must_be or _form_of(array)
            self._parts = [self._nothing(self._n - n)]
        if self.misfit or self.form is Form.TIME:
            return
        self._parts.append(self._numbers(array) if self.form is Form.NUMBER else self._hashes(array))

    def add_missing(self, n: int) -> None:
        """Take n rows that do not have the column."""
        self.add(pa.nulls(n, pa.string()))

    def finish(self) -> Held:
        """The whole column; the parts are given up."""
        if self.form in (None, Form.TIME):
            return Held(self.name, self.form or Form.EMPTY, None, n_missing=self._missing)
        assert self.form is not None
        values: Any = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        self._parts = []
        is_whole = self.form is Form.NUMBER and self.is_whole
        return Held(self.name, self.form, values, is_whole, self._missing + self.n_infinite, self.n_infinite)

    def _nothing(self, n: int) -> Floats | Hashes:
        if self.form is Form.TEXT:
            return np.full(n, NULL)
        return np.full((n, WORDS), NO_WORD) if self.form is Form.WORDS else np.full(n if self.form else 0, np.nan)

    def _numbers(self, array: pa.Array) -> Floats:
        try:
            values: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            self.misfit, self._parts = str(error).splitlines()[0], []
            return np.zeros(0)
        infinite = np.isinf(values)
        if infinite.any():
            values, self.n_infinite = np.where(infinite, np.nan, values), self.n_infinite + int(infinite.sum())
        if self.is_whole:
            there = values[~np.isnan(values)]
            self.is_whole = bool((there == np.rint(there)).all())
            if self.is_whole and (np.abs(there) > _EXACT).any() and not pa.types.is_floating(array.type):
                self.misfit, self._parts = "integers beyond 2^53", []
        return values

    def _hashes(self, array: pa.Array) -> Hashes:
        texts = array.cast(pa.string())
        missing = texts.is_null().to_numpy(zero_copy_only=False)
        text = Text.of_arrow(texts.fill_null("") if texts.null_count else texts)
        if self.form is Form.WORDS:
            return hash_words(text, WORDS)
        out = hash_text(text)
        out[missing] = NULL
        return out


def _simple(array: pa.Array, name: str) -> pa.Array:
    """Without dictionaries; what no column can hold is refused."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return array.cast(kind.value_type)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise Fatal(
            "a column holds something else than numbers and texts", where=f"column {name}", got=str(kind),
            expected="a number, text, truth value or time in each cell", next_step=f"Flatten it, or --drop {name}.",
        )  # fmt: skip
    return array


def _form_of(array: pa.Array) -> Form:
    kind = array.type
    if pa.types.is_temporal(kind):
        return Form.TIME
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return Form.NUMBER
    return _form_of_texts(array.drop_null())


def _form_of_texts(texts: pa.Array) -> Form:
    """Numbers, times, names or prose, by the first values; those with a leading zero or 16 digits are names."""
    with contextlib.suppress(pa.ArrowInvalid):
        texts.cast(pa.float64())
        codes = pc.match_substring_regex(texts, r"^[-+]?(?:0\d|\d{16})")
        return Form.TEXT if pc.any(codes).as_py() else Form.NUMBER
    if pc.all(pc.match_substring_regex(texts, r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$")).as_py():
        return Form.TIME
    some = texts.slice(0, 10_000)
    words = pc.count_substring_regex(some, r"[\w\x{80}-\x{10FFFF}]+|[\x{3000}-\x{9FFF}]")
    return Form.WORDS if pc.mean(words).as_py() >= _MANY_WORDS and _differ(some) else Form.TEXT


def _differ(texts: pa.Array) -> bool:
    """Whether most texts occur once: prose, not a long name of a category."""
    return bool(pc.count_distinct(texts).as_py() > len(texts) / 4)
