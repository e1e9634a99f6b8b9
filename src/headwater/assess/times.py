"""Moments as they stand in files -> milliseconds since 1970 UTC.

Texts are ISO 8601, with or without a zone; without one they are UTC. A column with both cannot be put in order and is
refused. Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, told by their size; small ones are
only counted: their order and distances are what matters.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal

EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
MISSING = np.iinfo(np.int64).min  # what stands where no moment is given
_EXPECTED = "ISO 8601 such as 2013-01-01T05:15:00 (with Z or +02:00 in all rows or in none), or numbers since 1970"
_ZONE = r"(?:Z|[+-]\d{2}:?\d{0,2})$"
# Greatest number that counts seconds, milliseconds, microseconds; what is greater counts nanoseconds.
_UNITS = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
_SMALL = 1e8  # below: 1970 to 1973, so rather a count than a date


@dataclass(slots=True)
class TimeReader:
    """Reads one column, batch after batch.

    Attributes:
        name: The column.
        where: The file and the option, for messages.
        may_miss: Whether a row may have no moment (a label that has not come).
        is_count: Whether numbers were too small to be dates.
        n: Rows taken so far.
    """

    name: str
    where: str
    may_miss: bool = False
    is_count: bool = False
    _scale: float = 0.0
    n: int = 0
    _plain: tuple[int, str] | None = None  # a row and its text, without and with a zone
    _zoned: tuple[int, str] | None = None
    _parts: list[Ints] = field(default_factory=list)

    def add(self, array: pa.Array) -> None:
        """Take the next rows.

        Raises:
            Fatal: A moment is missing, cannot be read, or has a zone where others have none.
        """
        if array.null_count and not self.may_miss:
            row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
            self._refuse(
                "a row has no time", row, "nothing", "Remove such rows: an event without a time has no place in order."
            )
        self._parts.append(self._read(array))
        self.n += len(array)

    def add_missing(self, n: int) -> None:
        """Take n rows without the column."""
        self.add(pa.nulls(n, pa.string()))

    def finish(self) -> Ints:
        """int64[n] in ms; `MISSING` where there is none."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int64)

    def _read(self, array: pa.Array) -> Ints:
        kind = array.type
        if pa.types.is_dictionary(kind):
            return self._read(array.cast(kind.value_type))
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return _ms(array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return self._numbers(array)
        if pa.types.is_null(kind):
            return np.full(len(array), MISSING)
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            self._refuse("a time has an unusable type", 0, str(kind))
        return self._texts(array)

    def _numbers(self, array: pa.Array) -> Ints:
        values: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        there = values[~np.isnan(values)]
        if there.size and not self._scale:
            size = float(np.abs(there).max())
            self._scale = next(scale for bound, scale in _UNITS if size < bound)
            self.is_count = size < _SMALL
        out = np.full(values.size, MISSING)
        out[~np.isnan(values)] = np.rint(there * (self._scale or 1.0)).astype(np.int64)
        wrong = (out != MISSING) & ((out < EARLIEST_MS) | (out > LATEST_MS))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            self._refuse("a time is outside the years 1 to 9999", row, repr(values[row].item()))
        return out

    def _texts(self, array: pa.Array) -> Ints:
        zoned = self._zones(array)
        trimmed = pc.utf8_trim_whitespace(array)
        for unit in ("us", "ns"):
            with contextlib.suppress(pa.ArrowInvalid):
                return _ms(trimmed.cast(pa.timestamp(unit, "UTC" if zoned else None)))
        with contextlib.suppress(pa.ArrowInvalid):
            return self._numbers(trimmed.cast(pa.float64()))
        for row, text in enumerate(trimmed.to_pylist()):
            if text is not None and not _is_moment(text, zoned=zoned):
                self._refuse("a time cannot be read", row, repr(text))
        raise AssertionError

    def _zones(self, array: pa.Array) -> bool:
        """Whether these moments carry their zone; all of the column must do the same."""
        has = pc.match_substring_regex(array, r"\d:\d{2}.*" + _ZONE).fill_null(False).to_numpy(zero_copy_only=False)
        there = array.is_valid().to_numpy(zero_copy_only=False)
        for mask, name in ((has, "_zoned"), (there & ~has, "_plain")):
            if mask.any() and getattr(self, name) is None:
                row = int(np.flatnonzero(mask)[0])
                setattr(self, name, (self.n + row, array[row].as_py()))
        if self._zoned and self._plain:
            for (row, text), is_zoned in ((self._zoned, True), (self._plain, False)):
                if not _is_moment(text, zoned=is_zoned):
                    self._refuse("a time cannot be read", row - self.n, repr(text))
            examples = sorted((self._zoned, self._plain))
            raise Fatal(
                "times with a zone and without one are mixed", where=f"{self.where}, column {self.name}",
                expected="a zone in every row, or in none (then all are UTC)",
                got=" and ".join(f"{text!r} in row {row}" for row, text in examples),
                next_step="Write all of them with their offset: which moment the others are cannot be guessed.",
            )  # fmt: skip
        return self._zoned is not None

    def _refuse(self, what: str, row: int, got: str, next_step: str = "") -> NoReturn:
        where = f"{self.where}, column {self.name}, row {self.n + row} (from 0)"
        raise Fatal(what, where=where, expected=_EXPECTED, got=got, next_step=next_step)


def _is_moment(text: str, *, zoned: bool) -> bool:
    for unit in ("us", "ns"):
        with contextlib.suppress(pa.ArrowInvalid):
            pa.array([text]).cast(pa.timestamp(unit, "UTC" if zoned else None))
            return True
    return False


def _ms(stamps: pa.Array) -> Ints:
    per_ms = 1_000 if stamps.type.unit == "us" else 1_000_000
    missing = stamps.is_null().to_numpy(zero_copy_only=False)
    out: Ints = stamps.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) // per_ms
    out[missing] = MISSING
    return out


def span(ms: int) -> str:
    """A duration as a person says it.

    >>> span(1_800_000), span(9 * 86_400_000), span(0), span(1_500)
    ('30 min', '9 d', '0 s', '1.5 s')
    """
    for unit, size in (("y", 365 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * size or (ms >= size and ms % size == 0):
            return f"{ms / size:.3g} {unit}"
    return f"{ms / 1000:.3g} s"
